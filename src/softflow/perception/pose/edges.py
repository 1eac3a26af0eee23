"""The last pixel of a pose: the picture is asked where the cube's edges are.

Corners from heat maps are a pixel or two off, and with them the cube's size and its distance. Along
the edges, where a pose puts them, colours change at a place that can be told to a part of a pixel.
"""

from __future__ import annotations

import numpy as np

from softflow.perception.camera import Calibration
from softflow.perception.cube_model import EDGES, CubeModel, faces_of_corner, seen_faces
from softflow.perception.geometry import Pose, parabola_top
from softflow.perception.packages import load_cv2
from softflow.perception.pose.pnp import HUBER, slopes

ALONG = np.linspace(0.08, 0.92, 15)
"""Places on each edge, as parts of its length; corners themselves are no edges."""
REACHES = (0.08, 0.05, 0.03)
"""How far samples lie across an edge in each round, as part of the cube's size."""
LEAST_REACH_PX = 1.5
"""The same at least, at 320 x 240: samples closer than a fifth of a pixel show no change."""
ACROSS, WINDOW = 8, 3
"""Samples to each side of an edge, and how many of them one colour is the mean of."""
LEAST_STEP = 20.0
"""A smaller change of colour is no edge; a channel goes up to 255."""
SECOND = 0.3
"""Nor is one smaller than this part of the largest beside it."""
EDGE_PX = 0.5
"""Standard deviation of a place on an edge, pixels at 320 x 240."""
ALIKE = 8
"""So many places of an edge count as one: what puts one off puts off its neighbours."""
DOUBT = 12.0
"""The pose that comes in is as uncertain as it says, times this: its corners err together."""
DISTANCE_SHARE, TURN_RAD = 0.006, 0.015
"""What no number of places makes better, rims taken for edges: part of the distance, and turns."""
_EDGES = np.array(EDGES)
_ON_FACES = faces_of_corner()[_EDGES].all(axis=1)
"""bool [12, 6]: whether an edge bounds a face."""


def refine_by_edges(
    pose: Pose, covariance: np.ndarray, picture: np.ndarray, camera: Calibration, cube: CubeModel
) -> tuple[Pose, np.ndarray]:
    """The pose on which the edges that are seen lie best, near the one that is given.

    Args:
        pose: of the cube in the camera's frame, a few pixels off at most.
        covariance: [6, 6] of its position (m) and rotation (rad, about the camera's axes).
        picture: uint8 [H, W, 3], RGB; camera: its calibration; cube: the cube.

    Returns:
        The pose and its covariance; what was given where too few edges are seen.
    """
    corners = pose.apply(cube.corners_m)
    if corners[:, 2].min() <= 0:
        return pose, covariance
    before = camera.project(corners)
    size_px = float(np.ptp(before, axis=0).max())
    least_px, known = LEAST_REACH_PX * camera.width / 320, np.linalg.pinv(covariance) / DOUBT
    now, moved, believed = pose, np.zeros(6), covariance
    for reach in REACHES:
        found = _rows(now, picture, camera, cube, max(reach * size_px, least_px))
        if found is None:
            break
        step, information = _step(*found, known, moved, EDGE_PX * camera.width / 320)
        moved, believed = moved + step, np.linalg.pinv(information)
        now = now.moved(step)
    after = now.apply(cube.corners_m)
    stayed = believed is covariance
    if stayed or after[:, 2].min() <= 0 or not _is_near(camera.project(after), before, size_px):
        return pose, covariance
    return now, believed + _rim(now.position_m)


def _rim(position_m: np.ndarray) -> np.ndarray:
    """[6, 6]: how far rims, which are there or not, may put a pose off all alike."""
    along = DISTANCE_SHARE * position_m
    result = np.diag([0.0] * 3 + [TURN_RAD**2] * 3)
    result[:3, :3] = np.outer(along, along)
    return result


def _is_near(after: np.ndarray, before: np.ndarray, size_px: float) -> bool:
    return bool(np.linalg.norm(after - before, axis=1).max() < 2 * REACHES[0] * size_px)


def _rows(
    pose: Pose, picture: np.ndarray, camera: Calibration, cube: CubeModel, reach_px: float
) -> tuple[np.ndarray, np.ndarray] | None:
    """What edges are off by [N], pixels, and how that moves with the pose [N, 6]; None of few."""
    points_m, bounds = _on_edges(pose, cube)
    if len(points_m) == 0:
        return None
    places, normals = _across(pose, points_m, camera)
    off, is_edge = _found(picture, camera, places, normals, bounds, reach_px)
    if is_edge.sum() < 2 * len(ALONG):
        return None
    rows = np.einsum("ni,nij->nj", normals, slopes(pose, points_m, camera))
    return rows[is_edge], off[is_edge]


def _step(
    rows: np.ndarray, off: np.ndarray, known: np.ndarray, moved: np.ndarray, sigma: float
) -> tuple[np.ndarray, np.ndarray]:
    """A step [6] of Gauss-Newton, and the information [6, 6] that there is.

    Args:
        rows, off: of the edges.
        known: information of the pose that came in; moved: [6], how far from it this one is.
        sigma: standard deviation of a place, pixels; where they scatter more, they count less.
    """
    sigma = max(sigma, 1.4826 * float(np.median(np.abs(off - np.median(off)))))
    weight = np.minimum(1.0, HUBER * sigma / np.maximum(np.abs(off), 1e-9)) / (ALIKE * sigma**2)
    information = known + np.einsum("ni,nj,n->ij", rows, rows, weight)
    pull = np.einsum("ni,n,n->i", rows, off, weight) - known @ moved
    return np.linalg.solve(information, pull), information


def _on_edges(pose: Pose, cube: CubeModel) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 3] in the cube's frame on the edges of all faces that look at the camera, and
    bool [N]: whether the edge bounds the cube, and does not lie between two of these faces."""
    seen = (_ON_FACES & seen_faces(pose.rotation, pose.position_m, cube.side_m)).sum(axis=1)
    edges = _EDGES[seen > 0]
    first, last = cube.corners_m[edges[:, :1]], cube.corners_m[edges[:, 1:]]
    points = (first + (last - first) * ALONG[None, :, None]).reshape(-1, 3)
    return points, np.repeat(seen[seen > 0] == 1, len(ALONG))


def _across(pose: Pose, points_m: np.ndarray, camera: Calibration) -> tuple[np.ndarray, np.ndarray]:
    """Where points on edges are seen [N, 2], and directions [N, 2] across edges, outwards."""
    places = camera.project(pose.apply(points_m))
    each = places.reshape(-1, len(ALONG), 2)
    along = (each[:, -1] - each[:, 0]) / np.maximum(
        np.linalg.norm(each[:, -1] - each[:, 0], axis=1, keepdims=True), 1e-9
    )
    normals = np.stack([along[:, 1], -along[:, 0]], axis=1)
    outwards = np.einsum("ni,ni->n", normals, each.mean(axis=1) - camera.project(pose.position_m))
    normals = normals * np.where(outwards < 0, -1.0, 1.0)[:, None]
    return places, np.repeat(normals, len(ALONG), axis=0)


def _found(
    picture: np.ndarray,
    camera: Calibration,
    places: np.ndarray,
    normals: np.ndarray,
    bounds: np.ndarray,
    reach_px: float,
) -> tuple[np.ndarray, np.ndarray]:
    """How far across [N] edges are from where they should be, pixels, and whether there is any.

    Args:
        picture: uint8 [H, W, 3]; camera: its calibration.
        places, normals: [N, 2] of points on edges, the directions away from the cube's middle.
        bounds: bool [N], whether the cube ends there.
        reach_px: how far is looked.
    """
    cv2 = load_cv2()
    across = np.linspace(-reach_px, reach_px, 2 * ACROSS)
    points = places[:, None] + across[None, :, None] * normals[:, None]
    points = camera.distorted(points).astype(np.float32)
    profile = cv2.remap(
        picture, points[..., 0], points[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    sums = np.cumsum(np.pad(profile.astype(float), ((0, 0), (1, 0), (0, 0))), axis=1)
    means = (sums[:, WINDOW:] - sums[:, :-WINDOW]) / WINDOW
    change = np.linalg.norm(means[:, WINDOW:] - means[:, :-WINDOW], axis=2)
    at = 0.5 * (across[WINDOW - 1 : -WINDOW] + across[WINDOW : -WINDOW + 1])
    is_peak = _peaks(change, change * np.exp(-0.5 * (at / (0.6 * reach_px)) ** 2))
    inner = _summit(change, is_peak.argmax(axis=1), at)
    outer = _summit(change, change.shape[1] - 1 - is_peak[:, ::-1].argmax(axis=1), at)
    # A rim makes two edges of one: the cube ends at the outer one, its faces meet halfway.
    off = np.where(bounds, outer, 0.5 * (inner + outer))
    return off, np.logical_and(is_peak.any(axis=1), _inside(camera.distorted(places), picture))


def _inside(pixels: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """bool [N]: which pixels lie in a picture [H, W, 3]."""
    height, width = picture.shape[:2]
    return np.all((pixels >= 0) & (pixels <= (width - 1, height - 1)), axis=1)


def _peaks(change: np.ndarray, likely: np.ndarray) -> np.ndarray:
    """bool [N, S]: where colours change more than beside it, and enough to be an edge."""
    middle = change[:, 1:-1]
    is_peak = np.zeros(change.shape, bool)
    is_peak[:, 1:-1] = (middle >= change[:, :-2]) & (middle >= change[:, 2:])
    least = SECOND * likely.max(axis=1, keepdims=True)
    return is_peak & (likely > least) & (change > LEAST_STEP)


def _summit(change: np.ndarray, peak: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Where [N] a parabola through a peak and its neighbours is highest."""
    peak = np.clip(peak, 1, change.shape[1] - 2)
    top = parabola_top(*(change[np.arange(len(peak)), peak + k] for k in (-1, 0, 1)))
    return at[peak] + np.clip(top, -1, 1) * (at[1] - at[0])
