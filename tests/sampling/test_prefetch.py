"""Prefetched batches are the sampler's own, whatever the threads do."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError, StoreError
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.chunk_sampler import ChunkSampler, MixtureSampler
from softflow.sampling.mixing import FixedRatio
from softflow.sampling.prefetch import Prefetcher

CHUNK = ChunkSpec(4, 2, history_length=2)
EpisodeMaker = Callable[..., Episode]


def assert_equal(a: ChunkBatch, b: ChunkBatch) -> None:
    for field in dataclasses.fields(ChunkBatch):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if isinstance(x, dict):
            assert x.keys() == y.keys()
            assert all(torch.equal(x[key], y[key]) for key in x)
        else:
            assert torch.equal(x, y), field.name


@pytest.fixture
def dataset(tmp_path: Path, image_spec: DataSpec, make_episode: EpisodeMaker) -> ChunkDataset:
    """With images, and a cache too small for them, so that threads contend for it."""
    store = EpisodeStore.create(tmp_path / "store", image_spec)
    for seed in range(4):
        store.append(make_episode(image_spec, length=12, seed=seed))
    return ChunkDataset(store, CHUNK, image_cache_bytes=100_000)


@pytest.mark.parametrize(("num_workers", "depth"), [(1, 1), (1, 5), (2, 2), (4, 9)])
def test_same_batches_in_order(dataset: ChunkDataset, num_workers: int, depth: int) -> None:
    sampler = ChunkSampler(dataset, 16, seed=2, stream="s")
    with Prefetcher(sampler, 3, 20, num_workers=num_workers, depth=depth) as batches:
        for step in range(3, 20):
            assert_equal(batches.batch(step), sampler.batch(step))


def test_any_order_gives_the_right_batch(dataset: ChunkDataset) -> None:
    sampler = ChunkSampler(dataset, 4, seed=2, stream="s")
    with Prefetcher(sampler, 0, 10, num_workers=2, depth=3) as batches:
        for step in (0, 1, 5, 5, 2, 9, 10, 30, 0):
            assert_equal(batches.batch(step), sampler.batch(step))


@pytest.mark.slow
def test_batches_from_before_the_data_grew_are_thrown_away(
    dataset: ChunkDataset, tmp_path: Path, image_spec: DataSpec, make_episode: EpisodeMaker
) -> None:
    store = EpisodeStore.create(tmp_path / "online", image_spec)
    store.append(make_episode(image_spec, length=3, seed=8))
    online = ChunkDataset(store, CHUNK, offline=False)
    sampler = MixtureSampler(dataset, online, 12, FixedRatio(0.5), seed=0, stream="online_rl")
    with Prefetcher(sampler, 0, 40, num_workers=2, depth=6) as batches:
        for step in range(12):
            assert_equal(batches.batch(step), sampler.batch(step))
            if step % 3 == 2:
                store.append(make_episode(image_spec, length=20, seed=step))
                assert online.add_new_episodes() == 1
        fresh = MixtureSampler(
            dataset, ChunkDataset(store, CHUNK, offline=False), 12, FixedRatio(0.5), 0, "online_rl"
        )
        assert_equal(batches.batch(12), fresh.batch(12))


def take_all(batches: Prefetcher[ChunkBatch]) -> None:
    for step in range(1, 50):
        batches.batch(step)


def test_an_error_in_a_thread_reaches_the_caller(dataset: ChunkDataset) -> None:
    sampler = ChunkSampler(dataset, 16, seed=2, stream="s")
    with Prefetcher(sampler, 0, 50, num_workers=2, depth=2) as batches:
        batches.batch(0)
        path = dataset.store.episode_path(1)
        path.rename(path.with_suffix(".away"))
        with pytest.raises(StoreError, match=r"episode_000001.*is gone"):
            take_all(batches)
        path.with_suffix(".away").rename(path)
        assert_equal(batches.batch(49), sampler.batch(49))


def prefetch_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_no_thread_is_left_behind(dataset: ChunkDataset) -> None:
    sampler = ChunkSampler(dataset, 16, seed=2, stream="s")
    with Prefetcher(sampler, 0, 50, num_workers=3, depth=8) as batches:
        batches.batch(0)
        assert 1 <= len(prefetch_threads()) <= 3
    assert prefetch_threads() == []


class CountingSampler:
    """Counts batches begun, and lets none end before it is told to."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.may_end = threading.Event()
        self.data_version = 0

    def batch(self, update_step: int) -> int:
        self.begun.append(update_step)
        assert self.may_end.wait(30)
        return update_step


def test_depth_bounds_what_is_prepared() -> None:
    sampler = CountingSampler()
    with Prefetcher(sampler, 0, 100, num_workers=8, depth=3) as batches:
        deadline = time.monotonic() + 30
        while len(sampler.begun) < 3 and time.monotonic() < deadline:
            time.sleep(0.001)
        sampler.may_end.set()
        assert sorted(sampler.begun) == [0, 1, 2]
        assert [batches.batch(step) for step in range(3)] == [0, 1, 2]
        assert set(sampler.begun) <= set(range(6))


@pytest.mark.parametrize("name", ["num_workers", "depth"])
def test_at_least_one_of_each(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is 0"):
        Prefetcher(CountingSampler(), 0, 1, **{name: 0})


FORGOTTEN = """
from softflow.sampling.prefetch import Prefetcher
class Sampler:
    data_version = 0
    def batch(self, step):
        return step
batches = Prefetcher(Sampler(), 0, 10**9, num_workers=2, depth=4)
print(batches.batch(0), flush=True)
{end}
"""


@pytest.mark.parametrize(("end", "code"), [("", 0), ("import os; os.kill(os.getpid(), 9)", -9)])
def test_process_ends_without_close(end: str, code: int) -> None:
    script = [sys.executable, "-c", FORGOTTEN.format(end=end)]
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("0\n", "", code)


def test_frames_are_right_when_many_threads_share_the_cache(dataset: ChunkDataset) -> None:
    windows = np.arange(dataset.num_windows)
    expected = dataset.gather(windows)
    results: list[ChunkBatch] = []
    threads = [
        threading.Thread(target=lambda: results.append(dataset.gather(windows))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        assert_equal(result, expected)
    assert dataset.cached_image_bytes <= 100_000
