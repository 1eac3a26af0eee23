"""From somebody's recordings to a trained imitation policy with two commands, for every format."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from softflow.cli.main import main
from softflow.data.episode_store import EpisodeStore
from softflow.envs.contract import data_spec
from softflow.envs.registry import make_env

FORMATS = Path(__file__).parent / "formats"
EXAMPLE = Path(__file__).parents[1] / "examples" / "import_adroit_door.py"


Train = Callable[[Path, Path], None]


def say(words: str) -> None:
    assert main(words.split()) == 0


@pytest.fixture
def train(tiny_imitation: list[str]) -> Train:
    """The second command; a checkpoint shows that it ended well."""

    def run_it(store: Path, run: Path) -> None:
        words = f"train small --dataset {store} --run {run}".split()
        assert main([*words, *tiny_imitation]) == 0
        assert (run / "checkpoints" / "last").exists()
        assert (run / "report.html").exists()

    return run_it


def test_robomimic(tmp_path: Path, train: Train) -> None:
    file = next(iter(sorted(FORMATS.glob("robomimic/fixtures/robomimic*.hdf5"))))
    say(f"data import robomimic {file} --out {tmp_path / 'store'} --unlabelled success")
    train(tmp_path / "store", tmp_path / "run")


def d4rl_file(path: Path) -> Path:
    """Three episodes of 12 steps, end to end; the last step of each reaches the goal."""
    rng = np.random.default_rng(0)
    last = np.arange(36) % 12 == 11
    with h5py.File(path, "w") as file:
        file["observations"] = rng.normal(size=(36, 5)).astype(np.float32)
        file["actions"] = rng.uniform(-1, 1, (36, 2)).astype(np.float32)
        file["rewards"] = last.astype(np.float32)
        file["terminals"] = last
        file["timeouts"] = np.zeros(36, bool)
        file["infos/goal_achieved"] = last
    return path


def test_d4rl(tmp_path: Path, train: Train) -> None:
    file = d4rl_file(tmp_path / "reach.hdf5")
    say(f"data import d4rl {file} --out {tmp_path / 'store'} --control-hz 20")
    store = EpisodeStore.open(tmp_path / "store")
    assert [summary.success for summary in store.summaries()] == [True, True, True]
    train(tmp_path / "store", tmp_path / "run")


def test_who_was_told_of_success_is_not_asked_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, file = tmp_path / "store", d4rl_file(tmp_path / "reach.hdf5")
    with h5py.File(file, "r+") as silent:
        del silent["rewards"], silent["infos"]
        silent["rewards"] = np.zeros(36, np.float32)
    say(f"data import d4rl {file} --out {store} --control-hz 20")
    told = capsys.readouterr().out
    assert "3 say nothing of success" in told
    advised = told[told.index("softflow data relabel") :].splitlines()[0]
    say(advised.removeprefix("softflow ").replace("YOUR_NAME", "anna"))
    say(f"data export robomimic {store} {tmp_path / 'out.hdf5'}")
    say(f"data import robomimic {tmp_path / 'out.hdf5'} --out {tmp_path / 'again'}")
    told = capsys.readouterr().out
    assert "3 successful" in told
    assert "say nothing" not in told


def test_minari(tmp_path: Path, train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody opens the door in these two recordings; a rule says what shall count instead."""
    dataset, store = FORMATS / "minari" / "fixtures" / "minari_adroit_door", tmp_path / "store"
    say(f"data import minari {dataset} --out {store}")
    words = f"train small --dataset {store} --run {tmp_path / 'run'} --stages imitation"
    assert main(words.split()) == 2
    assert "softflow data relabel" in capsys.readouterr().err
    say(f"data relabel {store} --success-when observation.state[28]>-9 --write")
    train(store, tmp_path / "run")


def test_minari_recordings_of_the_adroit_hand_fit_its_environment(tmp_path: Path) -> None:
    """Its dense rewards are replaced by 1 where the door counts as open."""
    dataset, path = FORMATS / "minari" / "fixtures" / "minari_adroit_door", tmp_path / "store"
    say(f"data import minari {dataset} --out {path} --env-id adroit-door")
    say(f"data relabel {path} --success-when observation.state[28]>=-9 --write")
    store, env = EpisodeStore.open(path), make_env("adroit-door")
    assert store.spec.differences(data_spec(env, "adroit-door")) == []
    episode = store.episode(0)
    assert (episode.rewards.sum(), episode.rewards[-1], episode.terminated) == (1.0, 1.0, True)


def test_lerobot_out_and_in_again(tmp_path: Path, train: Train) -> None:
    file = d4rl_file(tmp_path / "reach.hdf5")
    say(f"data import d4rl {file} --out {tmp_path / 'store'} --control-hz 20")
    say(f"data export lerobot {tmp_path / 'store'} {tmp_path / 'lerobot'}")
    say(f"data import lerobot {tmp_path / 'lerobot'} --out {tmp_path / 'again'}")
    first, again = EpisodeStore.open(tmp_path / "store"), EpisodeStore.open(tmp_path / "again")
    assert len(first) == len(again) == 3
    for index in range(3):
        ours, theirs = first.episode(index), again.episode(index)
        np.testing.assert_array_equal(ours.actions, theirs.actions)
        np.testing.assert_array_equal(ours.rewards, theirs.rewards)
        for key, values in ours.observations.items():
            np.testing.assert_array_equal(values, theirs.observations[key])
    train(tmp_path / "again", tmp_path / "run")


def test_two_files_of_one_name_fill_one_store(tmp_path: Path) -> None:
    for folder in ("monday", "tuesday"):
        (tmp_path / folder).mkdir()
        file = d4rl_file(tmp_path / folder / "reach.hdf5")
        say(f"data import d4rl {file} --out {tmp_path / 'store'} --control-hz 20")
    assert len(EpisodeStore.open(tmp_path / "store")) == 6


@pytest.mark.slow
def test_the_example_of_an_importer_of_ones_own(
    tmp_path: Path, shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = shared_data / "adroit_door_human" / "door_human.npz"
    monkeypatch.setattr(
        sys, "argv", ["import_adroit_door.py", str(archive), str(tmp_path / "door")]
    )
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    store = EpisodeStore.open(tmp_path / "door")
    summaries = store.summaries()
    assert (len(store), sum(summary.success for summary in summaries)) == (25, 7)
    assert store.spec == data_spec(make_env("adroit-door"), "adroit-door")
    with np.load(archive) as data:
        first = store.episode(0)
        np.testing.assert_array_equal(first.actions, data["actions"][: first.length].clip(-1, 1))
        if not first.success:
            assert first.length == data["lengths"][0]


def test_online_rl_without_an_environment_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    say(f"data import d4rl {d4rl_file(tmp_path / 'x.hdf5')} --out {tmp_path / 's'} --control-hz 20")
    assert main(["train", "--dataset", str(tmp_path / "s"), "--run", str(tmp_path / "r")]) == 2
    assert "names no environment, and online_rl collects episodes" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_without_an_environment_likelihood_is_what_is_told(
    tmp_path: Path, tiny_imitation: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """And where the policy is; `evaluate` says why it cannot."""
    file, store, run = d4rl_file(tmp_path / "x.hdf5"), tmp_path / "s", tmp_path / "r"
    say(f"data import d4rl {file} --out {store} --control-hz 20")
    words = f"train small --dataset {store} --run {run}".split()
    assert main([*words, *tiny_imitation]) == 0
    said = capsys.readouterr().out
    assert "with 3 successful episodes none is kept out of training to measure on" in said
    assert f"policy: {run / 'checkpoints' / 'last'}\nreport: {run / 'report.html'}" in said
    page = (run / "report.html").read_text()
    assert "Success is not measured: its data names no environment." in page
    assert "incomplete" not in page
    assert main(["evaluate", str(run / "checkpoints" / "last")]) == 2
    assert "names no environment, so there is none to measure success in" in capsys.readouterr().err
    assert not (run / "evaluations").exists()


@pytest.mark.slow
def test_many_demonstrations_without_an_environment(
    tmp_path: Path, tiny_imitation: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    file, store, run = d4rl_file(tmp_path / "x.hdf5"), tmp_path / "s", tmp_path / "r"
    for number in range(7):
        copy = tmp_path / f"x{number}.hdf5"
        copy.write_bytes(file.read_bytes())
        say(f"data import d4rl {copy} --out {store} --control-hz 20")
    assert main([*f"train small --dataset {store} --run {run}".split(), *tiny_imitation]) == 0
    said = capsys.readouterr().out
    assert "the policy is measured on 1 of 21 successful episodes, which no stage" in said
    assert "bits per dimension on held-out demonstrations" in said
    assert "held-out demonstrations: best after update" in said
    assert "Held-out log-likelihood: " in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("data import", "softflow data import: read foreign data"),
        ("data export", "softflow data export: write an episode store"),
        ("data import robomimic --help", "Demonstrations of this `mask` only"),
        ("data export lerobot --help", "H.264 video is small and slightly lossy"),
    ],
)
def test_help_teaches(words: str, message: str) -> None:
    command = "import sys; from softflow.cli.main import main; sys.exit(main())"
    process = subprocess.run(
        [sys.executable, "-c", command, *words.split()],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert message in process.stdout


def test_an_unknown_format_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "import", "lerobt"]) == 2
    assert 'no command "data import lerobt"; did you mean "lerobot"?' in capsys.readouterr().err


def test_a_bad_episode_stops_an_import_unless_it_may_be_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = d4rl_file(tmp_path / "reach.hdf5")
    with h5py.File(file, "r+") as content:
        observations = content["observations"]
        assert isinstance(observations, h5py.Dataset)
        observations[14, 2] = np.nan
    words = [
        "data",
        "import",
        "d4rl",
        str(file),
        "--out",
        str(tmp_path / "s"),
        "--control-hz",
        "20",
    ]
    assert main(words) == 2
    assert "--skip-bad goes on without such episodes" in capsys.readouterr().err
    assert main([*words, "--skip-bad"]) == 0
    assert "nan" in capsys.readouterr().err
    assert len(EpisodeStore.open(tmp_path / "s")) == 2


def test_cameras_can_be_made_smaller(tmp_path: Path) -> None:
    file = next(iter(sorted(FORMATS.glob("robomimic/fixtures/robomimic*.hdf5"))))
    say(f"data import robomimic {file} --out {tmp_path / 'large'}")
    say(f"data import robomimic {file} --out {tmp_path / 'small'} --image-size 16 20")
    large, small = EpisodeStore.open(tmp_path / "large"), EpisodeStore.open(tmp_path / "small")
    assert small.spec.image_size == (16, 20)
    key = small.spec.image_keys[0]
    before, after = large.episode(0).observations[key], small.episode(0).observations[key]
    assert after.shape == (len(before), 16, 20, 3)
    np.testing.assert_allclose(after.mean(), before.mean(), atol=2)
    np.testing.assert_array_equal(large.episode(0).actions, small.episode(0).actions)
