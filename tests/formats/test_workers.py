"""Imports by several processes: the same store, whatever happens to them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from robomimic_files import AGENTVIEW, array, edited, replace, write

from softflow.data.episode_store import EpisodeStore
from softflow.data.files.frame_storage import FrameStorage
from softflow.errors import DataError
from softflow.formats.importing import import_into
from softflow.formats.robomimic.reading import RobomimicSource
from softflow.formats.workers import usual_jobs
from softflow.utils.progress import SilentProgress

DEMOS = 5


class Heard(SilentProgress):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def imported(
    path: Path, store: Path, jobs: int, skip_bad: bool = False, frames: FrameStorage | None = None
) -> tuple[int, list[str]]:
    heard = Heard()
    again = partial(RobomimicSource, path, image_size=(4, 5))
    how: dict[str, Any] = {"jobs": jobs, "skip_bad": skip_bad, "frames": frames}
    number = import_into(again(), store, heard, open_again=again, **how)
    return number, heard.lines


@pytest.mark.slow
def test_several_processes_make_the_same_store(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5", demos=DEMOS)
    imported(path, tmp_path / "one", 1)
    number, lines = imported(path, tmp_path / "two", 2)
    assert (number, lines) == (DEMOS, [])
    one, two = (EpisodeStore.open(tmp_path / name) for name in ("one", "two"))
    assert two.spec == one.spec
    assert [s.digest for s in two.summaries()] == [s.digest for s in one.summaries()]
    np.testing.assert_array_equal(
        two.episode(4).observations[AGENTVIEW], one.episode(4).observations[AGENTVIEW]
    )
    assert not list((tmp_path / "two/episodes").glob(".*"))
    assert imported(path, tmp_path / "two", 2) == (0, []), "it goes on"


@pytest.mark.slow
def test_several_processes_store_the_same_jpegs(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5", demos=DEMOS)
    for name, jobs in (("one", 1), ("two", 2)):
        imported(path, tmp_path / name, jobs, frames=FrameStorage("jpeg", 90))
    one, two = (EpisodeStore.open(tmp_path / name) for name in ("one", "two"))
    assert two.frames == FrameStorage("jpeg", 90)
    assert [s.digest for s in two.summaries()] == [s.digest for s in one.summaries()]
    assert {s.frames.storage for s in two.summaries() if s.frames} == {two.frames}
    with pytest.raises(DataError, match="frames: JPEG of quality 90 and JPEG of quality 80"):
        imported(path, tmp_path / "two", 2, frames=FrameStorage("jpeg", 80))


@pytest.mark.slow
def test_what_is_unusable_is_told_by_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf5", demos=DEMOS)
    with edited(path) as data:
        for demo in ("demo_0", "demo_2"):
            values = array(data, f"{demo}/actions")
            values[1, 0] = np.nan
            replace(data, f"{demo}/actions", values)
    number, lines = imported(path, tmp_path / "store", 2, skip_bad=True)
    assert number == DEMOS - 2
    assert [line.partition(":")[0] for line in lines[:2]] == ["left out demo_0", "left out demo_2"]
    with pytest.raises(DataError, match="demo_0: 'action' at step 1, component 0 is nan"):
        imported(path, tmp_path / "store", 2)
    assert len(EpisodeStore.open(tmp_path / "store", writable=True)) == DEMOS - 2
    assert not list((tmp_path / "store/episodes").glob(".*"))


def test_few_episodes_or_none_with_cameras_are_not_worth_it(tmp_path: Path) -> None:
    spec = RobomimicSource(write(tmp_path / "a.hdf5")).spec
    assert usual_jobs(spec, 7) == 1
    assert usual_jobs(spec, 1000) >= 1
    bare = RobomimicSource(tmp_path / "a.hdf5", cameras=[]).spec
    assert usual_jobs(bare, 1000) == 1
