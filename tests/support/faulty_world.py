"""A point world that breaks as robots do, and writes down what is asked of it.

The variables FAULTY_LOG (a file) and FAULTY_AT ("making", "reset", "step", "at once": in the first
step of all, "slow": never, but each step takes a while) say how.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from point_world import PointWorld

FAULTY_ID = "faulty_world:FaultyWorld"
BREAKS_IN_EPISODE = 3
"""The first one is a trial of one step."""
BREAKS_AT_STEP = 3
SLOW_STEP_S = 0.3


class FaultyWorld(PointWorld):
    """Breaks in control step 3 of its third episode, or as FAULTY_AT says."""

    def __init__(self, image_size: tuple[int, int] | None = None) -> None:
        self._at = os.environ["FAULTY_AT"]
        self._episodes = 0
        self._log("made")
        if self._at == "making":
            raise ConnectionRefusedError("no robot at 10.0.0.5")

    def _log(self, what: str) -> None:
        with Path(os.environ["FAULTY_LOG"]).open("a") as file:
            file.write(f"{what} {os.getpid()}\n")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        self._log("reset")
        self._episodes += 1
        if self._at == "reset" and self._episodes == BREAKS_IN_EPISODE:
            raise TimeoutError("the arm does not answer")
        return super().reset(seed=seed)

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        if self._at == "slow":
            self._log("step")
            time.sleep(SLOW_STEP_S)
        breaks_at = {"step": (BREAKS_IN_EPISODE, BREAKS_AT_STEP), "at once": (1, 0)}
        if (self._episodes, self._steps) == breaks_at.get(self._at):
            raise RuntimeError("joint 4 is over its torque limit")
        return super().step(action)

    def close(self) -> None:
        self._log("closed")
