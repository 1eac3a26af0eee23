"""What is where in a picture, by projection: the cube's box, its mask, its corners, which are seen.

The box is that of all eight corners, hidden ones too, and so tells the cube's size however much of
it is hidden; the mask holds the pixels of it that are seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softflow.perception.camera import Calibration
from softflow.perception.cube_model import FACE_NORMALS, faces_of_corner, seen_faces
from softflow.perception.geometry import Pose
from softflow.perception.scene.cube_scene import CubeScene

BACKGROUND, HAND, CUBE = 0, 1, 2
"""Values of `Labels.segments`."""
INWARDS_PX = 1.5
"""How far beside a corner is looked whether the cube is seen there."""


@dataclass(frozen=True)
class Labels:
    """Of one picture.

    Attributes:
        segments: uint8 [H, W], what each pixel shows: BACKGROUND, HAND or CUBE.
        corners: float64 [8, 2], pixels of the cube's corners; the first pixel's centre is (0, 0).
        visible: bool [8], whether a corner is in the picture with nothing before it.
        pose: of the cube in the camera's optical frame.
        present: whether the cube is there at all; if not, the rest means nothing.
    """

    segments: np.ndarray
    corners: np.ndarray
    visible: np.ndarray
    pose: Pose
    present: bool

    @property
    def mask(self) -> np.ndarray:
        """bool [H, W], where the cube is seen."""
        return self.segments == CUBE

    @property
    def box(self) -> np.ndarray:
        """float64 [4]: left, top, right, bottom of all eight corners, pixels."""
        return box_of(self.corners)


def box_of(corners: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom [4] of points [n, 2]."""
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])


def label(scene: CubeScene, geom_ids: np.ndarray, camera: Calibration) -> Labels:
    """Labels of the scene as it was updated and seen last.

    Args:
        scene: the scene.
        geom_ids: int [H, W], the geom in each pixel, -1 for none.
        camera: what saw it.
    """
    is_cube = np.isin(geom_ids, scene.cube_geoms)
    segments = np.where(geom_ids >= 0, HAND, BACKGROUND).astype(np.uint8)
    segments[is_cube] = CUBE
    pose = scene.cube_in_camera()
    present = bool(np.linalg.norm(pose.position_m) < 1.0)
    corners_m = pose.apply(scene.cube.corners_m)
    corners = camera.project(corners_m) if present else np.zeros((len(corners_m), 2))
    inside = (corners > -0.5).all(axis=1)
    inside &= (corners < np.array([camera.width, camera.height]) - 0.5).all(axis=1)
    if present:
        inside &= _unhidden(segments, corners, pose, camera, scene.cube.side_m)
    visible = np.logical_and(inside, present)
    return Labels(segments, corners, visible, pose, present)


def _unhidden(
    segments: np.ndarray, corners: np.ndarray, pose: Pose, camera: Calibration, side_m: float
) -> np.ndarray:
    """Whether a face that looks at the camera is seen right beside each corner, bool [8].

    Beside, for a corner lies on the edge of what is drawn: the pixel that it falls into may show
    what is behind.
    """
    seen = faces_of_corner() & seen_faces(pose.rotation, pose.position_m, side_m)
    centres = camera.project(pose.apply(FACE_NORMALS * (0.5 * side_m)))
    counts = seen.sum(axis=1)
    inwards = (seen @ centres) / np.maximum(counts, 1)[:, None] - corners
    inwards /= np.maximum(np.linalg.norm(inwards, axis=1, keepdims=True), 1e-9)
    x, y = np.rint(corners + INWARDS_PX * inwards).astype(int).T
    x, y = np.clip(x, 0, camera.width - 1), np.clip(y, 0, camera.height - 1)
    return (counts > 0) & (segments[y, x] == CUBE)
