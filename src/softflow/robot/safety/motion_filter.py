"""Ranges, velocities and accelerations of components: the nearest command that keeps them all.

A command that keeps its limits passes to the last bit. Where acceleration is limited, the filter
brakes before the end of a range: what a component may still do is such that it can come to rest
inside, whatever is asked for next and however the ticks jitter.
"""

from __future__ import annotations

import numpy as np


class MotionFilter:
    """The state of the last command, component by component.

    Attributes:
        low, high: the range that is kept.
        last: the last command, `[A]` float64.

    Args:
        low, high: `[A]`, finite.
        velocity, acceleration: `[A]` a second, infinite where there is no limit.
        period_s: of a control step; a longer pause allows no more than that.
    """

    def __init__(
        self,
        low: np.ndarray,
        high: np.ndarray,
        velocity: np.ndarray,
        acceleration: np.ndarray,
        period_s: float,
    ) -> None:
        # The robot gets float32: the range ends at the last ones inside.
        self.low, self.high = _rounded(low, np.inf), _rounded(high, -np.inf)
        self._velocity_limit = velocity.astype(np.float64)
        self._acceleration_limit = acceleration.astype(np.float64)
        self._period_s = period_s
        self.last = np.zeros_like(self.low)
        self._velocity = np.zeros_like(self.low)

    def begin(self, action: np.ndarray) -> None:
        """Start from rest.

        Args:
            action: `[A]` that the robot stands still with, inside the range.
        """
        self.last = np.asarray(action, np.float64)
        self._velocity = np.zeros_like(self.last)

    def command(self, wanted: np.ndarray, elapsed_s: float) -> np.ndarray:
        """The nearest action to `wanted` `[A]` that may be commanded now, float64.

        Args:
            wanted: finite.
            elapsed_s: since the command before.
        """
        wanted = np.asarray(wanted, np.float64)
        step_s = min(max(elapsed_s, 0.0), self._period_s)
        lowest, highest = self._reachable(step_s)
        return np.clip(wanted, lowest, highest)

    def commanded(self, action: np.ndarray, elapsed_s: float) -> None:
        """Note what was commanded: `command`'s answer, or another one that keeps the limits."""
        step_s = min(max(elapsed_s, 0.0), self._period_s)
        action = np.asarray(action, np.float64)
        if step_s > 0:
            self._velocity = (action - self.last) / step_s
        self.last = action

    def _reachable(self, step_s: float) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest action of the next step, `[A]` each."""
        up = self._fastest(self._velocity, self.high - self.last, step_s)
        down = self._fastest(-self._velocity, self.last - self.low, step_s)
        with np.errstate(invalid="ignore"):  # no limit within no time
            highest = np.fmin(self.last + up * step_s, self.high)
            lowest = np.fmax(self.last - down * step_s, self.low)
        return np.minimum(lowest, highest), highest

    def _fastest(self, velocity: np.ndarray, room: np.ndarray, step_s: float) -> np.ndarray:
        """The largest velocity `[A]` of the next step in one direction, which may be negative.

        Args:
            velocity: now, in that direction; room: distance to the end of the range.
        """
        most = self._acceleration_limit
        limited = np.isfinite(most)
        rate = np.where(limited, most, 1.0)
        # After a step at v it takes v² / 2a to brake: v·dt + v² / 2a <= room. Braking as hard as
        # allowed keeps that, if it was kept before.
        gained = rate * step_s
        stopping = np.sqrt(gained**2 + 2 * rate * np.maximum(room, 0.0)) - gained
        fastest = np.minimum(np.minimum(velocity + gained, self._velocity_limit), stopping)
        return np.where(limited, fastest, self._velocity_limit)


def _rounded(bound: np.ndarray, towards: float) -> np.ndarray:
    """The nearest float32 that is not beyond a bound, as float64."""
    near = bound.astype(np.float32)
    beyond = near < bound if towards > 0 else near > bound
    inside = np.nextafter(near, np.float32(towards))
    return np.where(beyond, inside, near).astype(np.float64)
