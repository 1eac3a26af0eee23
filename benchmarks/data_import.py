"""What an import costs against merely reading the source, and what the store takes on the disk;
what a merge costs against copying its files."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import av
import h5py
import numpy as np
import pyarrow.parquet as pq

from benchmarks.data_images import image_store
from benchmarks.measuring import Row, Section, measure
from softflow.curation.copying import merge
from softflow.data.episode_store import EpisodeStore
from softflow.formats.importing import import_into
from softflow.formats.lerobot.export import export_lerobot
from softflow.formats.lerobot.reading import LeRobotSource
from softflow.formats.robomimic.export import export_robomimic
from softflow.formats.robomimic.reading import RobomimicSource
from softflow.formats.source import Source
from softflow.utils.files import sync_to_disk
from softflow.utils.progress import SilentProgress

CAMERAS, PIXELS = 2, 84
LARGE_PIXELS = 480
"""Of the camera whose import is shared by processes."""


def run(turns: int, num_episodes: int = 8, length: int = 100) -> Section:
    """Rows for RoboMimic and LeRobot files that hold the same episodes."""
    quiet = SilentProgress()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        store = image_store(root / "origin", CAMERAS, PIXELS, num_episodes, length)
        export_robomimic(store, root / "data.hdf5", quiet)
        rows += _rows(
            "RoboMimic HDF5", root, root / "data.hdf5", RobomimicSource, _read_hdf5, turns
        )
        export_lerobot(store, root / "lerobot", quiet)
        rows += _rows("LeRobot, H.264", root, root / "lerobot", LeRobotSource, _read_lerobot, turns)
        if num_episodes > 1:
            rows += _jobs_rows(root, turns, num_episodes, length)
        rows += _merge_rows(store, root, turns)
    title = f"Importing {num_episodes} episodes of {length} steps, {CAMERAS} × {PIXELS} × {PIXELS}"
    return Section(title, "this ÷ reading", rows)


def _rows(
    name: str,
    root: Path,
    path: Path,
    make_source: Callable[[Path], Source],
    read: Callable[[Path], object],
    turns: int,
) -> list[Row]:
    target = root / "imported"

    def imported() -> None:
        shutil.rmtree(target, ignore_errors=True)
        import_into(make_source(path), target, SilentProgress())

    timings = measure({"read": lambda: read(path), "import": imported}, turns)
    steps = sum(summary.length for summary in EpisodeStore.open(target).summaries())
    ms = timings.ms("import")
    speed = f"{steps / ms.median * 1000:,.0f} steps/s"
    size = f"{_bytes(target) / _bytes(path):.2f} times its size on the disk"
    return [
        Row(f"{name}: read and decode", timings.ms("read")),
        Row(
            f"{name}: import",
            ms,
            timings.ratio("import", "read"),
            aim="≤ 1.5",
            note=f"{speed}; {size}",
        ),
    ]


def _jobs_rows(root: Path, turns: int, num_episodes: int, length: int) -> list[Row]:
    """One process against two, of larger frames: to begin a process takes a second or two."""
    store = image_store(root / "large", 1, LARGE_PIXELS, num_episodes, length)
    export_lerobot(store, root / "large_lerobot", SilentProgress())
    target, source = root / "imported", partial(LeRobotSource, root / "large_lerobot")

    def imported(jobs: int) -> None:
        shutil.rmtree(target, ignore_errors=True)
        import_into(source(), target, SilentProgress(), open_again=source, jobs=jobs)

    timings = measure({"1": lambda: imported(1), "2": lambda: imported(2)}, turns)
    name = f"LeRobot, H.264 of {LARGE_PIXELS} × {LARGE_PIXELS}: import"
    note = f"this ÷ one process, with {len(os.sched_getaffinity(0))} cores"
    return [
        Row(f"{name}, one process", timings.ms("1")),
        Row(f"{name}, two processes", timings.ms("2"), timings.ratio("2", "1"), note=note),
    ]


def _merge_rows(store: EpisodeStore, root: Path, turns: int) -> list[Row]:
    copied, merged = root / "copied", root / "merged"

    def copy() -> None:
        shutil.rmtree(copied, ignore_errors=True)
        shutil.copytree(store.path, copied)
        for file in copied.rglob("*"):
            sync_to_disk(file)

    def merge_again() -> None:
        shutil.rmtree(merged, ignore_errors=True)
        merge([store], merged)

    timings = measure({"copy": copy, "merge": merge_again}, turns)
    ms = timings.ms("merge")
    speed = f"{_bytes(merged) / 1e6 / ms.median * 1000:,.0f} MB/s"
    return [
        Row("files of a store copied and flushed", timings.ms("copy")),
        Row("merge", ms, timings.ratio("merge", "copy"), aim="≤ 2", note=speed),
    ]


def _read_hdf5(path: Path) -> None:
    def visit(_: str, node: object) -> None:
        if isinstance(node, h5py.Dataset):
            np.asarray(node)

    with h5py.File(path) as file:
        file.visititems(visit)


def _read_lerobot(path: Path) -> None:
    for table in path.rglob("*.parquet"):
        pq.read_table(table)
    for video in path.rglob("*.mp4"):
        with av.open(str(video)) as container:
            for frame in container.decode(video=0):
                frame.to_ndarray(format="rgb24")


def _bytes(path: Path) -> int:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)
