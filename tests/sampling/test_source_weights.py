"""Batches weighted by source: exact shares, never a source of weight zero, errors that name it."""

from __future__ import annotations

import dataclasses
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError, DataError
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.chunk_sampler import ChunkSampler
from softflow.sampling.source_weights import SourceWeights

STATE = "observation.state"
SPEC = DataSpec({STATE: (1,)}, 1, (-1.0,), (1.0,), 10.0)


def marked_episode(mark: float, length: int, metadata: dict[str, Any]) -> Episode:
    """State t is mark + t / 100."""
    states = (mark + np.arange(length + 1) / 100).astype(np.float32)[:, None]
    zeros = np.zeros((length, 1), np.float32)
    return Episode({STATE: states}, zeros, zeros[:, 0], False, True, False, metadata)


@pytest.fixture
def dataset(tmp_path: Path) -> ChunkDataset:
    """Windows: 40 of human (two episodes), 10 of play, 2 of script, 3 unknown."""
    store = EpisodeStore.create(tmp_path / "store", SPEC)
    for mark, length, source in (
        (1, 30, "human"),
        (2, 10, "play"),
        (3, 2, "script"),
        (1, 10, "human"),
    ):
        store.append(marked_episode(mark, length, {"source": source, "operator": f"op{mark}"}))
    store.append(marked_episode(4, 3, {}))
    return ChunkDataset(store, ChunkSpec(1, 1))


def drawn_marks(sampler: ChunkSampler, batches: int = 1) -> np.ndarray:
    """Rows drawn of each mark 1 … 4."""
    states = [sampler.batch(step).observation[STATE].flatten().numpy() for step in range(batches)]
    return np.bincount(np.concatenate(states).astype(int), minlength=5)[1:]


def test_rows_come_in_the_shares_of_the_weights(dataset: ChunkDataset) -> None:
    weights = SourceWeights({"human": 1, "play": 3, "script": 4, "unknown": 2})
    counts = drawn_marks(ChunkSampler(dataset, 20_000, 0, "s", weights))
    share = np.array([0.1, 0.3, 0.4, 0.2])
    # Five standard deviations of a binomial count.
    assert (abs(counts - 20_000 * share) < 5 * np.sqrt(20_000 * share * (1 - share))).all(), counts


def test_inside_a_source_all_windows_are_alike(dataset: ChunkDataset) -> None:
    weights = SourceWeights({"human": 1, "play": 0, "script": 0, "unknown": 0})
    sampler = ChunkSampler(dataset, 40_000, 0, "s", weights)
    states = sampler.batch(0).observation[STATE].flatten().numpy()
    _, counts = np.unique(np.round(states, 2), return_counts=True)
    # The two episodes share their first ten states.
    expected = np.array([2000] * 10 + [1000] * 20)
    assert (abs(counts - expected) < 5 * np.sqrt(expected)).all(), counts


@pytest.mark.parametrize("zero", ["human", "play", "script", "unknown"])
def test_weight_zero_is_never_drawn(dataset: ChunkDataset, zero: str) -> None:
    weights = {"human": 1 / 3, "play": 1 / 7, "script": 1e-3, "unknown": 0.1} | {zero: 0}
    counts = drawn_marks(ChunkSampler(dataset, 5_000, 1, "s", SourceWeights(weights)), 4)
    mark = ["human", "play", "script", "unknown"].index(zero)
    assert counts[mark] == 0
    assert np.delete(counts, mark).min() > 0


def test_another_field_tells_the_source(dataset: ChunkDataset) -> None:
    weights = SourceWeights({"op1": 0, "op2": 0, "op3": 1, "unknown": 0}, field="operator")
    assert drawn_marks(ChunkSampler(dataset, 50, 0, "s", weights)).tolist() == [0, 0, 50, 0]


def test_draws_are_a_function_of_seed_stream_and_step(dataset: ChunkDataset) -> None:
    weights = SourceWeights({"human": 1, "play": 3, "script": 4, "unknown": 2})
    first, again = (ChunkSampler(dataset, 64, 5, "s", weights) for _ in range(2))
    straight = [first.batch(step).observation[STATE] for step in range(3)]
    assert torch.equal(again.batch(2).observation[STATE], straight[2])
    assert not torch.equal(straight[0], straight[1])
    other = ChunkSampler(dataset, 64, 6, "s", weights)
    assert not torch.equal(other.batch(0).observation[STATE], straight[0])


def test_without_weights_the_draws_are_those_of_always(dataset: ChunkDataset) -> None:
    """Runs are repeated bit for bit; the generator and its use must not change."""
    batch = ChunkSampler(dataset, 8, 3, "imitation").batch(11)
    generator = np.random.default_rng([3, zlib.crc32(b"imitation"), 11])
    windows = generator.integers(dataset.num_windows, size=8)
    assert torch.equal(batch.observation[STATE], dataset.gather(windows).observation[STATE])


def test_sources_that_do_not_fit_are_named(dataset: ChunkDataset) -> None:
    with pytest.raises(DataError, match="episodes of source 'script', 'unknown', for which no"):
        ChunkSampler(dataset, 8, 0, "s", SourceWeights({"human": 1, "play": 1}))
    every = {"human": 1, "play": 1, "script": 1, "unknown": 1}
    with pytest.raises(DataError, match=r"source 'humann', of which .* it has 'human', 'play'"):
        ChunkSampler(dataset, 8, 0, "s", SourceWeights(every | {"humann": 2}))
    sampler = ChunkSampler(dataset, 8, 0, "s", SourceWeights(every))
    dataset.store.append(marked_episode(5, 2, {"source": "new"}))
    dataset.add_new_episodes()
    with pytest.raises(DataError, match="source 'new', for which no weight"):
        sampler.batch(0)


def test_grown_data_is_drawn_from(dataset: ChunkDataset) -> None:
    weights = SourceWeights({"human": 0, "play": 1, "script": 0, "unknown": 0})
    sampler = ChunkSampler(dataset, 2000, 0, "s", weights)
    assert sampler.batch(0).observation[STATE].max() < 3
    dataset.store.append(marked_episode(9, 30, {"source": "play"}))
    dataset.add_new_episodes()
    drawn = sampler.batch(0).observation[STATE]
    assert 1300 < int((drawn >= 9).sum()) < 1700


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"a": -1.0}, "weight of source 'a' is -1"),
        ({"a": float("nan")}, "weight of source 'a' is nan"),
        ({"a": 0.0}, "at least one above 0"),
        ({}, "at least one above 0"),
    ],
)
def test_impossible_weights_are_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SourceWeights(weights)


def test_weights_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SourceWeights({"a": 1}).field = "operator"  # pyright: ignore[reportAttributeAccessIssue]
