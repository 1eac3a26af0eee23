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
from benchmarks.synthetic import ACTION_DIM, STATE_DIM, episode, state_spec
from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.chunk_sampler import ChunkSampler
from softflow.sampling.flat_arrays import row_bytes
from softflow.sampling.prefetch import Prefetcher

ROBOTS = (
    (STATE_DIM, ACTION_DIM, ChunkSpec(5, 5), "cube-single"),
    (53, 23, ChunkSpec(10, 10), "an arm and a hand"),
)
"""State and action size and chunk of who the data comes from: the small preset's task; positions
and velocities of 23 joints and a pose, with the paper's chunk."""
LARGE_BATCH = 4096
"""Where the cost of a batch is that of its bytes, no longer that of calling numpy."""
WORKERS = 2
BATCHES_AHEAD = 60


def run(
    batch_size: int,
    turns: int,
    num_episodes: int = 120,
    length: int = 200,
    robots: tuple[tuple[int, int, ChunkSpec, str], ...] = ROBOTS,
) -> Section:
    """Rows for the sampler and for copies, over stores written to a temporary folder."""
    rows: list[Row] = []
    for state_dim, action_dim, chunk, name in robots:
        spec = state_spec(state_dim, action_dim)
        with tempfile.TemporaryDirectory() as folder:
            dataset = ChunkDataset(
                state_store(Path(folder) / "store", num_episodes, length, spec), chunk
            )
        title = f"{name}: state {state_dim}, action {action_dim}, H = {chunk.chunk_length}"
        rows += [Row(title), *_rows(dataset, batch_size, turns)]
    return Section(
        f"Batches from {num_episodes * length} windows of states", "this ÷ the copy", rows
    )


def state_store(path: Path, num_episodes: int, length: int, spec: DataSpec) -> EpisodeStore:
    """A store of random states and actions, without images."""
    with EpisodeStore.create(path, spec) as store:
        for seed in range(num_episodes):
            store.append(episode(spec, length, seed))
    return store


def _rows(dataset: ChunkDataset, batch_size: int, turns: int) -> list[Row]:
    sizes = (batch_size, LARGE_BATCH)
    samplers = {size: ChunkSampler(dataset, size, 0, "benchmark") for size in sizes}
    num_bytes = {size: batch_bytes(sampler.batch(0)) for size, sampler in samplers.items()}
    data_bytes = row_bytes(dataset.spec) * dataset.num_windows
    # Not zeros: pages that were never written are all the same one, and that is quick to read.
    source = np.ones(max(data_bytes, *num_bytes.values()), np.uint8)
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
    return rows


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
