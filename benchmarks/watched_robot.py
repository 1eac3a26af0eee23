"""A robot that notes what reaches it: an environment in real time, for `softflow robot`.

    WATCHED_ENV_ID=cube-single WATCHED_NOTES=notes softflow robot RUN \
--robot benchmarks.watched_robot:make --out EPISODES

The notes are on the robot's own side of every layer of softflow: when it was looked at before a
command, and the command. They are numbers in a file that only grows, so a robot that is started
anew goes on in it.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from softflow.envs.registry import make_env
from softflow.robot.environment_robot import EnvironmentRobot
from softflow.robot.protocol import Outcome, Sensed

ENV_ID, NOTES = "WATCHED_ENV_ID", "WATCHED_NOTES"
"""Names of the environment variables that tell what it is, and where the notes go."""


@dataclass(frozen=True)
class Seen:
    """What reached a robot in an episode.

    Attributes:
        looks_s: when it was looked at before each command, on the monotonic clock, `[steps]`.
        actions: the commands, `[steps, A]`.
    """

    looks_s: np.ndarray
    actions: np.ndarray

    def jumps(self) -> np.ndarray:
        """How far each component goes from a command to the next, `[steps - 1, A]`."""
        return np.abs(np.diff(self.actions, axis=0))


class WatchedRobot(EnvironmentRobot):
    """An environment as a robot, with notes of what reaches it.

    Args:
        env_id: the environment.
        notes: file that they are added to.
    """

    def __init__(self, env_id: str, notes: Path) -> None:
        super().__init__(make_env(env_id), env_id)
        self._notes = notes.open("ab")
        self._reset_s = self._looked_s = 0.0

    def reset(self, seed: int) -> None:
        """Begin an episode."""
        super().reset(seed)
        self._notes.flush()
        self._reset_s = time.monotonic()

    def observe(self) -> Sensed:
        """Look, and remember when."""
        self._looked_s = time.monotonic()
        return super().observe()

    def act(self, action: np.ndarray) -> Outcome:
        """One control step, noted."""
        self._notes.write(np.array([self._reset_s, self._looked_s, *action], "<f8").tobytes())
        return super().act(action)

    def close(self) -> None:
        """Close the environment and the notes."""
        self._notes.close()
        super().close()


def make() -> WatchedRobot:
    """What `--robot benchmarks.watched_robot:make` calls."""
    return WatchedRobot(os.environ[ENV_ID], Path(os.environ[NOTES]))


def read_notes(path: Path, action_dim: int) -> list[Seen]:
    """The episodes that began to move, in their order."""
    rows = np.fromfile(path, "<f8").reshape(-1, 2 + action_dim)
    begins = np.flatnonzero(np.diff(rows[:, 0], prepend=-np.inf))
    return [Seen(part[:, 1], part[:, 2:]) for part in np.split(rows, begins[1:])]
