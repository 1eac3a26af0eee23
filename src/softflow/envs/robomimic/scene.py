"""Where gripper, object and goal are: what a scripted operator looks at. Poses in the world, m."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softflow.envs.robomimic.simulator import RobosuiteSimulator

FINGER_AXIS = 0
"""The column of the gripper's rotation along which its fingers close."""
CAN_GRIP_M = np.array([0.0, 0.0, 0.015])
"""Where a can is held, from its middle: deeper, the hand stands on it."""
NEARER_M = np.array([-0.05, -0.05, 0.0])
_LIFT_M = {"Lift": 0.1, "PickPlaceCan": 0.16, "NutAssemblySquare": 0.16}
_PLACING_Z = {"PickPlaceCan": (0.98, 0.91), "NutAssemblySquare": (0.985, 0.9)}


@dataclass(frozen=True)
class Grasp:
    """How to hold the object: where, and along which horizontal direction the fingers close."""

    position: np.ndarray
    closing: np.ndarray


class Scene:
    """One task's geometry, looked up in its simulator at every call.

    The grip site stands between the fingertips.
    """

    def __init__(self, simulator: RobosuiteSimulator) -> None:
        self._simulator = simulator
        robosuite = simulator.robosuite
        self._grip_site = robosuite.robots[0].eef_site_id["right"]
        self._kind = simulator.family.robosuite_name
        self._object = f"{simulator.family.object_name}_main"

    @property
    def gripper(self) -> tuple[np.ndarray, np.ndarray]:
        """Position [3] and rotation [3, 3]."""
        data = self._simulator.data
        position = data.site_xpos[self._grip_site].copy()
        return position, data.site_xmat[self._grip_site].reshape(3, 3).copy()

    @property
    def object_position(self) -> np.ndarray:
        """The object's centre, [3]."""
        return self._simulator.data.body(self._object).xpos.copy()

    def grasp(self) -> Grasp:
        """The nearest good way to hold the object as it lies now."""
        position, (_, rotation) = self.object_position, self.gripper
        fingers = level(rotation[:, FINGER_AXIS])
        turned = self._simulator.data.body(self._object).xmat.reshape(3, 3)
        if self._kind == "Lift":
            return Grasp(position, _quarter_turn(level(turned[:, 0]), fingers))
        if self._kind == "PickPlaceCan":
            return Grasp(position + CAN_GRIP_M, fingers)
        handle = self._simulator.data.site("SquareNut_handle_site").xpos.copy()
        across = np.cross([0.0, 0.0, 1.0], level(handle - position))
        return Grasp(handle, across if across @ fingers > 0 else -across)

    @property
    def distance_to_grasp(self) -> float:
        """From the gripper to where the object is held, m."""
        return float(np.linalg.norm(self.grasp().position - self.gripper[0]))

    @property
    def lift_m(self) -> float:
        """How far to lift the object so that it can be carried over everything."""
        return _LIFT_M[self._kind]

    @property
    def placing_z(self) -> tuple[float, float]:
        """Heights of the object's centre: over the goal, and where it is let go."""
        return _PLACING_Z[self._kind]

    @property
    def goal(self) -> np.ndarray | None:
        """Where the object is to go, [3]; None if it is only to be lifted."""
        robosuite = self._simulator.robosuite
        if self._kind == "Lift":
            return None
        if self._kind == "PickPlaceCan":
            # The middle of its bin is at the very end of the arm's reach.
            return robosuite.target_bin_placements[robosuite.object_id] + NEARER_M
        return self._simulator.data.body("peg1").xpos.copy()

    def goal_turn(self) -> float:
        """By how much the object is still to be turned about the vertical, rad; the least way.

        A nut fits its peg in four ways; with the handle away from the robot, the arm is too short.
        """
        if self._kind != "NutAssemblySquare":
            return 0.0
        handle = self._simulator.data.body(self._object).xmat.reshape(3, 3)[:, 0]
        angle = np.arctan2(handle[1], handle[0])
        ways = np.array([0.5, 1.0, 1.5]) * np.pi - angle
        ways = (ways + np.pi) % (2.0 * np.pi) - np.pi
        return float(ways[np.argmin(np.abs(ways))])


def level(direction: np.ndarray) -> np.ndarray:
    """Its horizontal part, of length 1."""
    flat = np.array([direction[0], direction[1], 0.0])
    return flat / max(float(np.linalg.norm(flat)), 1e-9)


def _quarter_turn(direction: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Of a horizontal direction and its quarter turns, the one nearest to another direction."""
    beside = np.cross([0.0, 0.0, 1.0], direction)
    turns = (direction, beside, -direction, -beside)
    return max(turns, key=lambda turn: float(turn @ near))


def turn_between(rotation: np.ndarray, closing: np.ndarray) -> np.ndarray:
    """Rotation vector [3] from a gripper's rotation to "straight down, fingers along `closing`"."""
    down = np.array([0.0, 0.0, -1.0])
    wanted = np.stack([closing, np.cross(down, closing), down], axis=1)
    return rotation_vector(wanted @ rotation.T)


def rotation_vector(rotation: np.ndarray) -> np.ndarray:
    """Axis times angle [3] of a rotation matrix, angle below pi."""
    skew = np.array(
        [
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        ]
    )
    sine, cosine = 0.5 * float(np.linalg.norm(skew)), 0.5 * (float(np.trace(rotation)) - 1.0)
    if sine < 1e-9:
        return np.zeros(3)
    return skew / (2.0 * sine) * np.arctan2(sine, cosine)
