"""Targets between two actions: from where they were, evenly, to the new one within a step."""

from __future__ import annotations

import numpy as np


class Ramp:
    """Targets that move evenly; they reach each action one control step after it came.

    So they never jump, lag a control step behind, and are never faster than the actions are.

    Args:
        duration_s: how long the way to an action takes, a control step.
    """

    def __init__(self, duration_s: float) -> None:
        self._duration_s = duration_s
        self._start = self._end = np.zeros(0)
        self._begun_s = 0.0

    def begin(self, at: np.ndarray, now_s: float) -> None:
        """Stand still here."""
        self._start = self._end = np.array(at, np.float64)
        self._begun_s = now_s

    def go_to(self, target: np.ndarray, now_s: float) -> None:
        """Move to a target from wherever it is now."""
        self._start, self._begun_s = self.at(now_s), now_s
        self._end = np.array(target, np.float64)

    def at(self, now_s: float) -> np.ndarray:
        """Where it is at a time; before it began, where it began."""
        share = min(max((now_s - self._begun_s) / self._duration_s, 0.0), 1.0)
        return self._start * (1 - share) + self._end * share
