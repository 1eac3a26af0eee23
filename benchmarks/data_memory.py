"""How much memory sampling takes, from 10^4 to 10^6 control steps."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.data_throughput import state_store
from benchmarks.measuring import Row, Section, Spread
from benchmarks.synthetic import ACTION_DIM, STATE_DIM, state_spec
from softflow.data.chunk_spec import ChunkSpec
from softflow.data.episode_store import EpisodeStore
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.chunk_sampler import ChunkSampler

SIZES = (10_000, 100_000, 1_000_000)
EPISODE_LENGTH = 1000
WINDOWS = 500_000


def run(
    chunk: ChunkSpec,
    batch_size: int,
    sizes: tuple[int, ...] = SIZES,
    length: int = EPISODE_LENGTH,
    windows: int = WINDOWS,
) -> Section:
    """A row for every size; each is sampled in a process of its own, which builds its cache too."""
    rows: list[Row] = []
    smallest = 0.0
    for steps in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "store"
            state_store(path, steps // length, length, state_spec())
            own, mapped, peak = _sampled_elsewhere(path, chunk, batch_size, windows)
        smallest = smallest or own
        size = steps * 4 * (STATE_DIM + ACTION_DIM + 1) / 1e6
        note = (
            f"{own:.0f} MB its own, {mapped:.0f} MB mapped files (softflow's data and libraries), "
            f"peak {peak:.0f} MB; data {size:.0f} MB"
        )
        ratio = Spread.of(np.array([own / smallest]))
        rows.append(Row(f"{steps:,} steps", ratio=ratio, aim="≤ 1.1", note=note))
    title = f"Memory after {windows:,} windows, data mapped from files"
    return Section(title, "own memory ÷ first", rows)


def _sampled_elsewhere(
    store: Path, chunk: ChunkSpec, batch_size: int, windows: int
) -> tuple[float, float, float]:
    """Own memory, mapped files and peak of a process that samples, in MB."""
    lengths = [chunk.chunk_length, chunk.execution_horizon, chunk.prefix_length]
    arguments = [str(store), json.dumps([*lengths, chunk.history_length]), str(batch_size)]
    script = [sys.executable, "-m", "benchmarks.data_memory", *arguments, str(windows)]
    done = subprocess.run(script, capture_output=True, text=True, check=True)
    own, mapped, peak = json.loads(done.stdout.splitlines()[-1])
    return own, mapped, peak


def _sample(store: str, chunk: str, batch_size: str, windows: str) -> None:
    dataset = ChunkDataset(
        EpisodeStore.open(store), ChunkSpec(*json.loads(chunk)), with_images=False, ram_bytes=0
    )
    sampler = ChunkSampler(dataset, int(batch_size), 0, "benchmark")
    for step in range(int(windows) // int(batch_size)):
        sampler.batch(step)
    print(json.dumps([status_mb(name) for name in ("RssAnon", "RssFile", "VmHWM")]))


def status_mb(name: str) -> float:
    """A line of what the system says of this process, such as RssAnon, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024 / 1e6


if __name__ == "__main__":
    _sample(*sys.argv[1:])
