"""Where online episodes come from: simulators, or whoever else fills the store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from point_world import LocalPool, demonstration, point_spec, tiny_config

from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError, StoreError
from softflow.training.collecting import CollectionOrder, ExperienceSource, OnlineExperience
from softflow.training.run import Run
from softflow.training.stages import run_stages
from softflow.utils.progress import ProgressReporter, SilentProgress

RunMaker = Callable[..., Run]
STAGES = ("imitation", "online_rl")

RECORD = """
import sys
from point_world import demonstration, point_spec
from softflow.data.episode_store import EpisodeStore
with EpisodeStore.open_or_create(sys.argv[1], point_spec()) as store:
    for seed in range(len(store), int(sys.argv[2])):
        store.append(demonstration(seed, towards_goal=True))
"""


class OtherMachine(ExperienceSource):
    """A robot, played by a process of its own that appends a round's episodes and ends."""

    def __init__(self) -> None:
        self.orders: list[CollectionOrder] = []

    def collect(self, order: CollectionOrder, progress: ProgressReporter) -> None:
        self.orders.append(order)
        command = [sys.executable, "-c", RECORD, str(order.store), str(order.num_episodes)]
        subprocess.run(command, check=True, env={"PYTHONPATH": ":".join(sys.path)})


class Lazy(ExperienceSource):
    """Returns before everything is there."""

    def collect(self, order: CollectionOrder, progress: ProgressReporter) -> None:
        with EpisodeStore.open(order.store, writable=True) as store:
            store.append(demonstration(0, towards_goal=True))


def without_simulator(path: Path, demonstrations: Path, source: OtherMachine | Lazy | None) -> Run:
    config = tiny_config(eval_episodes=0, round_eval_episodes=0)
    return Run(path, config, demonstrations, None, SilentProgress(), source)


@pytest.mark.slow
def test_episodes_of_other_processes_are_learned_from(demonstrations: Path, tmp_path: Path) -> None:
    """The store is not locked while the run lives, and each round acts with its own policy."""
    robot = OtherMachine()
    run = without_simulator(tmp_path / "run", demonstrations, robot)
    run_stages(run, STAGES)
    run.close()
    assert [order.num_episodes for order in robot.orders] == [3, 6]
    assert [order.round_index for order in robot.orders] == [0, 1]
    versions = [order.checkpoint.name for order in robot.orders]
    assert versions == ["3_online_rl_00000000", "3_online_rl_00000015"]
    assert len(run.online) == 6
    assert run.online.data(6).num_episodes == 6
    assert run.online.robot_steps == sum(s.length for s in run.online.store.summaries())


@pytest.mark.slow
def test_the_online_store_is_locked_while_simulators_fill_it_and_no_longer(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(eval_episodes=0, round_eval_episodes=0)
    run = make_run(config)
    path = run.online.store.path
    original = LocalPool.run
    refused: list[str] = []

    def while_collecting(pool: LocalPool, tasks: list[object]) -> object:
        with pytest.raises(StoreError, match="already has a writer") as caught:
            EpisodeStore.open(path, writable=True)
        refused.append(str(caught.value))
        return original(pool, tasks)  # type: ignore[arg-type]

    monkeypatch.setattr(LocalPool, "run", while_collecting)
    EpisodeStore.open(path, writable=True).close()
    run_stages(run, STAGES)
    EpisodeStore.open(path, writable=True).close()
    assert len(refused) == 2, "once a round"


@pytest.mark.slow
def test_a_source_that_returns_too_early_is_noticed(demonstrations: Path, tmp_path: Path) -> None:
    run = without_simulator(tmp_path / "run", demonstrations, Lazy())
    with pytest.raises(StoreError, match="holds 1 episodes after collecting, not 3; run the same"):
        run_stages(run, STAGES)
    run.close()


@pytest.mark.slow
def test_without_a_source_the_online_stage_says_so(demonstrations: Path, tmp_path: Path) -> None:
    run = without_simulator(tmp_path / "run", demonstrations, None)
    with pytest.raises(ConfigError, match="nowhere to act"):
        run_stages(run, STAGES)
    run.close()


def test_what_an_interrupted_writer_left_is_set_aside_at_the_start(tmp_path: Path) -> None:
    chunk = tiny_config().model.chunk
    with EpisodeStore.create(tmp_path / "online", point_spec()) as store:
        store.append(demonstration(0, towards_goal=True))
    torn = tmp_path / "online/episodes/episode_000001.zarr.zip"
    torn.write_bytes(b"half of an episode")
    with pytest.warns(UserWarning, match="set aside"):
        online = OnlineExperience(tmp_path / "online", point_spec(), chunk, [])
    assert len(online) == 1
    assert (tmp_path / "online/set_aside" / torn.name).exists()


def test_a_run_begins_while_a_robot_records(demonstrations: Path, tmp_path: Path) -> None:
    with EpisodeStore.create(tmp_path / "run/online", point_spec()) as store:
        run = without_simulator(tmp_path / "run", demonstrations, OtherMachine())
        assert len(run.online) == 0
        store.append(demonstration(0, towards_goal=True))
        run.online.store.refresh()
        assert len(run.online) == 1
    run.close()
