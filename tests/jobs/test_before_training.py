"""What `softflow train` asks before it begins, and what it says first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filmed_world import filmed_spec, write_filmed
from grown_runs import Trainer
from point_world import PointWorld, demonstration, point_spec
from report_run import make_run

from softflow.cli.main import main
from softflow.data.data_spec import STATE_KEY
from softflow.data.episode_store import EpisodeStore
from softflow.data.seen_again import seen_again
from softflow.errors import DataError, EnvironmentContractError, StoreError
from softflow.jobs.opening import open_store

Said = pytest.CaptureFixture[str]


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    return Trainer(tmp_path, monkeypatch)


def store_of(path: Path, spec: object = None, **metadata: object) -> Path:
    with EpisodeStore.create(path, spec or point_spec()) as store:  # type: ignore[arg-type]
        for seed in range(3):
            episode = demonstration(seed, towards_goal=True)
            store.append(replace(episode, metadata={**episode.metadata, **metadata}))
    return path


def test_an_environment_that_is_named_is_held_to_the_data_though_nobody_acts(
    trainer: Trainer, tmp_path: Path
) -> None:
    """Else the first evaluation would tell, in the next command."""
    names = {STATE_KEY: ("x", "y", "goal_x", "goal_y")}
    data = store_of(tmp_path / "slow", replace(point_spec(), control_hz=5.0, names=names))
    with pytest.raises(DataError, match=r"control_hz: 5.0 and 10.0"):
        trainer.run("run", data=data)
    assert not (tmp_path / "run").exists()
    trainer.run("run", data=data, env="")


class Float64World(PointWorld):
    """An observation of another type than the space declares, in steps alone."""

    def step(self, action: np.ndarray) -> Any:
        observation, *rest = super().step(action)
        return {key: value.astype(np.float64) for key, value in observation.items()}, *rest


def test_an_environment_is_tried_before_anything_is_learned(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softflow.training.rollouts._worker_environments", {})
    monkeypatch.setattr("softflow.training.rollouts.make_env", lambda _, image_size: Float64World())
    with pytest.raises(EnvironmentContractError, match=r"tried before.*is float64 \(4,\)"):
        trainer.run("run")
    assert not (tmp_path / "run").exists()


def test_without_an_environment_nothing_is_said_before_an_error(
    trainer: Trainer, tmp_path: Path, capsys: Said
) -> None:
    data = store_of(tmp_path / "mine", replace(point_spec(), env_id=""))
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.csv").write_text("notes\n")
    with pytest.raises(StoreError, match="does not start with the columns"):
        trainer.run("run", data=data, env="")
    assert "this data names no environment" not in capsys.readouterr().out
    trainer.run("other", data=data, env="")
    assert "this data names no environment: no success rates;" in capsys.readouterr().out


def test_actions_of_another_controller_are_told(trainer: Trainer, tmp_path: Path) -> None:
    data = store_of(tmp_path / "rendered", **seen_again({}, 0.006, 0.004))
    with pytest.warns(UserWarning, match="the actions of 3 episodes were another controller's"):
        trainer.run("run", data=data)


def test_a_camera_that_is_only_called_otherwise(tmp_path: Path) -> None:
    write_filmed(tmp_path / "filmed", [True])
    ours = filmed_spec()
    shapes = {key.replace(".top", ".front"): size for key, size in ours.observation_shapes.items()}
    theirs = replace(ours, observation_shapes=shapes)
    assert ours.renamed(theirs) == {"observation.images.top": "observation.images.front"}
    assert len(ours.differences(theirs)) == 1
    smaller = {key: (8, 8, 3) if "images" in key else size for key, size in shapes.items()}
    assert ours.renamed(replace(ours, observation_shapes=smaller)) == {}


# ---- something else in place of a store ----------------------------------------------------------


def test_a_file_of_another_format_says_how_it_is_imported(tmp_path: Path, capsys: Said) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "door.hdf5", "w") as file:
        file["observations"], file["actions"] = [[0.0]], [[0.0]]
    file = tmp_path / "door.hdf5"
    said = rf"it looks like d4rl data.*softflow data import d4rl {file} --out data/door"
    with pytest.raises(StoreError, match=said):
        open_store(file)
    for command in ("inspect", "validate", "stats", "plot"):
        assert main(["data", command, str(file)]) == 2
        assert "softflow data import d4rl" in capsys.readouterr().err


def test_a_run_in_place_of_a_store(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", labels=[], videos=False, rollouts=0)
    (run / "checkpoints").mkdir(exist_ok=True)
    (run / "online").mkdir(exist_ok=True)
    with pytest.raises(StoreError, match=r"it is a run \(softflow report .*episodes are in"):
        open_store(run)


def test_what_is_nothing_else_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"is not an episode store \(no store.json\)"):
        open_store(tmp_path)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("merge a b --out c", "softflow data merge OUT STORE STORE"),
        ("merge --out=c a b", "softflow data merge OUT STORE STORE"),
        ("merge a", "softflow data merge a STORE STORE"),
        ("filter a --out c", "softflow data filter STORE OUT"),
        ("render a --out c", "softflow data render SOURCE OUT"),
    ],
)
def test_a_new_store_has_a_place_and_no_option(words: str, said: str, capsys: Said) -> None:
    assert main(["data", *words.split()]) == 2
    assert said in capsys.readouterr().err
