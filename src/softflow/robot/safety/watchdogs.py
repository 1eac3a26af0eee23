"""What must keep coming: observations, decisions, signs of life. Without them: hold, then stop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from softflow.robot.safety.limits import Patience

Verdict = Literal["go on", "hold", "stop"]


class Watchdog:
    """How long something has been missing.

    Args:
        patience: after how long the robot holds, and is stopped.
        now_s: it counts as seen now.
    """

    def __init__(self, patience: Patience, now_s: float) -> None:
        self.patience = patience
        self._seen_s = now_s

    def seen(self, at_s: float) -> None:
        """It was there at this time; an earlier time than before changes nothing."""
        self._seen_s = max(self._seen_s, at_s)

    def missing_s(self, now_s: float) -> float:
        """For how long it has been missing; a clock that was set back makes it no younger."""
        return max(now_s - self._seen_s, 0.0)

    def verdict(self, now_s: float) -> Verdict:
        """What the robot is to do now."""
        missing_s = self.missing_s(now_s)
        if missing_s > self.patience.stop_s:
            return "stop"
        return "hold" if missing_s > self.patience.hold_s else "go on"


@dataclass
class _Seen:
    value: np.ndarray
    changed_s: float


class FrozenWatch:
    """Observations that stay the same to the last digit: a driver that repeats itself.

    Args:
        most_s: how long each may; 0 watches nothing.
    """

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._seen: dict[str, _Seen] = {}

    def frozen(self, values: Mapping[str, np.ndarray], now_s: float) -> str:
        """The key that has not changed for too long; empty if none."""
        if not self._most_s:
            return ""
        for key, value in values.items():
            seen = self._seen.get(key)
            if seen is None or not np.array_equal(seen.value, value):
                self._seen[key] = _Seen(value.copy(), now_s)
            elif now_s - seen.changed_s > self._most_s:
                return key
        return ""
