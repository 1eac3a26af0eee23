"""A pose from a cube's corners in a picture: PnP within RANSAC, then weighted least squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softflow.perception.camera import Calibration
from softflow.perception.cube_model import CubeModel
from softflow.perception.geometry import Pose, rotation_from_vector, skew
from softflow.perception.packages import load_cv2
from softflow.perception.pose.search import FaceMap, search_pose

MIN_CORNERS = 4
"""Three leave up to four poses."""
CLEAR = 6
"""If so many corners agree on a pose with their likeliest places, no other is looked for."""
OUTLIER_SHARE = 0.1
"""A corner further from where a pose puts it than this part of the cube's size is left out."""
MAX_SPREAD_SHARE = 0.25
"""Corners that a detector is less sure of than this part of the cube's size are not looked at."""
LEAST_PX = 0.3
"""Standard deviation that no corner is more exact than, pixels at 320 x 240."""
ITERATIONS, REFINEMENTS = 100, 8
HUBER = 1.5
"""In standard deviations: corners that are further off pull less."""


@dataclass(frozen=True)
class PoseFit:
    """A pose that explains the corners.

    Attributes:
        pose: of the cube in the camera's optical frame.
        covariance: float64 [6, 6] of position (m) and rotation (rad, about the camera's axes).
        inliers: bool [8], corners that agree.
        error_px: root mean square of what they are off by.
    """

    pose: Pose
    covariance: np.ndarray
    inliers: np.ndarray
    error_px: float


def fit_pose(
    places: np.ndarray,
    spread_px: np.ndarray,
    weights: np.ndarray,
    size_px: float,
    camera: Calibration,
    cube: CubeModel,
    faces: FaceMap | None = None,
) -> PoseFit | None:
    """The cube's pose, or None where its corners tell none.

    Args:
        places: [8, K, 2], where each corner may be, the likeliest first; pixels of the camera's
            pictures.
        spread_px: [8, K], standard deviation of each place.
        weights: [8, K], how likely each place is, 0 to 1; 0 for none.
        size_px: of the cube in the picture, the longer side of the box of its corners.
        camera: its calibration; distortion is taken out.
        cube: the cube.
        faces: what places of the picture show, if the detector says so.
    """
    points = camera.undistorted(places).copy()
    first = points[:, 0]
    if not np.isfinite(points).all() or np.ptp(first, axis=0).max() < 1.0:
        return None
    outlier_px = OUTLIER_SHARE * size_px
    sigmas = np.hypot(spread_px, LEAST_PX * camera.width / 320)
    pose = _ransac(first, _surest(spread_px[:, 0], size_px), camera, cube, outlier_px)
    if pose is None or _agreeing(pose, points[:, :1], camera, cube, outlier_px)[1].sum() < CLEAR:
        pose = search_pose(points, weights, size_px, faces, camera, cube, first=pose)
        # Taken for another corner or not, a peak is where some corner is.
        points, sigmas, weights = (_shared(values) for values in (points, sigmas, weights))
    if pose is None:
        return None
    points[weights == 0] = np.inf
    fit = _fitted(pose, points, sigmas, outlier_px, camera, cube)
    return fit and _fitted(fit.pose, points, sigmas, outlier_px, camera, cube)


def _shared(values: np.ndarray) -> np.ndarray:
    """Values [8, K, ...] of all corners for each of them, [8, 8 K, ...]."""
    every = values.reshape(1, -1, *values.shape[2:])
    return np.repeat(every, len(values), axis=0)


def _fitted(
    pose: Pose,
    points: np.ndarray,
    sigmas: np.ndarray,
    outlier_px: float,
    camera: Calibration,
    cube: CubeModel,
) -> PoseFit | None:
    """The pose once more, on the place of each corner that is nearest to where it puts it."""
    taken, inliers = _agreeing(pose, points, camera, cube, outlier_px)
    if inliers.sum() < MIN_CORNERS:
        return None
    each = np.arange(len(points))
    return _refined(pose, inliers, points[each, taken], sigmas[each, taken], camera, cube)


def _surest(spread_px: np.ndarray, size_px: float) -> np.ndarray:
    """bool [8]: corners that the detector is sure of, or the surest ones if that is too few."""
    used = spread_px < MAX_SPREAD_SHARE * size_px
    if used.sum() < MIN_CORNERS:
        used[np.argsort(spread_px)[:MIN_CORNERS]] = True
    return used


def _agreeing(
    pose: Pose, points: np.ndarray, camera: Calibration, cube: CubeModel, outlier_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Which place of each corner [8] is nearest to where a pose puts it, and whether it is near."""
    seen = camera.project(pose.apply(cube.corners_m))
    off = np.linalg.norm(points - seen[:, None], axis=2)
    return off.argmin(axis=1), off.min(axis=1) < outlier_px


def _ransac(
    points: np.ndarray, used: np.ndarray, camera: Calibration, cube: CubeModel, outlier_px: float
) -> Pose | None:
    """A pose on which most corners agree."""
    cv2 = load_cv2()
    cv2.setRNGSeed(0)  # the same corners give the same pose
    try:
        found, turn, place, _ = cv2.solvePnPRansac(
            cube.corners_m[used],
            points[used],
            camera.matrix,
            None,
            iterationsCount=ITERATIONS,
            reprojectionError=outlier_px,
            confidence=0.999,
            flags=cv2.SOLVEPNP_SQPNP,
        )
    except cv2.error:  # points in one line, for one
        return None
    if not found or not np.isfinite(turn).all() or not np.isfinite(place).all():
        return None
    pose = Pose(rotation_from_vector(turn.ravel()), place.ravel())
    return pose if (pose.apply(cube.corners_m)[:, 2] > 0).all() else None


def _refined(
    pose: Pose,
    inliers: np.ndarray,
    points: np.ndarray,
    sigmas: np.ndarray,
    camera: Calibration,
    cube: CubeModel,
) -> PoseFit | None:
    """Gauss-Newton on the corners that agree, each weighed by how sure it is."""
    corners_m, target, sigma = cube.corners_m[inliers], points[inliers], sigmas[inliers]
    information = np.eye(6)
    for _ in range(REFINEMENTS):
        off, slope = _linearised(pose, corners_m, target, camera)
        distance = np.linalg.norm(off, axis=1) / sigma
        weight = np.minimum(1.0, HUBER / np.maximum(distance, 1e-9)) / sigma**2
        information = np.einsum("nij,nik,n->jk", slope, slope, weight)
        gradient = np.einsum("nij,ni,n->j", slope, off, weight)
        step = np.linalg.solve(information + 1e-9 * np.trace(information) * np.eye(6), -gradient)
        pose = pose.moved(step)
        if (pose.apply(corners_m)[:, 2] <= 0).any():
            return None
    off, _ = _linearised(pose, corners_m, target, camera)
    error_px = float(np.sqrt((off**2).sum(axis=1).mean()))
    return PoseFit(pose, np.linalg.pinv(information), inliers, error_px)


def _linearised(
    pose: Pose, corners_m: np.ndarray, target: np.ndarray, camera: Calibration
) -> tuple[np.ndarray, np.ndarray]:
    """What corners are off by [N, 2], and its slopes [N, 2, 6] in position and rotation."""
    off = camera.project(pose.apply(corners_m)) - target
    return off, slopes(pose, corners_m, camera)


def slopes(pose: Pose, points_m: np.ndarray, camera: Calibration) -> np.ndarray:
    """How pixels of points move with the pose.

    Args:
        pose: of the cube; points_m: [N, 3] in its frame; camera: its calibration.

    Returns:
        [N, 2, 6] pixels by position (m) and rotation (rad, about the camera's axes).
    """
    turned = points_m @ pose.rotation.T
    x, y, z = (turned + pose.position_m).T
    zero = np.zeros_like(z)
    by_point = np.stack(
        [
            np.stack([camera.fx / z, zero, -camera.fx * x / z**2], 1),
            np.stack([zero, camera.fy / z, -camera.fy * y / z**2], 1),
        ],
        axis=1,
    )
    by_turn = -np.stack([skew(point) for point in turned])
    return np.concatenate([by_point, by_point @ by_turn], axis=2)
