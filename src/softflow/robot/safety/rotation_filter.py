"""How fast an orientation in the action turns: towards what is asked for, no faster than allowed.

Between two orientations it goes along the straight line through the components, so it stays inside
their range; what is then not of unit length, the robot normalises, as it does with any decision.
Where there is no such line, as to an orientation written with the other sign, it stays.
"""

from __future__ import annotations

import numpy as np

from softflow.robot.safety.limits import RotationKind

_STEPS = 40
"""Halvings of the way, until its end turns no faster than allowed: to the last bit of a float."""


class RotationFilter:
    """The last orientation.

    Args:
        components: which of the action it is.
        kind: what they are.
        rate_rad_s: most radians a second.
        period_s: of a control step; a longer pause allows no more than that.
    """

    def __init__(
        self, components: list[int], kind: RotationKind, rate_rad_s: float, period_s: float
    ) -> None:
        self.components = components
        self._kind: RotationKind = kind
        self._rate_rad_s, self._period_s = rate_rad_s, period_s
        self._last = np.zeros(len(components))

    def begin(self, action: np.ndarray) -> None:
        """Start from the orientation in an action `[A]`."""
        self._last = np.asarray(action, np.float64)[self.components]

    commanded = begin

    def command(self, wanted: np.ndarray, elapsed_s: float) -> np.ndarray:
        """The orientation nearest to the one in `wanted` `[A]` that may be commanded now.

        Returns:
            Its components, float64; the last ones where `wanted` holds no orientation.
        """
        goal = np.asarray(wanted, np.float64)[self.components]
        most_rad = self._rate_rad_s * min(max(elapsed_s, 0.0), self._period_s)
        if self._turns(goal) <= most_rad:
            return goal
        low, high = 0.0, 1.0
        for _ in range(_STEPS):
            middle = (low + high) / 2
            if self._turns(self._last + middle * (goal - self._last)) <= most_rad:
                low = middle
            else:
                high = middle
        return self._last + low * (goal - self._last)

    def _turns(self, orientation: np.ndarray) -> float:
        """Radians from the last orientation to this one; infinite if it is none."""
        return angle_rad(self._last, orientation, self._kind)


def angle_rad(one: np.ndarray, other: np.ndarray, kind: RotationKind) -> float:
    """The angle between two orientations, in [0, π]; infinite if one of them is none."""
    quaternions = [_quaternion(value, kind) for value in (one, other)]
    if quaternions[0] is None or quaternions[1] is None:
        return float("inf")
    # arctan2 instead of arccos, which knows small angles to four digits only.
    first, second = quaternions[0], quaternions[1]
    if first @ second < 0:
        second = -second
    halves = np.linalg.norm(first - second), np.linalg.norm(first + second)
    return float(4 * np.arctan2(*halves))


def _quaternion(value: np.ndarray, kind: RotationKind) -> np.ndarray | None:
    """A unit quaternion; the order of its parts does not matter for angles."""
    if kind == "rotation_vector":
        half = np.linalg.norm(value) / 2
        # sinc: sin(x)/x without dividing by a small number.
        return np.append(value / 2 * np.sinc(half / np.pi), np.cos(half))
    length = np.linalg.norm(value)
    return value / length if length > 0.1 else None
