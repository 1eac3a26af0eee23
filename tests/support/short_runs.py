"""Runs of the point world that no test writes to."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from point_world import LocalPool, tiny_config, write_demonstrations

from softflow.training.config import ImitationConfig, RLConfig, TrainingConfig, WarmupConfig
from softflow.training.run import Run
from softflow.training.stages import run_stages
from softflow.utils.progress import SilentProgress

OUTCOMES = [True, True, False, True, True]


def short_config() -> TrainingConfig:
    """A few updates a stage, another number of candidates once there is a critic."""
    return tiny_config(
        imitation=ImitationConfig(num_updates=12, batch_size=8, learning_rate=3e-3, dropout=0.1),
        critic_warmup=WarmupConfig(num_updates=6, batch_size=8, learning_rate=1e-3, dropout=0.1),
        offline_rl=RLConfig(num_updates=4, batch_size=8, learning_rate=1e-3, dropout=0.1),
        rl_execution_candidates=3,
        eval_episodes=2,
    )


@pytest.fixture(scope="session")
def imitated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that ended after imitation."""
    return _run(tmp_path_factory.mktemp("imitated"), ["imitation"])


@pytest.fixture(scope="session")
def warmed_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that went on to the critic's warm-up: two evaluated checkpoints."""
    return _run(tmp_path_factory.mktemp("warmed_up"), ["imitation", "critic_warmup"])


@pytest.fixture(scope="session")
def exploring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `imitated`; its online episodes would explore, with a standard deviation of 0.05."""
    config = short_config()
    online = replace(config.online_rl, exploration_std=0.05)
    folder = tmp_path_factory.mktemp("exploring")
    return _run(folder, ["imitation"], replace(config, online_rl=online))


@pytest.fixture(scope="session")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `imitated`; its online episodes would choose among 9 chunks of latents of std 1.5."""
    config = short_config()
    online = replace(config.online_rl, collection_std=1.5, collection_candidates=9)
    folder = tmp_path_factory.mktemp("wide")
    return _run(folder, ["imitation"], replace(config, online_rl=online))


def _run(folder: Path, stages: list[str], config: TrainingConfig | None = None) -> Path:
    store = write_demonstrations(folder / "demonstrations", OUTCOMES)
    run = Run(folder / "run", config or short_config(), store, LocalPool(), SilentProgress())
    try:
        run_stages(run, stages)  # type: ignore[arg-type]
    finally:
        run.close()
    return folder / "run"
