"""Tiny runs that are started, continued and started from others, as `softflow train` does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from point_world import ENV_ID, LocalPool, tiny_config, write_demonstrations

from softflow.jobs import acting_place
from softflow.jobs import train as job
from softflow.training.config import STAGES, StageName, TrainingConfig

OUTCOMES = (True, True, True, False, True)


def grown(config: TrainingConfig, stage: StageName, **changes: Any) -> TrainingConfig:
    """The configuration with other numbers for one stage."""
    return replace(config, **{stage: replace(getattr(config, stage), **changes)})


def short_config(**changes: Any) -> TrainingConfig:
    """Some updates a stage, one learning rate, nothing measured unless asked for."""
    config = tiny_config(eval_episodes=0, round_eval_episodes=0)
    for stage in STAGES:
        config = grown(config, stage, num_updates=6, learning_rate_decay=0.0)
    return replace(config, **changes)


class Trainer:
    """`softflow.train` in this process, episodes too, on a store of the point world.

    Args:
        folder: of the store and the runs.
        patch: undone after the test.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.data = folder, write_demonstrations(folder / "demos", OUTCOMES)
        patch.setattr(acting_place, "RolloutPool", lambda workers: LocalPool())
        patch.setattr(job, "ConsoleProgress", _Quiet)

    def run(
        self,
        name: str,
        config: TrainingConfig | None = None,
        stages: Sequence[StageName] = ("imitation",),
        data: Path | None = None,
        env: str = ENV_ID,
        **options: Any,
    ) -> Path:
        """Train; the run's folder."""
        folder = self.folder / name
        where, config = data or self.data, config or short_config()
        job.train(where, folder, config, stages=stages, env=env, **options)
        return folder


class _Quiet(job.SilentProgress):
    """Says what a person should know, and draws no bars."""

    def __enter__(self) -> _Quiet:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def say(self, line: str) -> None:
        print(line)
