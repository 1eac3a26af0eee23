"""Processes that make the same files at once, or are killed while they do."""

from __future__ import annotations

import os
import random
import signal
import time
import warnings
from pathlib import Path

import pytest
from building_processes import let_go, start_builder
from frame_features import Corners, assert_right, camera_store

BUILD = """
import sys
from frame_features import Corners
from softflow.data.episode_store import EpisodeStore
network, store = Corners(delay_s=float(sys.argv[2])), EpisodeStore.open(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
network.filled(store)
print(sum(frames for frames in network.calls if frames > 1), flush=True)
"""


@pytest.mark.slow
def test_two_processes_share_the_work(tmp_path: Path) -> None:
    """Each frame is computed by one of them."""
    store = camera_store(tmp_path / "store", [6] * 30)
    builders = [start_builder(BUILD, store, 0.005) for _ in range(2)]
    for builder in builders:
        let_go(builder)
    computed = [int(builder.communicate(timeout=60)[0]) for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0]
    assert sum(computed) == 30 * 7
    network = Corners()
    assert_right(network.filled(store), store)
    assert network.calls == [1]


@pytest.mark.slow
def test_kill_9_while_computing(tmp_path: Path) -> None:
    """What was done stays, and nothing is ever half there."""
    store = camera_store(tmp_path / "store", [400] * 12)
    folder = Corners().files(store).folder
    delays, torn = random.Random(0), 0
    for _ in range(3):
        builder = start_builder(BUILD, store, 0.01)
        let_go(builder)
        there = len(list(folder.glob("[0-9a-f]*.npy")))
        deadline = time.monotonic() + 30
        while len(list(folder.glob("[0-9a-f]*.npy"))) < there + 2 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(delays.uniform(0.0, 0.05))
        os.kill(builder.pid, signal.SIGKILL)
        builder.communicate(timeout=30)
        torn += len(list(folder.glob(".*.tmp")))
    assert torn, "no kill hit a file: the test is too gentle"
    there = len(list(folder.glob("[0-9a-f]*.npy")))
    assert 6 <= there < 12
    network = Corners()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = network.filled(store)
    assert_right(files, store)
    assert sum(frames for frames in network.calls if frames > 1) == (12 - there) * 401
    assert not list(folder.glob(".*.tmp"))
