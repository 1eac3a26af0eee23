"""Rigid motions in numpy: poses, rotation vectors, quaternions, how far poses are apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from softflow.envs.orca_cube.rotations import matrices

SMALL_RAD = 1e-6
"""Below this angle, series take the place of quotients of two vanishing numbers."""


@dataclass(frozen=True)
class Pose:
    """Where something is and how it is turned in a frame: x_frame = rotation @ x + position_m.

    Attributes:
        rotation: float64 [3, 3], orthonormal with determinant 1.
        position_m: float64 [3], metres.
    """

    rotation: np.ndarray
    position_m: np.ndarray

    def apply(self, points_m: np.ndarray) -> np.ndarray:
        """Points [..., 3] of the thing, in the frame."""
        return points_m @ self.rotation.T + self.position_m

    def __matmul__(self, other: Pose) -> Pose:
        """The pose of a thing in this frame, whose pose in the thing's frame is `other`."""
        return Pose(self.rotation @ other.rotation, self.apply(other.position_m))

    def moved(self, step: np.ndarray) -> Pose:
        """After a step [6] of position (m) and rotation (rad), about the frame's axes."""
        return Pose(rotation_from_vector(step[3:]) @ self.rotation, self.position_m + step[:3])

    def inverse(self) -> Pose:
        """The frame's pose as the thing sees it."""
        return Pose(self.rotation.T, -self.rotation.T @ self.position_m)


def skew(vector: np.ndarray) -> np.ndarray:
    """The matrix [3, 3] whose product with x is the cross product of `vector` and x."""
    x, y, z = vector
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def rotation_from_vector(vector_rad: np.ndarray) -> np.ndarray:
    """Rotation [3, 3] about an axis by its length in radians (Rodrigues)."""
    angle = float(np.linalg.norm(vector_rad))
    cross = skew(vector_rad)
    if angle < SMALL_RAD:
        return np.eye(3) + cross + 0.5 * cross @ cross
    sine, cosine = math.sin(angle) / angle, (1.0 - math.cos(angle)) / angle**2
    return np.eye(3) + sine * cross + cosine * cross @ cross


def vector_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """The rotation vector [3] of a rotation, its length within 0 to pi."""
    w, *axis = quat_wxyz(rotation)
    axis = np.asarray(axis)
    sine = float(np.linalg.norm(axis))
    if sine < SMALL_RAD:
        return 2.0 * axis
    return 2.0 * math.atan2(sine, w) * axis / sine


def quat_wxyz(rotation: np.ndarray) -> np.ndarray:
    """Unit quaternion w, x, y, z of a rotation [3, 3]; w is never negative."""
    r = rotation
    # The largest of the four is divided by, so that none of them loses digits.
    squares = np.array(
        [
            1.0 + r[0, 0] + r[1, 1] + r[2, 2],
            1.0 + r[0, 0] - r[1, 1] - r[2, 2],
            1.0 - r[0, 0] + r[1, 1] - r[2, 2],
            1.0 - r[0, 0] - r[1, 1] + r[2, 2],
        ]
    )
    w_x, w_y, w_z = r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]
    x_y, x_z, y_z = r[1, 0] + r[0, 1], r[0, 2] + r[2, 0], r[2, 1] + r[1, 2]
    products = np.array(
        [[0.0, w_x, w_y, w_z], [w_x, 0.0, x_y, x_z], [w_y, x_y, 0.0, y_z], [w_z, x_z, y_z, 0.0]]
    )
    quaternion = (products + np.diag(squares))[int(np.argmax(squares))]
    quaternion /= np.linalg.norm(quaternion)
    return -quaternion if quaternion[0] < 0 else quaternion


def rotation_from_quat_wxyz(quaternion: np.ndarray) -> np.ndarray:
    """Rotation [3, 3] of a quaternion w, x, y, z, which need not have length 1."""
    return matrices(np.asarray(quaternion, np.float64))


def random_rotation(rng: np.random.Generator) -> np.ndarray:
    """A rotation [3, 3], all equally likely."""
    return rotation_from_quat_wxyz(rng.normal(size=4))


def pose_errors(found: Pose, true: Pose) -> tuple[float, float]:
    """How far a pose is off: metres between the origins, radians of the rotation between."""
    distance_m = float(np.linalg.norm(found.position_m - true.position_m))
    turn = vector_from_rotation(found.rotation @ true.rotation.T)
    return distance_m, float(np.linalg.norm(turn))


def parabola_top(low: np.ndarray, middle: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where parabolas through three neighbours are highest, in steps from the middle one."""
    return 0.5 * (low - high) / np.minimum(low - 2 * middle + high, -1e-6)
