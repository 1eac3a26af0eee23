"""Builders that meet and are killed; a million steps within a bound of memory."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from building_processes import let_go, start_builder
from flat_stores import (
    STATE,
    assert_same,
    filled_store,
    in_ram,
    mapped,
)

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.sampling.chunk_dataset import ChunkDataset

BUILD = """
import sys
from softflow.data.chunk_spec import ChunkSpec
from softflow.data.episode_store import EpisodeStore
from softflow.sampling.chunk_dataset import ChunkDataset
store = EpisodeStore.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
dataset = ChunkDataset(store, ChunkSpec(2, 2), episodes=eval(sys.argv[2]), ram_bytes=0)
print("built", dataset.gather(range(dataset.num_windows)).batch_size, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("episodes", [("None", "None"), ("None", "range(19, -1, -1)")])
def test_two_processes_build_at_once(tmp_path: Path, episodes: tuple[str, str]) -> None:
    """The same arrays, written once, or others, which the second one writes in place of them."""
    store = filled_store(tmp_path / "store", [6] * 20)
    builders = [start_builder(BUILD, store, chosen) for chosen in episodes]
    for builder in builders:
        let_go(builder)
    for builder in builders:
        assert builder.communicate(timeout=60)[0] == "built 120\n"
        assert builder.returncode == 0
    assert len(list((store.path / "cache").iterdir())) == 2
    assert_same(mapped(store), in_ram(store))


@pytest.mark.slow
def test_kill_9_while_building(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", [6] * 400)
    cache = store.path / "cache"
    delays, torn = random.Random(0), 0
    for _ in range(4):
        builder = start_builder(BUILD, store, None)
        let_go(builder)
        deadline = time.monotonic() + 30
        while not list(cache.glob(".*.tmp/action.npy")) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(delays.uniform(0.0, 0.05))
        os.kill(builder.pid, signal.SIGKILL)
        builder.communicate(timeout=30)
        torn += len(list(cache.glob(".*.tmp")))
    assert torn, "no kill hit a build: the test is too gentle"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dataset = mapped(store)
    assert_same(dataset, in_ram(store))
    assert not list(cache.glob(".*"))
    assert len(list(cache.iterdir())) == 2


LONG = DataSpec({STATE: (16,)}, 2, (-2.0e6, -2.0e6), (2.0e6, 2.0e6), 20.0)
STEPS, EPISODES = 20_000, 50


def numbered_episode(number: int) -> Episode:
    """States and actions tell their episode and step; float32 holds integers up to 2^24."""
    rows = np.arange(number * STEPS, (number + 1) * STEPS + 1, dtype=np.float32)[:, None]
    return Episode(
        observations={STATE: rows + np.arange(16, dtype=np.float32)},
        actions=np.repeat(rows[:-1], 2, axis=1),
        rewards=rows[:-1, 0],
        terminated=False,
        truncated=True,
        success=False,
    )


BOUNDED = """
import resource, sys
import numpy as np
from softflow.data.chunk_spec import ChunkSpec
from softflow.data.episode_store import EpisodeStore
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.chunk_sampler import ChunkSampler

def own_memory():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))

store = EpisodeStore.open(sys.argv[1])
small = ChunkDataset(store, ChunkSpec(4, 4), episodes=[0])
small.gather(np.arange(256))
limit = own_memory() + 24 * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    dataset = ChunkDataset(store, ChunkSpec(4, 4), ram_bytes=int(sys.argv[2]))
except MemoryError:
    print("out of memory")
    raise SystemExit
sampler = ChunkSampler(dataset, 256, 0, "test")
print(sum(sampler.batch(step).batch_size for step in range(500)))
"""


@pytest.fixture(scope="module")
def long_store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    path = tmp_path_factory.mktemp("long") / "store"
    with EpisodeStore.create(path, LONG) as store:
        for number in range(EPISODES):
            store.append(numbered_episode(number))
    return store


@pytest.mark.slow
def test_million_steps_exact_at_random_places(long_store: EpisodeStore) -> None:
    dataset = ChunkDataset(long_store, ChunkSpec(4, 4, history_length=2), ram_bytes=0)
    assert list((long_store.path / "cache").glob("*/checksums.json"))
    assert dataset.num_windows == STEPS * EPISODES == 10**6
    windows = np.random.default_rng(0).integers(10**6, size=20_000)
    windows[:EPISODES] = np.arange(EPISODES) * STEPS
    windows[EPISODES : 2 * EPISODES] = np.arange(1, EPISODES + 1) * STEPS - 1
    batch, row = dataset.gather(windows), torch.from_numpy(windows)
    step = row % STEPS
    first = row - step
    state = batch.observation[STATE]
    assert torch.equal(state[:, 1], (row[:, None] + torch.arange(16)).float())
    assert torch.equal(state[:, 0, 0], (first + (step - 1).clamp(min=0)).float())
    steps = (step[:, None] + torch.arange(4)).clamp(max=STEPS - 1)
    assert torch.equal(batch.actions[..., 1], (first[:, None] + steps).float())
    following = batch.next_observation[STATE][:, 1, 15]
    assert torch.equal(following, (first + (step + 4).clamp(max=STEPS) + 15).float())
    assert torch.equal(batch.rewards[:, 0], row.float())


@pytest.mark.slow
def test_memory_of_its_own_stays_small(long_store: EpisodeStore) -> None:
    """76 MB of data under a limit of 24 MB: too little for RAM, enough for the mapped cache."""
    for ram_bytes, expected in (("0", "128000"), ("1000000000", "out of memory")):
        script = [sys.executable, "-c", BOUNDED, str(long_store.path), ram_bytes]
        done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=120)
        assert done.stdout.strip() == expected, done.stderr
