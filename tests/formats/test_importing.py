"""What every import does: going on, other options, unusable episodes, one episode in memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import weakref
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from lerobot_datasets import change_info, table_path, write_v21
from robomimic_files import edited, replace, write

from softflow.cli.main import main
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.errors import DataError
from softflow.formats.importing import IMPORTED, OPTIONS, import_into
from softflow.formats.robomimic.reading import RobomimicSource
from softflow.utils.progress import SilentProgress

SPEC = DataSpec({"observation.state": (2,)}, 1, (-1.0,), (1.0,), 10.0)


def say(*words: str | Path) -> int:
    return main(["data", "import", *map(str, words)])


def names(store: Path) -> list[str]:
    """Names of the episodes in a store, without where they came from."""
    return [str(s.metadata[IMPORTED]).split(": ")[-1] for s in EpisodeStore.open(store).summaries()]


# ---- going on --------------------------------------------------------------------------------


def test_a_file_by_another_spelling_is_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("monday", "tuesday"):
        (tmp_path / folder).mkdir()
        write(tmp_path / folder / "demo.hdf5")
    store = tmp_path / "store"
    monkeypatch.chdir(tmp_path / "monday")
    assert say("robomimic", "demo.hdf5", "--out", store) == 0
    assert say("robomimic", "../monday/demo.hdf5", "--out", store) == 0
    assert names(store) == ["demo_0", "demo_1"]
    monkeypatch.chdir(tmp_path / "tuesday")
    assert say("robomimic", "demo.hdf5", "--out", store) == 0
    assert names(store) == ["demo_0", "demo_1"] * 2


IMPORT = "import sys; from softflow.cli.main import main; sys.exit(main())"


@pytest.mark.slow
def test_an_import_killed_at_any_moment_goes_on(tmp_path: Path) -> None:
    file, store = write(tmp_path / "demo.hdf5", demos=60), tmp_path / "store"
    words = ["data", "import", "robomimic", str(file), "--out", str(store)]
    for enough in (2, 20):
        process = subprocess.Popen(
            [sys.executable, "-c", IMPORT, *words], stderr=subprocess.DEVNULL, env=os.environ
        )
        while len(list(store.glob("episodes/*.zip"))) < enough and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert main(words) == 0
    assert names(store) == [f"demo_{number}" for number in range(60)]
    import_into(RobomimicSource(file), tmp_path / "whole", SilentProgress())
    ours, whole = EpisodeStore.open(store), EpisodeStore.open(tmp_path / "whole")
    assert ours.verify() == []
    for index in range(60):
        np.testing.assert_array_equal(ours.episode(index).actions, whole.episode(index).actions)


def test_going_on_with_other_options_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half the episodes cut at success and half not would be two kinds of data."""
    file, store = write(tmp_path / "demo.hdf5", demos=4), tmp_path / "store"
    assert say("robomimic", file, "--out", store, "--filter-key", "even", "--whole") == 0
    assert say("robomimic", file, "--out", store) == 2
    said = capsys.readouterr().err
    assert f"has episodes of {file} that were imported with --whole, now it is the usual" in said
    assert say("robomimic", file, "--out", store, "--whole", "--unlabelled", "success") == 2
    assert "now it is --unlabelled success and --whole; give the same" in capsys.readouterr().err
    # Another filter key, and another file, are no contradiction.
    assert say("robomimic", file, "--out", store, "--whole") == 0
    assert say("robomimic", write(tmp_path / "other.hdf5"), "--out", store) == 0
    assert names(store) == ["demo_0", "demo_2", "demo_1", "demo_3", "demo_0", "demo_1"]


def test_options_of_an_earlier_import_do_not_stay(tmp_path: Path) -> None:
    file, first, again = write(tmp_path / "demo.hdf5"), tmp_path / "first", tmp_path / "again"
    assert say("robomimic", file, "--out", first, "--whole") == 0
    assert EpisodeStore.open(first).summary(0).metadata[OPTIONS] == {"whole": True}
    assert main(["data", "export", "robomimic", str(first), str(tmp_path / "out.hdf5")]) == 0
    for _ in range(2):
        assert say("robomimic", tmp_path / "out.hdf5", "--out", again) == 0
    assert OPTIONS not in EpisodeStore.open(again).summary(0).metadata


def test_more_recordings_with_wider_actions_say_why(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, wider = tmp_path / "store", write_v21(tmp_path / "wider", lengths=(30,))
    assert say("lerobot", dataset, "--out", store) == 0
    assert say("lerobot", wider, "--out", store) == 2
    said = capsys.readouterr().err
    assert f"the actions of {wider} have other bounds" in said
    assert "which more recordings widen. Give the store bounds for all:" in said
    assert f"softflow data bounds {store} --action-low" in said


def test_a_mistake_leaves_no_store_to_be_deleted(tmp_path: Path) -> None:
    file, store = write(tmp_path / "demo.hdf5"), tmp_path / "store"
    with edited(file) as data:
        for number in range(2):
            replace(data, f"demo_{number}/obs/qpos", np.full((6, 1), np.nan))
    assert say("robomimic", file, "--out", store) == 2
    assert not store.exists()
    assert say("robomimic", file, "--out", store, "--state-keys", "eef_pos") == 0
    assert EpisodeStore.open(store).spec.observation_shapes["observation.state"] == (3,)


# ---- unusable episodes -----------------------------------------------------------------------


def test_a_demonstration_without_actions_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is asked of all demonstrations before the first is read must not fail for one."""
    file, store = write(tmp_path / "demo.hdf5", demos=4), tmp_path / "store"
    with edited(file) as data:
        del data["demo_0/obs"], data["demo_1/actions"]
        replace(data, "demo_2/actions", np.zeros((6, 5)))
    assert say("robomimic", file, "--out", store) == 2
    assert "data/demo_0" in capsys.readouterr().err
    assert say("robomimic", file, "--out", store, "--skip-bad") == 0
    said = capsys.readouterr().err
    assert "left out 3 of 4 episodes" in said
    assert "demo_1 has no array 'actions'" in said
    assert names(store) == ["demo_3"]


def test_nothing_usable_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, store = write(tmp_path / "demo.hdf5"), tmp_path / "store"
    with edited(file) as data:
        for number in range(2):
            replace(data, f"demo_{number}/rewards", np.full(6, np.nan))
    assert say("robomimic", file, "--out", store, "--skip-bad") == 2
    assert "none of its 2 episodes can be used, see above" in capsys.readouterr().err
    assert not store.exists()


def test_a_minari_episode_without_actions_is_left_out(tmp_path: Path) -> None:
    file, store = tmp_path / "main_data.hdf5", tmp_path / "store"
    with h5py.File(file, "w") as content:
        for number in range(3):
            group = content.create_group(f"episode_{number}")
            group["observations"] = np.random.default_rng(number).normal(size=(6, 3))
            for key in ("rewards", "terminations", "truncations"):
                group[key] = np.zeros(5)
            if number:
                group["actions"] = np.full((5, 2), 0.1 * number)
    assert say("minari", tmp_path, "--out", store, "--control-hz", "10", "--skip-bad") == 0
    assert names(store) == ["episode_1", "episode_2"]


def test_a_missing_lerobot_table_is_left_out(dataset: Path, tmp_path: Path) -> None:
    table_path(dataset, 0).unlink()
    assert say("lerobot", dataset, "--out", tmp_path / "store") == 2
    assert say("lerobot", dataset, "--out", tmp_path / "store", "--skip-bad") == 0
    assert names(tmp_path / "store") == ["episode_000001"]


# ---- looking before importing ----------------------------------------------------------------


def test_a_check_lists_every_problem_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "demo.hdf5", demos=3)
    with edited(file) as data:
        del data["demo_1/rewards"]
        replace(data, "demo_2/actions", np.full((6, 2), np.nan))
    before = sorted(tmp_path.rglob("*"))
    assert say("robomimic", file, "--check") == 1
    said = capsys.readouterr().out
    assert "error: demo_2: " in said
    assert "'action' at step 0, component 0 is nan" in said
    assert "warning: demo_1: " in said
    assert f"{file}: 3 episodes, 1 of them with errors" in said
    assert sorted(tmp_path.rglob("*")) == before


def test_a_check_sees_what_would_be_imported(
    dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert say("lerobot", dataset, "--check") == 0
    assert "unlabelled" in (said := capsys.readouterr().out) or "label" in said
    assert say("lerobot", dataset, "--check", "--unlabelled", "success") == 0
    assert "missing-label" not in capsys.readouterr().out
    change_info(dataset, lambda info: info["features"]["action"].update(shape=[9]))
    assert say("lerobot", dataset, "--check") == 1
    assert "2 of them with errors" in capsys.readouterr().out


def test_without_out_nothing_is_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert say("robomimic", write(tmp_path / "demo.hdf5")) == 2
    assert "give --out, the episode store to fill, or --check" in capsys.readouterr().err


# ---- memory ----------------------------------------------------------------------------------


class Watched:
    """A source that looks whether its last episode is still around when it reads the next."""

    def __init__(self, path: Path) -> None:
        self.path, self.spec = path, SPEC
        self._last: Any = lambda: None

    def episodes(self) -> list[str]:
        return [f"demo_{number}" for number in range(5)]

    def read(self, name: str) -> Episode:
        assert self._last() is None, "two episodes in memory"
        if name == "demo_3":
            raise DataError("demo_3 is broken")
        rows = np.random.default_rng(0).normal(size=(9, 2)).astype(np.float32)
        zeros = np.zeros(8, np.float32)
        episode = Episode({"observation.state": rows}, zeros[:, None], zeros, False, True, False)
        self._last = weakref.ref(episode)
        return episode


@pytest.mark.parametrize("unlabelled", ["unknown", "success"])
def test_one_episode_at_a_time_is_in_memory(tmp_path: Path, unlabelled: Any) -> None:
    source, store = Watched(tmp_path / "data"), tmp_path / "store"
    options: dict[str, Any] = {"unlabelled": unlabelled, "skip_bad": True}
    assert import_into(source, store, SilentProgress(), **options) == 4


def test_an_episode_too_large_for_memory_says_what_to_do(tmp_path: Path) -> None:
    class Huge(Watched):
        def read(self, name: str) -> Episode:
            raise MemoryError

    with pytest.raises(DataError, match=r"demo_0 does not fit into memory; cut the recording"):
        import_into(Huge(tmp_path / "data"), tmp_path / "store", SilentProgress())


# ---- options that make no sense --------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("robomimic FOLDER --check", "is a folder; give an HDF5 file"),
        ("d4rl FOLDER --check", "is a folder; give an HDF5 file"),
        ("d4rl FILE --check --max-episode-steps 0", "--max-episode-steps is 0; give 1 or more"),
        ("robomimic FILE --check --state-keys qpos qpos", "names 'qpos' twice"),
        ("lerobot FOLDER --check", "check the path; give the folder with meta/ and data/ in it"),
    ],
)
def test_a_slip_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    file = write(tmp_path / "demo.hdf5")
    said = words.replace("FOLDER", str(tmp_path / "folder")).replace("FILE", str(file))
    assert say(*said.split()) == 2
    assert message in capsys.readouterr().err


# ---- a path of another format ----------------------------------------------------------------


def test_the_error_of_a_wrong_importer_names_the_right_one(
    tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("files", "flat"):
        (tmp_path / folder).mkdir()
    file, store = write(tmp_path / "files" / "demo.hdf5"), tmp_path / "store"
    flat = tmp_path / "flat" / "hopper.hdf5"
    with h5py.File(flat, "w") as content:
        content["observations"], content["actions"] = np.zeros((4, 2)), np.zeros((4, 1))
    assert say("robomimic", file, "--out", store) == 0
    for importer, path, told in (
        ("d4rl", file, f"softflow data import robomimic {file}"),
        ("minari", file, f"softflow data import robomimic {file}"),
        ("robomimic", flat, f"softflow data import d4rl {flat}"),
        ("robomimic", dataset, f"softflow data import lerobot {dataset}"),
        ("lerobot", store, f"train with --dataset {store}"),
        ("robomimic", file.parent, f"it holds demo.hdf5: softflow data import robomimic {file}"),
        ("lerobot", dataset.parent, f"softflow data import lerobot {dataset}"),
        ("robomimic", tmp_path / "nothing", f"there is no {tmp_path / 'nothing'}; check the path"),
    ):
        capsys.readouterr()
        assert say(importer, path, "--check") == 2
        assert told in capsys.readouterr().err, (importer, path)


def test_a_damaged_file_is_not_taken_for_another_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(tmp_path / "demo.hdf5")
    file.write_bytes(file.read_bytes()[:-100])
    assert say("d4rl", file, "--check") == 2
    assert "looks like" not in capsys.readouterr().err


def test_what_an_import_leaves_to_do_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """robosuite's own files say nothing of success, and hold the simulator's state only."""
    file, store = tmp_path / "demo.hdf5", tmp_path / "store"
    with h5py.File(file, "w") as content:
        content.create_group("data").attrs["env"] = "Lift"
        content["data/demo_0/states"], content["data/demo_0/actions"] = np.eye(12), np.eye(12)
    assert say("robomimic", file, "--out", store, "--control-hz", "20") == 0
    said = capsys.readouterr().out
    assert "the state is the simulator's own" in said
    (command,) = [line.strip() for line in said.splitlines() if "relabel" in line]
    assert main(command.split()[1:]) == 0
    assert [s.success for s in EpisodeStore.open(store).summaries()] == [True]
