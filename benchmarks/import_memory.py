"""How much memory of its own an import takes, by length of an episode and size of frames."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import h5py
import numpy as np

from benchmarks.data_memory import status_mb
from benchmarks.measuring import Row, Section, Spread
from softflow.formats.act.reading import ActSource
from softflow.formats.importing import import_into
from softflow.utils.progress import SilentProgress

LENGTHS = (200, 1000)
HEIGHT, WIDTH = 480, 640
SAMPLED_S = 0.01


def run(lengths: tuple[int, ...] = LENGTHS, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Section:
    """Rows for every length, frames as they are and reduced; each in a process of its own."""
    rows: list[Row] = []
    for reduced in (None, (84, 84)):
        first = 0.0
        for length in lengths:
            with tempfile.TemporaryDirectory() as folder:
                _recording(Path(folder) / "episode_0.hdf5", length, size)
                own = _imported_elsewhere(Path(folder), reduced)
            first = first or own
            frames = length * size[0] * size[1] * 3 / 1e6
            kept = "as they are" if reduced is None else f"to {reduced[0]} × {reduced[1]}"
            note = f"{own:.0f} MB of its own at most; frames {frames:,.0f} MB"
            ratio = Spread.of(np.array([own / first]))
            rows.append(Row(f"{length:,} frames, {kept}", ratio=ratio, aim="≤ 1.3", note=note))
    title = f"Memory of an import, one camera of {size[0]} × {size[1]}, an episode at once"
    return Section(title, "own memory ÷ first", rows)


def _recording(path: Path, length: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    ramp = np.arange(size[0])[:, None, None] + np.arange(size[1])[None, :, None]
    frame = np.broadcast_to(ramp, (*size, 3)).astype(np.uint8)
    with h5py.File(path, "w") as file:
        file["action"] = file["observations/qpos"] = rng.normal(size=(length, 7))
        shape = (length, *size, 3)
        target = file.create_dataset(
            "observations/images/front", shape, np.uint8, chunks=(1, *shape[1:])
        )
        for step in range(length):
            target[step] = np.roll(frame, step, 0)


def _imported_elsewhere(folder: Path, reduced: tuple[int, int] | None) -> float:
    script = [sys.executable, "-m", "benchmarks.import_memory", str(folder), json.dumps(reduced)]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def _import(folder: str, reduced: str) -> None:
    size = json.loads(reduced)
    source = ActSource(Path(folder), control_hz=50, image_size=tuple(size) if size else None)
    highest, over = [status_mb("RssAnon")], threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLED_S):
            highest[0] = max(highest[0], status_mb("RssAnon"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    import_into(source, Path(folder) / "store", SilentProgress())
    over.set()
    watcher.join()
    print(highest[0])


if __name__ == "__main__":
    _import(*sys.argv[1:])
