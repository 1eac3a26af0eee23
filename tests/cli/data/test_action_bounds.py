"""Bounds of actions, given at import or later: kept, refused where data lie outside, never lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from lerobot_datasets import write_v21
from other_worlds import LONGER_ID, RENAMED_ID, SLOWER_ID
from point_world import ENV_ID, demonstration, point_spec, write_demonstrations

from softflow.cli.main import main
from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event, Label

Captured = pytest.CaptureFixture[str]


def say(*words: str | Path) -> int:
    return main(["data", *map(str, words)])


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Two LeRobot episodes of actions [T, 2] within ±1, of which the format tells no bounds."""
    return write_v21(tmp_path / "recordings")


def spec_of(store: Path) -> DataSpec:
    return EpisodeStore.open(store).spec


# ---- at import ----------------------------------------------------------------------------------


def test_numbers_at_import(recordings: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    bounds = ("--action-low", "-1", "--action-high", "1.5", "2")
    assert say("import", "lerobot", recordings, "--out", store, *bounds) == 0
    assert spec_of(store).action_low == (-1.0, -1.0)
    assert spec_of(store).action_high == (1.5, 2.0)


def test_bounds_of_the_environment_at_import(recordings: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    assert say("import", "lerobot", recordings, "--out", store, "--env-id", ENV_ID) == 0
    assert spec_of(store).action_low == (-1.0, -1.0)
    assert spec_of(store).action_high == (1.0, 1.0)
    assert spec_of(store).env_id == ENV_ID


def test_a_check_tells_of_an_environment_that_does_not_fit(
    recordings: Path, capsys: Captured
) -> None:
    assert say("import", "lerobot", recordings, "--check", "--env-id", SLOWER_ID) == 0
    said = capsys.readouterr().out
    assert f"careful: '{SLOWER_ID}' gives other observations" in said
    assert f"--env-id {SLOWER_ID} --replace-env" in said
    assert say("import", "lerobot", recordings, "--check") == 0
    assert "careful" not in capsys.readouterr().out


def test_an_environment_that_is_not_here_is_no_reason_not_to_import(
    recordings: Path, tmp_path: Path, capsys: Captured
) -> None:
    store, env_id = tmp_path / "store", "robot-of-tomorrow"
    assert say("import", "lerobot", recordings, "--out", store, "--env-id", env_id) == 0
    said = capsys.readouterr().err
    assert "the actions keep the bounds of the recordings" in said
    assert f"softflow data bounds {store} --env-id {env_id}" in said
    lowest = min(EpisodeStore.open(store).episode(i).actions.min() for i in range(2))
    assert min(spec_of(store).action_low) == pytest.approx(lowest)


def test_actions_outside_given_bounds_are_refused_with_their_place(
    recordings: Path, tmp_path: Path, capsys: Captured
) -> None:
    store = tmp_path / "store"
    bounds = ("--action-low", "-1", "--action-high", "1", "0.5")
    assert say("import", "lerobot", recordings, "--out", store, *bounds) == 2
    said = capsys.readouterr().err
    actions = np.random.default_rng(0)
    actions.normal(size=(8, 3))
    values = actions.uniform(-1, 1, (8, 2)).astype(np.float32)
    step = int(np.argmax(values[:, 1] > 0.5))
    assert f"step {step}, component 1 is {values[step, 1]:.6g}, outside [-1, 0.5]" in said
    assert "episode_000000" in said or "episode 0" in said
    assert not (store / "store.json").exists()
    assert say("import", "lerobot", recordings, "--check", *bounds) == 1
    assert "[action-outside]" in capsys.readouterr().out


def test_more_recordings_go_into_a_store_of_wider_bounds(
    recordings: Path, tmp_path: Path, capsys: Captured
) -> None:
    store, more = tmp_path / "store", write_v21(tmp_path / "more", lengths=(40,))
    assert say("import", "lerobot", recordings, "--out", store) == 0
    assert say("import", "lerobot", more, "--out", store) == 2
    command = next(
        line for line in capsys.readouterr().err.splitlines() if "softflow data bounds" in line
    )
    assert main(command.split()[1:]) == 0, "the command that it names helps"
    assert say("import", "lerobot", more, "--out", store) == 0
    assert say("import", "lerobot", recordings, "--out", store) == 0
    assert len(EpisodeStore.open(store)) == 3


# ---- later --------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three demonstrations of the point world, whose first is cut by a label."""
    path = write_demonstrations(tmp_path / "demos", (True, True, False))
    EpisodeStore.open(path).label(0, Label("anna", (Event(1, "success", 1.0),)))
    return path


def test_wider_bounds_change_no_episode(store: Path) -> None:
    files = {file: file.read_bytes() for file in store.rglob("*.zip")}
    assert say("bounds", store, "--action-low", "-2", "--action-high", "2", "3") == 0
    assert spec_of(store).action_low == (-2.0, -2.0)
    assert spec_of(store).action_high == (2.0, 3.0)
    assert {file: file.read_bytes() for file in store.rglob("*.zip")} == files
    assert say("validate", store, "--ignore", "jump") == 0


def test_bounds_that_an_action_leaves_are_refused(store: Path, capsys: Captured) -> None:
    """Also one behind the end that a label gives the episode: it was recorded."""
    before = (store / "store.json").read_bytes()
    actions = EpisodeStore.open(store).episode(0, labelled=False).actions
    high = float(np.sort(np.abs(actions[:, 0]))[-1]) - 0.01
    assert say("bounds", store, f"--action-high={high}", f"--action-low={-high}") == 2
    said = capsys.readouterr().err
    assert "episode 0 of" in said
    assert "step" in said
    assert "component" in said
    assert (store / "store.json").read_bytes() == before


def test_tighter_bounds_that_hold_all_actions_are_taken(store: Path) -> None:
    assert say("bounds", store, "--action-low", "-5", "--action-high", "5") == 0
    assert say("bounds", store, "--env-id", ENV_ID) == 0
    assert spec_of(store) == point_spec()


def test_a_store_that_names_no_environment_is_given_one(tmp_path: Path, capsys: Captured) -> None:
    unknown = DataSpec({"observation.state": (4,)}, 2, (-0.9, -0.9), (1.0, 1.0), 10.0)
    with EpisodeStore.create(tmp_path / "store", unknown):
        pass
    assert say("bounds", tmp_path / "store", "--env-id", ENV_ID) == 0
    assert f"its environment is now '{ENV_ID}'" in capsys.readouterr().out
    assert spec_of(tmp_path / "store") == point_spec()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give --env-id, --action-low or --action-high"),
        (("--action-low", "-1", "-1", "-1"), "--action-low has 3 values for 2"),
        (("--env-id", "cube-single"), f"names the environment '{ENV_ID}'"),
        (("--action-low", "nan"), "must be finite"),
    ],
)
def test_what_cannot_be_meant(
    store: Path, capsys: Captured, words: tuple[str, ...], said: str
) -> None:
    before = (store / "store.json").read_bytes()
    assert say("bounds", store, *words) == 2
    assert said in capsys.readouterr().err
    assert (store / "store.json").read_bytes() == before


@pytest.mark.parametrize(
    ("env_id", "said"),
    [
        (LONGER_ID, "observation_shapes['observation.state']: (4,) and (5,)"),
        (SLOWER_ID, "control_hz: 10.0 and 5.0"),
    ],
)
def test_an_environment_that_the_data_do_not_fit_is_not_named(
    tmp_path: Path, capsys: Captured, env_id: str, said: str
) -> None:
    path = tmp_path / "store"
    with EpisodeStore.create(path, replace(point_spec(), env_id="")):
        pass
    before = (path / "store.json").read_bytes()
    assert say("bounds", path, "--env-id", env_id) == 2
    error = capsys.readouterr().err
    assert f"the data in '{path}' and the environment '{env_id}' do not fit" in error
    assert said in error
    assert f"For its bounds alone: softflow data bounds {path} --action-low -1" in error
    assert (path / "store.json").read_bytes() == before


def test_another_environment_replaces_the_one_that_was_named_by_mistake(
    tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "store"
    wrong = replace(point_spec(), env_id=LONGER_ID, neutral_action=(0.5, 0.5))
    with EpisodeStore.create(path, wrong) as store:
        store.append(demonstration(0, towards_goal=True))
    assert say("bounds", path, "--env-id", ENV_ID) == 2
    said = capsys.readouterr().err
    command = said[said.index("softflow data bounds") :].strip()
    assert command == f"softflow data bounds {path} --env-id {ENV_ID} --replace-env"
    assert main(command.split()[1:]) == 0, "the command that it names helps"
    assert spec_of(path) == point_spec(), "what holds still is the environment's too"
    assert say("bounds", path, "--env-id", SLOWER_ID, "--replace-env") == 2
    assert spec_of(path) == point_spec()


def test_importing_again_names_the_command_for_another_name(
    recordings: Path, tmp_path: Path, capsys: Captured
) -> None:
    store = tmp_path / "store"
    assert say("import", "lerobot", recordings, "--out", store, "--env-id", RENAMED_ID) == 0
    assert say("import", "lerobot", recordings, "--out", store, "--env-id", ENV_ID) == 2
    said = capsys.readouterr().err
    assert f"softflow data bounds {store} --env-id {ENV_ID} --replace-env" in said


def test_nobody_else_may_be_writing(store: Path, capsys: Captured) -> None:
    with EpisodeStore.open(store, writable=True) as writer:
        assert say("bounds", store, "--action-low", "-2") == 2
        writer.append(demonstration(9, towards_goal=True))
    assert "writ" in capsys.readouterr().err
    assert spec_of(store) == point_spec()
