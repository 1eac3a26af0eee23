"""A pose where corners may be in several places each: the one on which most of them can agree.

A corner's heat map often has several peaks, above all where faces are hidden: which of a face's
four corners is which is not seen at each by itself. Together, and with what each place shows, they
leave one way.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from softflow.perception.camera import Calibration
from softflow.perception.cube_model import (
    CORNER_AFTER,
    FACE_AFTER,
    ROTATIONS,
    CubeModel,
    face_samples_m,
    seen_faces,
)
from softflow.perception.geometry import Pose, rotation_from_vector
from softflow.perception.packages import load_cv2

TRIES = 60
"""Sets of four corners that are looked at."""
NEAR_SHARE = 0.06
"""Standard deviation of a place, as part of the cube's size."""
ELSEWHERE = 1e-3
"""How likely a corner is where it has no peak at all."""
HIDDEN = 0.05
"""How likely a place of a face shows something else at least."""
SAMPLES, INNER = 4, 0.75
"""Places along each side of a face that are looked at, within this part of it."""
FACE_WEIGHT = 0.5
"""Of a place's evidence: neighbours say the same."""
LARGER = 1.6
"""A pose at which the cube is larger or smaller than it is seen by more than this is none."""
SIZE_SPREAD = 0.1
"""Standard deviation of the logarithm of how much larger or smaller the box is."""


@dataclass(frozen=True)
class FaceMap:
    """What a square part of a picture shows.

    Attributes:
        probabilities: float [7, S, S], of no cube and of each face; they sum to 1.
        left, top: pixel at the outer edge of the first cell.
        cell_px: side of a cell.
    """

    probabilities: np.ndarray
    left: float
    top: float
    cell_px: float

    def at(self, points: np.ndarray) -> np.ndarray:
        """[N, 6]: how likely each face is shown at points [N, 2], pixels; 0 outside."""
        cells = self.probabilities.shape[-1]
        x, y = np.floor((points + 0.5 - (self.left, self.top)) / self.cell_px).astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < cells) & (y < cells)
        shown = self.probabilities[1:, np.clip(y, 0, cells - 1), np.clip(x, 0, cells - 1)]
        return shown.T * inside[:, None]


def search_pose(
    points: np.ndarray,
    weights: np.ndarray,
    size_px: float,
    faces: FaceMap | None,
    camera: Calibration,
    cube: CubeModel,
    first: Pose | None = None,
) -> Pose | None:
    """The likeliest pose among those that four corners at a time give, and their symmetries.

    Args:
        points: [8, K, 2], places of each corner, pixels without distortion.
        weights: [8, K], how likely each is; 0 for none.
        size_px: of the cube in the picture, the longer side of the box of its corners.
        faces: what places show, if the detector says so.
        camera: its calibration.
        cube: the cube.
        first: a pose that is looked at beside these.
    """
    best, best_score = None, -np.inf
    for pose in (first, *_poses_of_fours(points, weights, camera, cube)):
        if pose is None:
            continue
        seen = camera.project(pose.apply(cube.corners_m))
        larger = np.ptp(seen, axis=0).max() / size_px
        if not 1 / LARGER < larger < LARGER:
            continue
        fits = log_likelihoods(seen, points, weights, NEAR_SHARE * size_px)
        scores = fits[np.arange(8), CORNER_AFTER].sum(axis=1)
        scores = scores - 0.5 * (np.log(larger) / SIZE_SPREAD) ** 2
        if faces is not None:
            scores = scores + FACE_WEIGHT * _face_scores(pose, faces, camera, cube)
        turn = int(np.argmax(scores))
        if scores[turn] > best_score:
            best = Pose(pose.rotation @ ROTATIONS[turn], pose.position_m)
            best_score = scores[turn]
    return best


def _poses_of_fours(
    points: np.ndarray, weights: np.ndarray, camera: Calibration, cube: CubeModel
) -> Iterator[Pose | None]:
    """Poses that four corners at likely places give."""
    rng = np.random.default_rng(0)  # the same peaks give the same pose
    certain = weights.max(axis=1)
    if np.count_nonzero(certain) < 4:
        return
    for _ in range(TRIES):
        chosen = rng.choice(8, 4, replace=False, p=certain / certain.sum())
        places = [rng.choice(len(weights[k]), p=weights[k] / weights[k].sum()) for k in chosen]
        yield _pose_of_four(cube.corners_m[chosen], points[chosen, places], camera)


def _face_scores(pose: Pose, faces: FaceMap, camera: Calibration, cube: CubeModel) -> np.ndarray:
    """[24]: how well what places show fits the pose, turned by each symmetry; nats."""
    total = np.zeros(len(ROTATIONS))
    for face in map(int, np.flatnonzero(seen_faces(pose.rotation, pose.position_m, cube.side_m))):
        samples = pose.apply(face_samples_m(face, cube.side_m, SAMPLES, INNER))
        shown = np.log(HIDDEN + faces.at(camera.project(samples))).sum(axis=0)
        total += shown[FACE_AFTER[:, face]]
    return total


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


def log_likelihoods(
    seen: np.ndarray, points: np.ndarray, weights: np.ndarray, near_px: float
) -> np.ndarray:
    """How well it fits that each corner is where a pose puts each corner.

    Args:
        seen: [8, 2], where a pose puts them; points: [8, K, 2], places of each, and weights
            [8, K], how likely each place is; all without distortion.
        near_px: standard deviation of a place.

    Returns:
        [8, 8], nats: that corner k is at place j of `seen`.
    """
    squares = ((seen[None, :, None] - points[:, None]) ** 2).sum(-1) / near_px**2
    return np.log(ELSEWHERE + (weights[:, None] * np.exp(-0.5 * squares)).sum(-1))
