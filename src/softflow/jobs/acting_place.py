"""Where a command plays its episodes: processes with simulators, or a robot in this one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from softflow.envs.registry import is_robot
from softflow.robot.person.operator_commands import endings_interrupt
from softflow.robot.robot_lock import RobotLock
from softflow.training.hardware.foreground import ForegroundPool
from softflow.training.rollouts import RolloutPool

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
