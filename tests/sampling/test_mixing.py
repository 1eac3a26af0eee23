"""Offline and online rows by size: the shares of one heap of weighted windows, reproducibly."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError, DataError
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.chunk_sampler import MixtureSampler
from softflow.sampling.mixing import BySize, FixedRatio, Mixing
from softflow.sampling.source_weights import SourceWeights

STATE = "observation.state"
SPEC = DataSpec({STATE: (1,)}, 1, (-1.0,), (1.0,), 10.0)
CHUNK = ChunkSpec(1, 1)


def episode(first: int, length: int, source: str = "") -> Episode:
    """State t is first + t: every window has a number of its own."""
    states = (first + np.arange(length + 1)).astype(np.float32)[:, None]
    zeros = np.zeros((length, 1), np.float32)
    return Episode({STATE: states}, zeros, zeros[:, 0], False, True, False, {"source": source})


def dataset(path: Path, lengths: Iterable[int], first: int, offline: bool) -> ChunkDataset:
    """Episodes of these lengths; their windows are numbered from `first`."""
    store = EpisodeStore.create(path, SPEC)
    for length in lengths:
        store.append(episode(first, length))
        first += length
    return ChunkDataset(store, CHUNK, offline=offline)


def mixture(
    path: Path,
    offline: Iterable[int],
    online: Iterable[int],
    mixing: Mixing,
    batch_size: int = 48,
    seed: int = 0,
) -> MixtureSampler:
    """Offline windows are numbered from 0, online ones from 1000."""
    return MixtureSampler(
        dataset(path / "offline", offline, 0, True),
        dataset(path / "online", online, 1000, False),
        batch_size,
        mixing,
        seed,
        "online_rl",
    )


def drawn(sampler: MixtureSampler, batches: int) -> np.ndarray:
    """How often each window was drawn, by its number; is_offline is checked on the way."""
    rows: list[np.ndarray] = []
    for update in range(batches):
        batch = sampler.batch(update)
        numbers = batch.observation[STATE].flatten().numpy().astype(int)
        assert (batch.is_offline.numpy() == (numbers < 1000)).all()
        assert batch.is_offline.tolist() == sorted(batch.is_offline.tolist(), reverse=True)
        rows.append(numbers)
    return np.bincount(np.concatenate(rows), minlength=2000)


@pytest.mark.parametrize("weight", [0.5, 0.0, 1.0, 3.0])
def test_every_window_is_drawn_as_from_one_weighted_heap(tmp_path: Path, weight: float) -> None:
    """The naive reference: all windows in one heap, offline ones with their weight."""
    sampler = mixture(tmp_path, [20, 10], [7, 8], BySize(weight), batch_size=2000)
    heap = np.array([weight] * 30 + [1.0] * 15)
    rows = 2000 * 20
    expected = rows * heap / heap.sum()
    counts = drawn(sampler, 20)
    seen = np.concatenate([counts[:30], counts[1000:1015]])
    assert seen.sum() == counts.sum() == rows
    assert (abs(seen - expected) <= 5 * np.sqrt(expected)).all()
    share = expected[:30].sum() / rows
    assert abs(counts[:30].sum() - rows * share) <= 5 * np.sqrt(rows * share * (1 - share))


def test_rows_of_a_batch_vary_as_independent_draws_do() -> None:
    """Rounding instead of drawing would never show one online window among a thousand."""
    mixing, share = BySize(0.5), 1 / (0.5 * 900 + 1)
    generators = (np.random.default_rng(update) for update in range(4000))
    online = [16 - mixing.num_offline(generator, 16, 900, 1) for generator in generators]
    assert abs(sum(online) - 4000 * 16 * share) < 5 * np.sqrt(4000 * 16 * share)
    assert {0, 1} <= set(online) <= {0, 1, 2, 3}


@given(st.floats(0, 1e308), st.integers(0, 10**9), st.integers(1, 10**9), st.integers(1, 4096))
def test_the_share_is_weighted_offline_windows_of_all(
    weight: float, offline: int, online: int, batch_size: int
) -> None:
    mixing, generator = BySize(weight), np.random.default_rng(0)
    share = mixing.share(offline, online)
    assert 0 <= share <= 1
    weighted = weight * offline
    if weighted < 1e300:
        assert share == pytest.approx(weighted / (weighted + online))
    rows = mixing.num_offline(generator, batch_size, offline, online)
    assert 0 <= rows <= batch_size
    assert rows == 0 or share > 0
    assert rows == batch_size or share < 1
    assert mixing.num_offline(generator, batch_size, offline, 0) == batch_size


def test_the_online_share_grows_with_the_rounds(tmp_path: Path) -> None:
    sampler = mixture(tmp_path, [60], [], BySize(0.5), batch_size=1000)
    for online in (0, 10, 40, 120):
        while sampler.online.num_windows < online:
            sampler.online.store.append(episode(1000 + sampler.online.num_windows, 10))
            sampler.online.add_new_episodes()
        share = 30 / (30 + online)
        counts = drawn(sampler, 10)
        rows = counts.sum()
        assert abs(counts[:1000].sum() - rows * share) <= 5 * np.sqrt(rows * share * (1 - share))


def test_a_batch_depends_on_seed_stream_and_update_alone(tmp_path: Path) -> None:
    sampler = mixture(tmp_path / "a", [20], [11], BySize(0.5))
    straight = [sampler.batch(update) for update in range(6)]
    again = mixture(tmp_path / "b", [20], [11], BySize(0.5))
    for update in (5, 2, 2, 0):
        batch = again.batch(update)
        assert torch.equal(batch.observation[STATE], straight[update].observation[STATE])
        assert torch.equal(batch.is_offline, straight[update].is_offline)
    assert len({int(batch.is_offline.sum()) for batch in straight}) > 1
    other = mixture(tmp_path / "c", [20], [11], BySize(0.5), seed=1)
    assert not torch.equal(other.batch(0).observation[STATE], straight[0].observation[STATE])


@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.5, 1.0])
def test_a_fixed_ratio_draws_what_it_always_drew(tmp_path: Path, ratio: float) -> None:
    sampler = mixture(tmp_path, [20], [11], FixedRatio(ratio), batch_size=15, seed=7)
    for update in range(5):
        generator = np.random.default_rng([7, zlib.crc32(b"online_rl"), update])
        parts = [
            first + generator.integers(windows, size=count)
            for first, windows, count in (
                (0, 20, round(ratio * 15)),
                (1000, 11, 15 - round(ratio * 15)),
            )
            if count
        ]
        states = sampler.batch(update).observation[STATE].flatten()
        assert states.tolist() == np.concatenate(parts).tolist()


@pytest.mark.parametrize("mixing", [BySize(0.5), BySize(0.0), FixedRatio(0.0)])
def test_without_online_windows_all_rows_are_offline(tmp_path: Path, mixing: Mixing) -> None:
    assert mixture(tmp_path, [5], [], mixing).batch(0).is_offline.all()


def test_without_offline_windows_all_rows_are_online(tmp_path: Path) -> None:
    sampler = mixture(tmp_path, [], [1], BySize(0.5))
    assert drawn(sampler, 3)[1000] == 3 * 48


def test_without_any_window_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"offline dataset .* is empty"):
        mixture(tmp_path, [], [], BySize(0.5)).batch(0)


def test_sources_of_weight_zero_do_not_count_as_size(tmp_path: Path) -> None:
    """What batches leave out is no reason to show less of what was collected."""
    store = EpisodeStore.create(tmp_path / "offline", SPEC)
    store.append(episode(0, 500, "left out"))
    store.append(episode(500, 20, "used"))
    offline = ChunkDataset(store, CHUNK)
    online = dataset(tmp_path / "online", [10], 1000, False)
    weights = SourceWeights({"left out": 0, "used": 3})
    sampler = MixtureSampler(offline, online, 4000, BySize(0.5), 0, "online_rl", weights)
    counts = drawn(sampler, 2)
    rows = counts.sum()
    assert counts[:500].sum() == 0
    assert abs(counts[500:520].sum() - rows / 2) <= 5 * np.sqrt(rows / 4)


@pytest.mark.parametrize("weight", [-0.5, float("nan"), float("inf")])
def test_a_weight_that_makes_no_sense_is_refused(weight: float) -> None:
    with pytest.raises(ConfigError, match=rf"offline_weight is {weight}"):
        BySize(weight)
