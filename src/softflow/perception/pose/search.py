"""A pose where corners may be in several places each: the one on which most of them can agree.

A corner's heat map often has several peaks, above all where faces are hidden: which of a face's
four corners is which is not seen at each by itself. Together they leave one way.
"""

from __future__ import annotations

import numpy as np

from softflow.perception.camera import Calibration
from softflow.perception.cube_model import CORNER_SIGNS, CubeModel, cube_rotations
from softflow.perception.geometry import Pose, rotation_from_vector
from softflow.perception.packages import load_cv2

TRIES = 80
"""Sets of four corners that are looked at."""
NEAR_SHARE = 0.04
"""Standard deviation of a place, as part of the cube's size."""
ELSEWHERE = 1e-3
"""How likely a corner is where it has no peak at all."""

_ROTATIONS = cube_rotations()
_CORNER_AFTER = np.array(
    [[int(np.argmax(CORNER_SIGNS @ (r @ corner))) for corner in CORNER_SIGNS] for r in _ROTATIONS]
)
"""[24, 8]: whose place each corner takes once the cube is turned."""


def search_pose(
    points: np.ndarray, weights: np.ndarray, size_px: float, camera: Calibration, cube: CubeModel
) -> Pose | None:
    """The likeliest pose among those that four corners at a time give, and their symmetries.

    Args:
        points: [8, K, 2], places of each corner, pixels without distortion.
        weights: [8, K], how likely each is; 0 for none.
        size_px: of the cube in the picture.
        camera: its calibration.
        cube: the cube.
    """
    rng = np.random.default_rng(0)  # the same peaks give the same pose
    certain = weights.max(axis=1)
    if np.count_nonzero(certain) < 4:
        return None
    best, best_score = None, -np.inf
    for _ in range(TRIES):
        chosen = rng.choice(8, 4, replace=False, p=certain / certain.sum())
        places = [rng.choice(len(weights[k]), p=weights[k] / weights[k].sum()) for k in chosen]
        pose = _pose_of_four(cube.corners_m[chosen], points[chosen, places], camera)
        if pose is None:
            continue
        seen = camera.project(pose.apply(cube.corners_m))
        fits = _log_likelihoods(seen, points, weights, NEAR_SHARE * size_px)
        scores = fits[np.arange(8), _CORNER_AFTER].sum(axis=1)
        turn = int(np.argmax(scores))
        if scores[turn] > best_score:
            best = Pose(pose.rotation @ _ROTATIONS[turn], pose.position_m)
            best_score = scores[turn]
    return best


def _pose_of_four(corners_m: np.ndarray, places: np.ndarray, camera: Calibration) -> Pose | None:
    """The pose that puts four corners where they are, if there is one before the camera."""
    cv2 = load_cv2()
    try:
        found, turn, place = cv2.solvePnP(
            corners_m, places, camera.matrix, None, flags=cv2.SOLVEPNP_AP3P
        )
    except cv2.error:  # two corners in one place, for one
        return None
    if not found or not (np.isfinite(turn).all() and np.isfinite(place).all()):
        return None
    pose = Pose(rotation_from_vector(turn.ravel()), place.ravel())
    return pose if (pose.apply(corners_m)[:, 2] > 0.01).all() else None


def _log_likelihoods(
    seen: np.ndarray, points: np.ndarray, weights: np.ndarray, near_px: float
) -> np.ndarray:
    """[8, 8]: how well it fits that corner k is at place j of `seen`, nats."""
    squares = ((seen[None, :, None] - points[:, None]) ** 2).sum(-1) / near_px**2
    return np.log(ELSEWHERE + (weights[:, None] * np.exp(-0.5 * squares)).sum(-1))
