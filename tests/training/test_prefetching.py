"""Batches prepared ahead: the same run to the bit, and nothing left behind."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from point_world import demonstration, point_spec, tiny_config
from runs_compared import differences, everything_that_lasts

from softflow.cli.main import main
from softflow.data.data_spec import STATE_KEY
from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError, StoreError
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.chunk_sampler import ChunkSampler
from softflow.training.config import DataConfig, TrainingConfig
from softflow.training.run import Run
from softflow.training.stages import run_stages

RunMaker = Callable[..., Run]
CAMERA = "observation.images.front"


def prefetching(workers: int = 2) -> TrainingConfig:
    return replace(tiny_config(), data=DataConfig(prefetch_workers=workers))


def prefetch_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("prefetch")]


@pytest.mark.slow
def test_all_stages_end_the_same_and_leave_no_thread(make_run: RunMaker) -> None:
    few = replace(prefetching(), imitation=replace(prefetching().imitation, num_updates=20))
    plain = make_run(replace(few, data=DataConfig()), "plain")
    ahead = make_run(few, "ahead")
    for run in (plain, ahead):
        run_stages(run)
        assert prefetch_threads() == []
    assert differences(facts_of(ahead.folder), facts_of(plain.folder)) == []


def facts_of(run: Path) -> dict[str, object]:
    facts = everything_that_lasts(run)
    del facts["config"]["data"]["prefetch_workers"]
    return facts


def test_the_threads_begin_where_the_run_is(make_run: RunMaker) -> None:
    run = make_run(prefetching(1))
    run.position.enter("critic_warmup")
    run.position.update_step = 7
    asked: list[int] = []

    class Listening(ChunkSampler):
        def batch(self, update_step: int) -> ChunkBatch:
            asked.append(update_step)
            return super().batch(update_step)

    sampler = Listening(run.data.offline, 4, 0, "critic_warmup")
    with run.batches("critic_warmup", sampler, 9) as batches:
        batches.batch(7)
        batches.batch(8)
    assert sorted(asked) == [7, 8]
    with run.batches("critic_warmup", sampler, 7) as batches:
        assert batches is sampler, "nothing is left to prepare"


@pytest.fixture
def filmed(tmp_path: Path) -> Path:
    """Three episodes with a camera, which are read from their files for every batch."""
    spec = replace(point_spec(), observation_shapes={STATE_KEY: (4,), CAMERA: (8, 8, 3)})
    with EpisodeStore.create(tmp_path / "filmed", spec) as store:
        for seed in range(3):
            episode = demonstration(seed, towards_goal=True)
            images = np.zeros((episode.length + 1, 8, 8, 3), np.uint8)
            store.append(replace(episode, observations=episode.observations | {CAMERA: images}))
    return tmp_path / "filmed"


def images_of(run: Run) -> ChunkSampler:
    dataset = ChunkDataset(run.data.store, run.config.model.chunk, image_cache_bytes=1)
    return ChunkSampler(dataset, 8, 0, "imitation")


def test_an_error_in_a_thread_is_an_error_of_the_stage(make_run: RunMaker, filmed: Path) -> None:
    run = make_run(prefetching(), dataset=filmed)
    sampler = images_of(run)

    def take_all() -> None:
        with run.batches("imitation", sampler, 50) as batches:
            for update in range(50):
                batches.batch(update)
                if update == 5:
                    run.data.store.episode_path(1).unlink()

    with pytest.raises(StoreError, match=r"episode_000001.*is gone"):
        take_all()
    assert prefetch_threads() == []


def test_ctrl_c_ends_the_threads(make_run: RunMaker, filmed: Path) -> None:
    run = make_run(prefetching(), dataset=filmed)
    sampler = images_of(run)

    # A shell that runs the tests in the background makes their processes deaf to Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupted() -> None:
        with run.batches("imitation", sampler, 10**6) as batches:
            batches.batch(0)
            signal.raise_signal(signal.SIGINT)

    try:
        with pytest.raises(KeyboardInterrupt):
            interrupted()
    finally:
        signal.signal(signal.SIGINT, before)
    assert prefetch_threads() == []


@pytest.mark.parametrize("workers", [-1, 65])
def test_numbers_of_threads_that_make_no_sense_are_refused(workers: int) -> None:
    with pytest.raises(ConfigError, match=f"data.prefetch_workers is {workers}; must lie in"):
        DataConfig(prefetch_workers=workers)


def test_the_command_says_so_too(
    demonstrations: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"train small --dataset {demonstrations} --run {tmp_path / 'run'}".split()
    assert main([*words, "--data.prefetch-workers", "-1"]) == 2
    assert "data.prefetch_workers is -1" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
