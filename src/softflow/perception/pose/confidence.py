"""How sure a pose is: whether it may be acted on, or the picture is better taken for none.

Few corners allow several poses, and the best of them may be the wrong one. That shows: corners lie
where their heat maps have no peak, and what is left over leaves the pose uncertain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from softflow.errors import ConfigError
from softflow.perception.camera import Calibration
from softflow.perception.cube_model import CubeModel
from softflow.perception.geometry import Pose
from softflow.perception.pose.search import NEAR_SHARE, log_likelihoods

if TYPE_CHECKING:
    from softflow.perception.detectors.detection import Detection

SURE = 0.75
"""Poses that are less sure are left out, unless asked for otherwise."""
WEIGHTS, OFFSET = (1.68, -2.50, -0.78), -4.57
"""Of a logistic regression on 600 renders that no detector learned from (docs/cube_pose.md)."""


def pose_confidence(
    pose: Pose, covariance: np.ndarray, found: Detection, camera: Calibration, cube: CubeModel
) -> float:
    """How likely a pose is within 10 mm and 15 degrees, 0 to 1.

    Args:
        pose: of the cube in the camera's frame.
        covariance: [6, 6] of its position (m) and rotation (rad).
        found: the detection that it follows from.
        camera: its calibration; cube: the cube.
    """
    logit = evidence(pose, covariance, found, camera, cube) @ WEIGHTS + OFFSET
    return float(1 / (1 + np.exp(-logit)))


def require_confidence(least: float) -> float:
    """A share of 0 to 1, as it is.

    Raises:
        ConfigError: it is none.
    """
    if not 0 <= least <= 1:
        raise ConfigError(f"--min-confidence is {least}; give 0 (every pose) to 1")
    return least


def evidence(
    pose: Pose, covariance: np.ndarray, found: Detection, camera: Calibration, cube: CubeModel
) -> np.ndarray:
    """What speaks for a pose [3]: nats a corner, and logarithms of its standard deviations.

    These are of the position, as part of the cube's side, and of the rotation (rad).
    """
    seen = camera.project(pose.apply(cube.corners_m))
    near_px = NEAR_SHARE * float(np.ptp(seen, axis=0).max())
    points = camera.undistorted(found.places)
    agreement = np.diag(log_likelihoods(seen, points, found.weights, near_px)).mean()
    variances = np.trace(covariance[:3, :3]) / cube.side_m**2, np.trace(covariance[3:, 3:])
    return np.array([agreement, *(0.5 * np.log(np.maximum(variances, 1e-12)))])
