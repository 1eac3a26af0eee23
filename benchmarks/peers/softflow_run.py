"""softflow itself in the harness: its own stages on the same episodes, its rows the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from benchmarks.peers.clock import CpuClock
from benchmarks.peers.job import Job, Progress, in_words, record
from softflow.envs.registry import make_env
from softflow.errors import ConfigError
from softflow.models.policy import Observation
from softflow.presets import preset
from softflow.training.config import STAGES, StageName, TrainingConfig
from softflow.training.persistence import load_selector
from softflow.training.rollouts import RolloutPool, RolloutResult, RolloutTask, run_episode
from softflow.training.run import Run
from softflow.training.stages import STAGE_FUNCTIONS
from softflow.utils.files import read_object, write_json
from softflow.utils.progress import ProgressReporter

EPISODES_PER_ROUND = 5
"""The evaluations after 10, 25, 50 and 100 online episodes are at the end of a round."""


def softflow_config(name: str) -> TrainingConfig:
    """A preset with shorter rounds, and as many updates for an online episode."""
    config = preset(name)
    online = config.online_rl
    share = EPISODES_PER_ROUND / online.episodes_per_round
    shorter = replace(
        online,
        num_updates=round(online.num_updates * share),
        bc_decay=online.bc_decay**share,
        episodes_per_round=EPISODES_PER_ROUND,
    )
    return replace(config, online_rl=shorter, num_workers=1)


class TimedPool(RolloutPool):
    """Episodes in this process, one after the other, so that their CPU time is its own."""

    def __init__(self, clock: CpuClock) -> None:
        self._clock = clock
        self._profiles = {}
        self._load = lru_cache(maxsize=1)(load_selector)
        self._environment = lru_cache(maxsize=1)(make_env)

    def __exit__(self, *error: object) -> None:
        """There are no processes to end."""

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """One after the other."""
        return map(function, items)

    def run(self, tasks: Sequence[RolloutTask]) -> Iterator[RolloutResult]:
        """Results in the order of the tasks."""
        for task in tasks:
            selector, chunk = self._load(Path(task.checkpoint), task.selection)

            def timed(
                observation: Observation,
                prefix: torch.Tensor,
                generator: torch.Generator,
                select: Any = selector,
            ) -> torch.Tensor:
                with self._clock.timed("decision"):
                    return select(observation, prefix, generator)

            env = self._environment(task.env_id, image_size=task.image_size)
            yield run_episode(env, timed, chunk, task.seed, task.metadata)


class MeasuredRun(Run):
    """A run that is evaluated after chosen numbers of online episodes, with a row for each."""

    job: Job
    clock: CpuClock
    done: dict[str, int]
    """Updates of the stages behind, which may end before their number of updates."""

    def updates(self, *args: Any, **kwargs: Any) -> Iterator[int]:
        """As in any run, timed."""
        for update in super().updates(*args, **kwargs):
            with self.clock.timed("update"):
                yield update

    def save(self, *, wait: bool = True) -> Path:
        """As in any run; CPU time so far is kept beside."""
        kept = {"spent_s": self.clock.spent_s, "updates": self.done}
        write_json(_cost_file(self.folder), kept)
        return super().save(wait=wait)

    def evaluate(self, label: str, stage: StageName, num_episodes: int) -> None:
        """After offline RL, and after the rounds that reach a number asked for."""
        if not (label == "offline_rl" or label.startswith("online_rl_round")):
            return
        count = len(self.online)
        if count in self.job.missing:
            self.clock.mean_ms("decision")
            with self.clock.apart():
                super().evaluate(label, stage, self.job.eval_episodes)
                found = read_object(self.folder / "evaluations" / f"{label}.json")["episodes"]
                outcomes = [(bool(e["success"]), int(e["length"])) for e in found]
                row = record(self.job, self._progress(), self.clock, outcomes)
                self.progress.say(in_words(row))

    def _progress(self) -> Progress:
        position = self.position
        online = position.update_step if position.stage == "online_rl" else 0
        summaries = self.online.store.summaries()
        return Progress(
            offline_updates=sum(self.done.values()),
            online_updates=online,
            online_episodes=len(self.online),
            robot_steps=self.online.robot_steps,
            collected_successes=sum(bool(summary.success) for summary in summaries),
        )


def run_softflow(job: Job, config: TrainingConfig, reporter: ProgressReporter) -> None:
    """Fill in the rows of a job that are missing.

    Raises:
        ConfigError: no round ends at a count, or one is behind the run without a row.
    """
    size = config.online_rl.episodes_per_round
    if any(count % size for count in job.counts):
        raise ConfigError(
            f"--counts {job.counts}: softflow is evaluated at the end of a round, which has {size} "
            "episodes; give multiples of it, or another --config.online-rl.episodes-per-round"
        )
    if not job.missing:
        return
    online = replace(config.online_rl, num_rounds=max(job.counts) // size)
    config = replace(
        config, seed=job.seed, online_rl=online, eval_episodes=1, round_eval_episodes=1
    )
    cost = _cost_file(job.folder)
    kept: dict[str, Any] = read_object(cost) if cost.exists() else {"spent_s": 0.0, "updates": {}}
    clock = CpuClock(kept["spent_s"])
    run = MeasuredRun(job.folder, config, job.store, TimedPool(clock), reporter, stages=STAGES)
    run.job, run.clock, run.done = job, clock, kept["updates"]
    try:
        for stage in STAGES:
            if not run.position.is_past(stage):
                STAGE_FUNCTIONS[stage](run)
                run.position.enter(stage)
                if stage != "online_rl":
                    run.done[stage] = run.position.update_step
                run.evaluate(stage, stage, job.eval_episodes)
                run.save()
    finally:
        run.close()
    if behind := job.missing:
        raise ConfigError(
            f"{job.folder} is past {behind} online episodes, of which there is no row; choose "
            "another --runs folder to measure them"
        )


def _cost_file(folder: Path) -> Path:
    return folder / "cost.json"
