"""What appending an episode costs per control step, while another process samples."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.data_images import image_episode, image_store
from benchmarks.measuring import Row, Section, measure
from softflow.data.chunk_spec import ChunkSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.chunk_sampler import ChunkSampler

CASES = ((2, 84), (3, 224))


def run(turns: int, num_episodes: int = 4, length: int = 50) -> Section:
    """Rows for every case: appending alone, and with a reader that samples all the time."""
    rows: list[Row] = []
    for cameras, pixels in CASES:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "store"
            spec = image_store(path, cameras, pixels, num_episodes, length).spec
            new = image_episode(spec, length, 1000)
            with EpisodeStore.open(path, writable=True) as store, _reader(path) as reader:
                rows += _rows(store, new, reader, f"{cameras} × {pixels} × {pixels}", turns)
    return Section(f"Appending an episode of {length} steps, per step", "this ÷ alone", rows)


def _rows(
    store: EpisodeStore, new: Episode, reader: subprocess.Popen[str], name: str, turns: int
) -> list[Row]:
    def appending(signal_first: signal.Signals) -> Callable[[], object]:
        def append() -> None:
            os.kill(reader.pid, signal_first)
            store.append(new)

        return append

    variants = {
        "alone": appending(signal.SIGSTOP),
        "while a reader samples": appending(signal.SIGCONT),
    }
    timings = measure(variants, turns).divided(dict.fromkeys(variants, new.length))
    rows: list[Row] = []
    for variant in variants:
        ms = timings.ms(variant)
        ratio = timings.ratio(variant, "alone") if variant != "alone" else None
        note = f"{ms.median / 50:.1%} of a control step at 20 Hz"
        rows.append(Row(f"{name}: {variant}", ms, ratio, note=note))
    return rows


@contextmanager
def _reader(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that samples from the store until it is killed."""
    script = [sys.executable, "-m", "benchmarks.data_append", str(path)]
    with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def _sample_for_ever(path: str) -> None:
    dataset = ChunkDataset(EpisodeStore.open(path), ChunkSpec(4, 4), image_cache_bytes=1)
    sampler, step = ChunkSampler(dataset, 16, 0, "benchmark"), 0
    while True:
        sampler.batch(step)
        if step == 0:
            print("sampling", flush=True)
        step += 1
        dataset.add_new_episodes()


if __name__ == "__main__":
    _sample_for_ever(sys.argv[1])
