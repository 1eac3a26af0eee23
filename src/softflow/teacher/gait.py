"""A periodic gait of the fingertips that turns a cube: 43 numbers for a hand of five fingers.

Each fingertip pushes along the cube's side while it is in stance, and comes back in the air:

    stance   tangentially from -a/2 to +a/2, pressed in by the preload
    swing    back from +a/2 to -a/2, lifted off the cube

Fingers take turns, each at its own phase. Tips become joints through the Jacobian at one grasp, so
the gait is a fixed function of its phase: joint targets [J] = base + bias + map · tips(phase).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softflow.envs.orca_cube.grasps import GraspCache
from softflow.envs.orca_cube.kinematics import HandKinematics
from softflow.envs.orca_cube.scene import CubeScene
from softflow.errors import ConfigError

PER_FINGER = ("amplitude_m", "lift_m", "preload_m", "height_m", "phase")
SHORTEST_S, LONGEST_S = 0.4, 3.0
_DAMPING = 1e-5


@dataclass(frozen=True)
class GaitShape:
    """How the numbers of a gait are laid out, and where a search for them begins.

    Args:
        fingers: F.
        moved_joints: M, joints that move fingers.
    """

    fingers: int
    moved_joints: int

    @property
    def size(self) -> int:
        """How many numbers a gait is: 5 a finger, period, duty, a bias a joint."""
        return len(PER_FINGER) * self.fingers + 2 + self.moved_joints

    def first_guess(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation [size] of a search's first gaits."""
        count = self.fingers
        # Two sets of fingers take turns: those that hold the cube between them are of one.
        phases = np.arange(count) % 3 % 2 * 0.5
        mean = np.concatenate(
            [
                np.full(count, 0.020),
                np.full(count, 0.018),
                np.full(count, 0.003),
                np.zeros(count),
                phases,
                [1.2, 0.7],
                np.zeros(self.moved_joints),
            ]
        )
        spread = np.repeat([0.007, 0.006, 0.004, 0.005, 0.3], count)
        return mean, np.concatenate([spread, [0.35, 0.12], np.full(self.moved_joints, 0.07)])


class FingertipGait:
    """Gaits of N hands, each with its own numbers, each about a grasp.

    Args:
        scene: the hand.
        grasps: of it; about: the number of the one [N] that each gait is about.
        numbers: [N, size].
        direction: +1 turns counter-clockwise seen from above, -1 clockwise.

    Raises:
        ConfigError: another number of numbers than this hand has.
    """

    def __init__(
        self,
        scene: CubeScene,
        grasps: GraspCache,
        about: np.ndarray,
        numbers: np.ndarray,
        direction: int = 1,
    ) -> None:
        kinematics = HandKinematics(scene)
        self._moved = kinematics.moved
        self.shape = GaitShape(len(scene.hand.description.fingers), len(self._moved))
        if numbers.shape[1] != self.shape.size:
            raise ConfigError(
                f"a gait of {numbers.shape[1]} numbers is not of this hand, whose gaits have "
                f"{self.shape.size}; search one for it: softflow teacher train"
            )
        each, rows = np.unique(about, return_inverse=True)
        maps = [_joints_of_tips(kinematics, grasps, int(grasp), direction) for grasp in each]
        self._to_joints = np.stack(maps)[rows]
        self._base = grasps.targets[about]
        self._read(numbers)

    def _read(self, numbers: np.ndarray) -> None:
        count = self.shape.fingers
        parts = [numbers[:, i * count : (i + 1) * count] for i in range(len(PER_FINGER))]
        self._amplitude, self._lift, self._preload, self._height, self._phase = parts
        rest = numbers[:, len(PER_FINGER) * count :]
        self.period_s = np.clip(rest[:, 0], SHORTEST_S, LONGEST_S)
        """[N]: how long a round takes at the gait's own speed."""
        self._duty = np.clip(rest[:, 1], 0.3, 0.9)
        self._bias = rest[:, 2:]

    def targets(self, phase: np.ndarray) -> np.ndarray:
        """Joint targets [N, J], rad, at phases [N] (1 is a round)."""
        offsets = self._tip_offsets(phase)
        joints = self._base.copy()
        joints[:, self._moved] += np.einsum("nfmk,nfk->nm", self._to_joints, offsets) + self._bias
        return joints

    def _tip_offsets(self, phase: np.ndarray) -> np.ndarray:
        """Where tips are from their places in the grasp [N, F, 3], m: along, away, up."""
        own = (phase[:, None] + self._phase) % 1.0
        duty = self._duty[:, None]
        stance = own < duty
        done = np.where(stance, own / duty, (own - duty) / (1 - duty))
        along = np.where(stance, done - 0.5, 0.5 - done) * self._amplitude
        lifted = np.where(stance, 0.0, np.sin(np.pi * done)) * np.maximum(self._lift, 0.0)
        return np.stack([along, lifted - self._preload, self._height + 0 * along], axis=-1)


def _joints_of_tips(
    kinematics: HandKinematics, grasps: GraspCache, grasp: int, direction: int
) -> np.ndarray:
    """How joints [F, M, 3] follow a tip that moves along, away from and up beside the cube."""
    joints = grasps.joints[grasp]
    jacobian = kinematics.jacobian(joints)
    axes = _finger_axes(kinematics.tips(joints), grasps.cube_pose[grasp, :3], direction)
    square = np.eye(3) * _DAMPING
    both = zip(jacobian, axes, strict=True)
    return np.stack([j.T @ np.linalg.inv(j @ j.T + square) @ a.T for j, a in both])


def _finger_axes(tips: np.ndarray, centre: np.ndarray, direction: int) -> np.ndarray:
    """[F, 3, 3]: along the cube's side as it shall turn, away from it, up."""
    away = tips - centre
    away[:, 2] = 0.0
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    up = np.array([0.0, 0.0, 1.0])
    return np.stack([direction * np.cross(up, away), away, np.tile(up, (len(tips), 1))], axis=1)
