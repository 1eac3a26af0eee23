"""How fast training batches of states come, against a copy of the same bytes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import fields
from itertools import count
from pathlib import Path

import numpy as np
from torch import Tensor

from benchmarks.measuring import Row, Section, loops_for, measure
from benchmarks.synthetic import ACTION_DIM, STATE_DIM, episode
from softflow.data.batch import STATE_KEY, DataSpec
from softflow.data.chunk_sampler import ChunkBatch, ChunkDataset, ChunkSampler, ChunkSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.prefetch import Prefetcher

SPEC = DataSpec({STATE_KEY: (STATE_DIM,)}, ACTION_DIM, (-1.0,) * 5, (1.0,) * 5, 20.0)
LARGE_BATCH = 4096
"""Where the cost of a batch is that of its bytes, no longer that of calling numpy."""
WORKERS = 2
BATCHES_AHEAD = 60


def run(
    chunk: ChunkSpec, batch_size: int, turns: int, num_episodes: int = 120, length: int = 200
) -> Section:
    """Rows for the sampler and for copies, over a store written to a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = ChunkDataset(state_store(Path(folder) / "store", num_episodes, length), chunk)
        return _section(dataset, batch_size, turns)


def state_store(path: Path, num_episodes: int, length: int) -> EpisodeStore:
    """A store of random states and actions, without images."""
    with EpisodeStore.create(path, SPEC) as store:
        for seed in range(num_episodes):
            store.append(episode(length, seed))
    return store


def _section(dataset: ChunkDataset, batch_size: int, turns: int) -> Section:
    sizes = (batch_size, LARGE_BATCH)
    samplers = {size: ChunkSampler(dataset, size, 0, "benchmark") for size in sizes}
    num_bytes = {size: batch_bytes(sampler.batch(0)) for size, sampler in samplers.items()}
    source = np.zeros(max(dataset.num_windows * 4 * (STATE_DIM + ACTION_DIM + 1), 2**21), np.uint8)
    variants: dict[str, Callable[[], object]] = {}
    for size, sampler in samplers.items():
        variants[f"sampler {size}"] = _stepping(sampler.batch)
        variants[f"copy {size}"] = _copying(source, num_bytes[size])
    loops = {name: loops_for(variant) for name, variant in variants.items()}
    variants["prefetched"] = lambda: take_ahead(samplers[LARGE_BATCH], BATCHES_AHEAD)
    timings = measure(variants, turns, loops=loops).divided({"prefetched": BATCHES_AHEAD})
    rows: list[Row] = []
    for size in sizes:
        name, copy = f"sampler {size}", f"copy {size}"
        sampled, copied = timings.ms(name), timings.ms(copy)
        rate = f"{size / sampled.median * 1e3:,.0f} windows/s"
        ratio = timings.ratio(name, copy)
        rows.append(Row(f"{size} windows", sampled, ratio, "≤ 2", rate))
        note = (
            f"{num_bytes[size] / 1e3:.0f} kB at {num_bytes[size] / copied.median / 1e3:,.0f} MB/s"
        )
        rows.append(Row("copy of their bytes", copied, note=note))
    ahead = timings.ms("prefetched")
    rate = f"{LARGE_BATCH / ahead.median * 1e3:,.0f} windows/s"
    ratio = timings.ratio("prefetched", f"copy {LARGE_BATCH}")
    rows.append(Row(f"{LARGE_BATCH}, {WORKERS} workers ahead", ahead, ratio, "≤ 2", rate))
    title = (
        f"Batches of state {STATE_DIM}, action {ACTION_DIM}, H = {dataset.chunk_spec.chunk_length} "
        f"from {dataset.num_windows} windows"
    )
    return Section(title, "this ÷ the copy", rows)


def take_ahead(sampler: ChunkSampler, num_batches: int) -> None:
    """Take batches that `WORKERS` threads prepare, from their start to their end."""
    with Prefetcher(sampler, 0, num_batches, num_workers=WORKERS, depth=2 * WORKERS) as batches:
        for step in range(num_batches):
            batches.batch(step)


def _stepping(batch: Callable[[int], object]) -> Callable[[], object]:
    """Ask for the batch of the next step each time."""
    steps = count()
    return lambda: batch(next(steps))


def _copying(source: np.ndarray, num_bytes: int) -> Callable[[], object]:
    """Copy the next `num_bytes` of a source as large as the data, so that both meet cold memory."""
    starts = count()
    places = max(1, len(source) // num_bytes)

    def copy() -> np.ndarray:
        start = next(starts) % places * num_bytes
        return source[start : start + num_bytes].copy()

    return copy


def batch_bytes(batch: ChunkBatch) -> int:
    """Bytes of all tensors of a batch."""
    return sum(tensor.nbytes for tensor in _tensors(batch))


def _tensors(batch: ChunkBatch) -> list[Tensor]:
    values = [getattr(batch, item.name) for item in fields(batch)]
    nested = [list(value.values()) if isinstance(value, dict) else [value] for value in values]
    return [tensor for group in nested for tensor in group]
