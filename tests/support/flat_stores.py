"""Stores, and datasets over them in RAM and mapped, for the tests of flat and mapped arrays."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.sampling.chunk_dataset import ChunkDataset

STATE = "observation.state"
SPEC = DataSpec({STATE: (3,), "observation.pose": (2, 2)}, 2, (-1.0, -1.0), (1.0, 1.0), 20.0)
CHUNK = ChunkSpec(5, 3, prefix_length=2, history_length=3)


def random_episode(seed: int, length: int) -> Episode:
    rng = np.random.default_rng(seed)
    return Episode(
        observations={
            key: rng.normal(size=(length + 1, *shape)).astype(np.float32)
            for key, shape in SPEC.observation_shapes.items()
        },
        actions=rng.uniform(-1, 1, (length, 2)).astype(np.float32),
        rewards=rng.normal(size=length).astype(np.float32),
        terminated=bool(seed % 2),
        truncated=not seed % 2,
        success=bool(seed % 3),
    )


def filled_store(path: Path, lengths: list[int]) -> EpisodeStore:
    with EpisodeStore.create(path, SPEC) as store:
        for seed, length in enumerate(lengths):
            store.append(random_episode(seed, length))
    return store


def mapped(
    store: EpisodeStore,
    chunk: ChunkSpec = CHUNK,
    *,
    episodes: list[int] | None = None,
    cache_folder: Path | None = None,
) -> ChunkDataset:
    """A dataset that holds nothing in RAM."""
    return ChunkDataset(store, chunk, episodes=episodes, ram_bytes=0, cache_folder=cache_folder)


def in_ram(
    store: EpisodeStore, chunk: ChunkSpec = CHUNK, episodes: list[int] | None = None
) -> ChunkDataset:
    return ChunkDataset(store, chunk, episodes=episodes, ram_bytes=10**12)


def assert_same(a: ChunkDataset, b: ChunkDataset) -> None:
    """Every window of both, bit for bit."""
    assert a.num_windows == b.num_windows > 0
    assert a.episode_indices == b.episode_indices
    windows = np.random.default_rng(0).permutation(a.num_windows)
    ours, theirs = a.gather(windows), b.gather(windows)
    for field in dataclasses.fields(ChunkBatch):
        x, y = getattr(ours, field.name), getattr(theirs, field.name)
        pairs = [(x[key], y[key]) for key in x] if isinstance(x, dict) else [(x, y)]
        for left, right in pairs:
            assert left.dtype == right.dtype
            assert left.numpy().tobytes() == right.numpy().tobytes(), field.name


def cached_files(store: EpisodeStore) -> dict[str, int]:
    """Every file of the cache's arrays, and its inode."""
    return {str(path): path.stat().st_ino for path in (store.path / "cache").glob("*/*")}


def cached_file(cache: Path, name: str) -> Path:
    return next(cache.glob(f"*/{name}"))
