"""Where a command plays its episodes: processes with simulators, or a robot in this one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from softflow.envs.registry import is_robot
from softflow.robot.person.operator_commands import endings_interrupt
from softflow.robot.robot_lock import RobotLock
from softflow.training.config import TrainingConfig
from softflow.training.hardware.foreground import ForegroundPool
from softflow.training.rollouts import RolloutPool
from softflow.utils.console import say

FEW = 5
"""Episodes of an evaluation on a robot, where nobody asked for more."""


@contextmanager
def acting_place(env_id: str, num_workers: int) -> Iterator[RolloutPool]:
    """What plays episodes of an environment while the block runs; closed however that is left.

    A robot (`RobotEnv.is_robot`) is held by this process alone, in the foreground; SIGTERM and a
    closed terminal end the block as Ctrl-C does.

    Args:
        env_id: the environment; "" where none will be asked for.
        num_workers: simulator processes.

    Raises:
        RobotBusyError: another process holds the robot.
        UntrustedImportError, ConfigError: the environment cannot be known.
    """
    if env_id and is_robot(env_id):
        with RobotLock(env_id), endings_interrupt(), ForegroundPool() as pool:
            yield pool
    else:
        with RolloutPool(num_workers) as pool:
            yield pool


def few_on_robots(config: TrainingConfig, env_id: str, most: int = FEW) -> TrainingConfig:
    """The configuration with no more evaluation episodes than a robot shall play."""
    if max(config.eval_episodes, config.round_eval_episodes) <= most or not is_robot(env_id):
        return config
    say(
        f"{env_id} is a robot: {most} episodes an evaluation instead of {config.eval_episodes}; "
        "softflow train --robot-eval-episodes for more"
    )
    few, few_a_round = min(config.eval_episodes, most), min(config.round_eval_episodes, most)
    return replace(config, eval_episodes=few, round_eval_episodes=few_a_round)
