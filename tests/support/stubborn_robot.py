"""A robot made by name for `softflow robot`: the point world without a word about success."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from point_world import ENV_ID, PointWorld

from softflow.robot.environment_robot import EnvironmentRobot


class StubbornRobot(EnvironmentRobot):
    """Notes what is done to it in a file; raises, or kills its process, where it is told to."""

    def __init__(self) -> None:
        super().__init__(PointWorld(), ENV_ID)
        self.max_episode_steps = 8
        self._notes = Path(os.environ["STUBBORN_NOTES"])
        self._dies_at = int(os.environ.get("STUBBORN_DIES_AT", -1))
        self._acts = 0

    def _note(self, text: str) -> None:
        with self._notes.open("a") as file:
            file.write(f"{text}\n")

    def act(self, action: np.ndarray) -> None:  # type: ignore[override]
        self._acts += 1
        if self._acts == self._dies_at:
            os.kill(os.getpid(), 9)
        super().act(action)

    def reset(self, seed: int) -> None:
        self._note("reset")
        super().reset(seed)

    def stop(self) -> None:
        self._note("stop")
        super().stop()

    def close(self) -> None:
        self._note("close")
        super().close()


def make() -> StubbornRobot:
    return StubbornRobot()


def not_a_robot() -> object:
    return object()
