"""Joint angles for fingertips that go around a cube: a table of inverse kinematics.

Every fingertip's place is told from its place in a grasp, in cylinder coordinates about the cube's
vertical axis: so far around, so far away from the axis, so far up. A cube that turns with a finger
on it carries the fingertip along such an arc; a straight line would press it in or lose it.
"""

from __future__ import annotations

import numpy as np

from softflow.envs.orca_cube.grasps import GraspCache
from softflow.envs.orca_cube.kinematics import HandKinematics
from softflow.envs.orca_cube.scene import CubeScene

_AROUND_RAD = np.linspace(-0.9, 0.9, 13)
_AWAY_M = np.array([-0.015, -0.010, -0.005, 0.0, 0.005, 0.010, 0.016, 0.022, 0.028])
_UP_M = np.array([-0.012, -0.006, 0.0, 0.006, 0.012])
_GRIDS = (_AROUND_RAD, _AWAY_M, _UP_M)
_ITERATIONS = 12


class FingerArcs:
    """The joints of one grasp's fingertips, moved about its cube.

    Where a finger cannot reach, it goes as far as its joints let it.

    Args:
        scene: the hand.
        grasps: of it.
        grasp: the number of the one.
    """

    def __init__(self, scene: CubeScene, grasps: GraspCache, grasp: int) -> None:
        kinematics = HandKinematics(scene)
        self.moved = kinematics.moved
        """Indices of the joints that move fingers [M]."""
        joints = grasps.joints[grasp]
        self.finger_of_joint = np.abs(kinematics.jacobian(joints)).sum(axis=1).argmax(axis=0)
        """Which finger each of them moves [M]."""
        self._base = np.where(np.isin(np.arange(len(joints)), self.moved), 0, grasps.targets[grasp])
        self._table = _table(kinematics, joints, grasps.cube_pose[grasp, :3])

    def joints(self, around_rad: np.ndarray, away_m: np.ndarray, up_m: np.ndarray) -> np.ndarray:
        """Joint angles [N, J], rad, of fingertips so moved [N, F]; between the table's places.

        Args:
            around_rad: counter-clockwise seen from above, up to 0.9 either way.
            away_m: from the cube's axis, -0.015 to 0.028.
            up_m: -0.012 to 0.012.
        """
        told = (around_rad, away_m, up_m)
        each = [
            _between(values[:, self.finger_of_joint], grid)
            for values, grid in zip(told, _GRIDS, strict=True)
        ]
        column = np.arange(len(self.moved))
        found = np.zeros((len(around_rad), len(self.moved)))
        for corner in np.ndindex(2, 2, 2):
            places = [low + step for (low, _), step in zip(each, corner, strict=True)]
            shares = [u if step else 1 - u for (_, u), step in zip(each, corner, strict=True)]
            found += np.prod(shares, axis=0) * self._table[(*places, column)]
        joints = np.tile(self._base, (len(around_rad), 1))
        joints[:, self.moved] = found
        return joints


def _between(values: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The grid's place below each value, and how far it is to the next, 0 to 1."""
    values = np.clip(values, grid[0], grid[-1])
    low = np.clip(np.searchsorted(grid, values, side="right") - 1, 0, len(grid) - 2)
    return low, (values - grid[low]) / (grid[low + 1] - grid[low])


def _table(kinematics: HandKinematics, joints: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """[around, away, up, M], each place from a neighbour nearer to the grasp: no jumps."""
    arms = kinematics.tips(joints) - centre
    radius, bearing = np.hypot(*arms[:, :2].T), np.arctan2(arms[:, 1], arms[:, 0])
    table = np.zeros((*map(len, _GRIDS), len(kinematics.moved)))
    rest = tuple(int(np.abs(grid).argmin()) for grid in _GRIDS)
    for place in sorted(
        np.ndindex(table.shape[:3]), key=lambda p: np.abs(np.subtract(p, rest)).sum()
    ):
        around, away, up = (grid[i] for grid, i in zip(_GRIDS, place, strict=True))
        angle, out = bearing + around, radius + away
        tips = np.stack([out * np.cos(angle), out * np.sin(angle), arms[:, 2] + up], axis=1)
        start = joints.copy()
        if place != rest:
            start[kinematics.moved] = table[_nearer(place, rest)]
        reached, _ = kinematics.reach(centre + tips, start, _ITERATIONS)
        table[place] = reached[kinematics.moved]
    return table


def _nearer(place: tuple[int, ...], rest: tuple[int, ...]) -> tuple[int, ...]:
    """The neighbour of a place one step nearer to rest, along the first axis that differs."""
    steps = np.sign(np.subtract(rest, place))
    first = int(np.flatnonzero(steps)[0])
    return tuple(i + int(steps[first]) if axis == first else i for axis, i in enumerate(place))
