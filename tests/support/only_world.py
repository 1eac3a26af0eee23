"""A point world that there is only once, as a robot: it writes down who holds it.

The variables are those of `faulty_world.py`; ONLY_ASKS makes a reset ask the person beside it.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from faulty_world import FaultyWorld

ONLY_ID = "only_world:OnlyWorld"
UNSAID_ID = "only_world:make"


class OnlyWorld(FaultyWorld):
    """A robot, as far as softflow knows."""

    is_robot = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        answer = super().reset(seed=seed)
        if os.environ.get("ONLY_ASKS"):
            self._log(f"told:{input('put the cube back, then Enter: ')}")
        return answer


def make() -> OnlyWorld:
    """Makes the robot and does not say so."""
    return OnlyWorld()
