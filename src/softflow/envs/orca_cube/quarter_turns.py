"""Quarter turns of cubes about the vertical, each counted once (Sec. V-C: +1 for every 90°)."""

from __future__ import annotations

import numpy as np

from softflow.envs.orca_cube.settings import QUARTER_RAD


class QuarterTurns:
    """Counts the quarter turns of N cubes in the direction that is asked for.

    A quarter counts when the cube is farther than it ever was in this direction: rocking back and
    forth earns nothing. Another direction begins to count from where the cube is then.

    Args:
        num: N.
    """

    def __init__(self, num: int) -> None:
        self._direction = np.ones(num)
        self.progress_rad = np.zeros(num)
        """[N] since counting began, in the asked direction; negative is the other way."""
        self._counted = np.zeros(num, dtype=int)

    def reset(self, indices: np.ndarray) -> None:
        """Begin again for some cubes."""
        self.progress_rad[indices] = 0.0
        self._counted[indices] = 0

    def update(self, turned_rad: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """How many quarters [N] each cube just finished.

        Args:
            turned_rad: [N] since the last call, counter-clockwise seen from above.
            direction: [N], +1 or -1, that was asked for meanwhile.
        """
        other = direction != self._direction
        self.progress_rad[other] = 0.0
        self._counted[other] = 0
        self._direction = direction.astype(float).copy()
        self.progress_rad += self._direction * turned_rad
        reached = np.floor(self.progress_rad / QUARTER_RAD + 1e-9).astype(int)
        new = np.maximum(reached - self._counted, 0)
        self._counted += new
        return new


def quarter_change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How far cubes turned [N] between two yaws of their sides, rad in [-pi/4, pi/4).

    A cube of one colour looks the same after a quarter turn; from one control step to the next it
    turns less than half of one.
    """
    half = QUARTER_RAD / 2
    return (after - before + half) % QUARTER_RAD - half
