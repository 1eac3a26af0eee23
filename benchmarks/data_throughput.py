"""How fast training batches come, against a copy of the same bytes."""

from __future__ import annotations

import tempfile
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measuring import Row, Section, loops_for, measure
from benchmarks.synthetic import ACTION_DIM, STATE_DIM, episode
from softflow.data.batch import STATE_KEY, DataSpec
from softflow.data.chunk_sampler import ChunkBatch, ChunkDataset, ChunkSampler, ChunkSpec
from softflow.data.episode_store import EpisodeStore


def run(
    chunk: ChunkSpec, batch_size: int, turns: int, num_episodes: int = 120, length: int = 200
) -> Section:
    """Rows for the sampler, over a store written to a temporary folder, and for the copy."""
    spec = DataSpec({STATE_KEY: (STATE_DIM,)}, ACTION_DIM, (-1.0,) * 5, (1.0,) * 5, 20.0)
    with tempfile.TemporaryDirectory() as folder:
        with EpisodeStore.create(Path(folder) / "store", spec) as store:
            for seed in range(num_episodes):
                store.append(episode(length, seed))
            sampler = ChunkSampler(ChunkDataset(store, chunk), batch_size, 0, "benchmark")
        return _section(sampler, turns)


def _section(sampler: ChunkSampler, turns: int) -> Section:
    tensors = _tensors(sampler.batch(0))
    num_bytes = sum(tensor.nbytes for tensor in tensors)
    source, target = (torch.zeros(num_bytes, dtype=torch.uint8) for _ in range(2))
    steps = iter(range(10**9))
    variants = {
        "sampler": lambda: sampler.batch(next(steps)),
        "copies": lambda: [tensor.clone() for tensor in tensors],
        "copy": lambda: target.copy_(source),
    }
    loops = {name: loops_for(variant) for name, variant in variants.items()}
    timings = measure(variants, turns, loops=loops)
    title = (
        f"Batches of {sampler.batch_size} windows (state {STATE_DIM}, action {ACTION_DIM}, "
        f"H = {sampler.dataset.chunk_spec.chunk_length}) from {sampler.dataset.num_windows} windows"
    )
    seconds = timings.ms("sampler").median / 1e3
    rate = f"{sampler.batch_size / seconds:,.0f} windows/s, {num_bytes / seconds / 1e6:,.0f} MB/s"
    copy_rate = num_bytes / timings.ms("copy").median / 1e3
    rows = [
        Row(
            "sampler",
            timings.ms("sampler"),
            timings.ratio("sampler", "copy"),
            note=rate,
        ),
        Row(
            "copies of its tensors",
            timings.ms("copies"),
            timings.ratio("copies", "copy"),
            note=f"{len(tensors)} tensors, allocated anew as the sampler does",
        ),
        Row(
            "one copy of the bytes",
            timings.ms("copy"),
            note=f"{num_bytes / 1e3:.0f} kB at {copy_rate:,.0f} MB/s",
        ),
    ]
    return Section(title, "this ÷ one copy", rows)


def _tensors(batch: ChunkBatch) -> list[Tensor]:
    values = [getattr(batch, item.name) for item in fields(batch)]
    nested = [list(value.values()) if isinstance(value, dict) else [value] for value in values]
    return [tensor for group in nested for tensor in group]
