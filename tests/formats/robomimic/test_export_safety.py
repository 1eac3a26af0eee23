"""Exports to RoboMimic that are refused, interrupted or large."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import cast

import h5py
import pytest
from robomimic_stores import FRONT, RICH, STATE, episode_of, exported

from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.errors import DataError, StoreError
from softflow.formats.robomimic.export import export_robomimic
from softflow.formats.robomimic.reading import RobomimicSource
from softflow.utils.progress import SilentProgress

# ---- refusals, crashes, memory ---------------------------------------------------------------


def test_an_existing_file_is_never_replaced(tmp_path: Path, rich_store: EpisodeStore) -> None:
    path = exported(rich_store, tmp_path / "out.hdf5")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"out.hdf5' is there already"):
        export_robomimic(rich_store, path, SilentProgress())
    assert path.read_bytes() == before


def test_an_empty_store_is_refused(tmp_path: Path) -> None:
    store = EpisodeStore.create(tmp_path / "store", RICH)
    with pytest.raises(DataError, match="is empty; there is nothing to export"):
        export_robomimic(store, tmp_path / "out.hdf5", SilentProgress())
    assert not (tmp_path / "out.hdf5").exists()


def test_a_damaged_episode_leaves_no_file_behind(tmp_path: Path, rich_store: EpisodeStore) -> None:
    damaged = rich_store.episode_path(2)
    damaged.write_bytes(damaged.read_bytes()[:-40])
    folder = tmp_path / "out"
    folder.mkdir()
    with pytest.raises(StoreError, match=damaged.name):
        export_robomimic(rich_store, folder / "out.hdf5", SilentProgress())
    assert list(folder.iterdir()) == []


EXPORT_UNDER_LIMITS = """
import resource, sys
from pathlib import Path
from softflow.data.episode_store import EpisodeStore
from softflow.errors import StoreError
from softflow.formats.robomimic.export import export_robomimic
from softflow.utils.progress import SilentProgress

store, path = EpisodeStore.open(sys.argv[1]), Path(sys.argv[2])
for limit in range(50, int(sys.argv[3]), 3000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        export_robomimic(store, path, SilentProgress())
    except StoreError as error:
        assert "limit of this process is reached" in str(error), error
    else:
        raise AssertionError(f"{limit} bytes were enough")
    assert not list(path.parent.iterdir()), limit
"""


@pytest.mark.slow
def test_a_disk_that_fills_up_at_any_moment(tmp_path: Path, rich_store: EpisodeStore) -> None:
    """HDF5 itself ends the process in most of these cases."""
    size = exported(rich_store, tmp_path / "whole.hdf5").stat().st_size
    folder = tmp_path / "out"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", EXPORT_UNDER_LIMITS, rich_store.path, folder / "a.hdf5", str(size)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_folder_that_is_not_there(tmp_path: Path, rich_store: EpisodeStore) -> None:
    with pytest.raises(StoreError, match="create the folder first"):
        export_robomimic(rich_store, tmp_path / "absent" / "out.hdf5", SilentProgress())


def test_a_record_of_a_newer_softflow_is_refused(tmp_path: Path, rich_store: EpisodeStore) -> None:
    path = exported(rich_store, tmp_path / "out.hdf5")
    with h5py.File(path, "a") as file:
        data = cast("h5py.Group", file["data"])
        data.attrs["softflow"] = json.dumps({"version": 2})
    with pytest.raises(DataError, match=r"'softflow' is of version 2, this softflow reads 1"):
        RobomimicSource(path)


class Heard(SilentProgress):
    def __init__(self) -> None:
        self.steps: list[tuple[int, str]] = []
        self.total = 0

    def begin(self, title: str, total: int, done: int = 0) -> None:
        self.total = total

    def advance(self, done: int, status: str = "") -> None:
        self.steps.append((done, status))


def test_progress_is_told_after_every_episode(tmp_path: Path, rich_store: EpisodeStore) -> None:
    heard = Heard()
    export_robomimic(rich_store, tmp_path / "out.hdf5", heard)
    assert heard.total == 4
    assert heard.steps == [(n + 1, f"demo_{n}") for n in range(4)]


@pytest.mark.slow
def test_one_episode_at_a_time_is_in_memory(tmp_path: Path) -> None:
    spec = DataSpec({STATE: (2,), FRONT: (64, 64, 3)}, 1, (-1.0,), (1.0,), 10.0)
    with EpisodeStore.create(tmp_path / "store", spec) as store:
        for seed in range(20):
            store.append(episode_of(spec, 20, seed))
    frames_bytes = 21 * 64 * 64 * 3
    tracemalloc.start()
    exported(store, tmp_path / "out.hdf5")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * frames_bytes < (tmp_path / "out.hdf5").stat().st_size / 4
