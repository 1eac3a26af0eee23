"""Which of a cube's 24 equal positions is meant: the colours of its faces say so.

A detector may mistake corners for others in a way that fits a turned cube as well. What is looked
at is the direction of a colour in RGB, for how bright a face is depends on the light.
"""

from __future__ import annotations

import numpy as np

from softflow.perception.camera import Calibration
from softflow.perception.cube_model import (
    FACE_AFTER,
    ROTATIONS,
    CubeModel,
    face_samples_m,
    seen_faces,
)
from softflow.perception.geometry import Pose, vector_from_rotation

SAMPLES = 7
"""Along each side of a face."""
INNER = 0.75
"""Part of a face that is sampled: rims have another colour."""
MIN_SAMPLES = 6
"""A face of which less is seen says nothing."""
TIE_RAD = 0.12
"""Mean difference in colour by which another position must be better than the one found."""

_ANGLES = np.array([np.linalg.norm(vector_from_rotation(r)) for r in ROTATIONS])


def resolve_symmetry(
    picture: np.ndarray, mask: np.ndarray, pose: Pose, camera: Calibration, cube: CubeModel
) -> Pose:
    """The pose, turned by the symmetry of the cube that its colours speak for.

    The pose found stays unless another is clearly better; among equally good ones the smallest turn
    is taken. With fewer than two faces in sight it stays as it is.

    Args:
        picture: uint8 [H, W, 3], RGB.
        mask: bool [H, W], where the cube is seen.
        pose: of the cube in the camera's frame, right up to a symmetry.
        camera: what took the picture.
        cube: its colours.
    """
    seen, colours = _seen_colours(picture, mask, pose, camera, cube)
    if len(seen) < 2:
        return pose
    expected = _directions(np.asarray(cube.face_colours))
    angles = np.arccos(np.clip(colours @ expected.T, -1, 1))
    costs = angles[np.arange(len(seen)), FACE_AFTER[:, seen]].mean(axis=1)
    good = np.flatnonzero(costs < costs.min() + TIE_RAD)
    chosen = good[np.argmin(_ANGLES[good])]
    return Pose(pose.rotation @ ROTATIONS[chosen], pose.position_m)


def _seen_colours(
    picture: np.ndarray, mask: np.ndarray, pose: Pose, camera: Calibration, cube: CubeModel
) -> tuple[np.ndarray, np.ndarray]:
    """Faces of which enough is seen [n], and the direction of each one's median colour [n, 3]."""
    looks = np.flatnonzero(seen_faces(pose.rotation, pose.position_m, cube.side_m))
    seen, colours = [], []
    for face in map(int, looks):
        x, y = (
            np.rint(camera.project(pose.apply(face_samples_m(face, cube.side_m, SAMPLES, INNER))))
            .astype(int)
            .T
        )
        inside = (x >= 0) & (y >= 0) & (x < picture.shape[1]) & (y < picture.shape[0])
        x, y = x[inside], y[inside]
        shown = picture[y, x][mask[y, x]]
        if len(shown) >= MIN_SAMPLES:
            seen.append(face)
            colours.append(np.median(shown, axis=0))
    if not seen:
        return np.zeros(0, int), np.zeros((0, 3))
    return np.array(seen), _directions(np.array(colours))


def _directions(colours: np.ndarray) -> np.ndarray:
    """Colours [..., 3] as unit vectors, once what all channels share is mostly taken out."""
    lifted = colours - 0.7 * colours.min(axis=-1, keepdims=True)
    return lifted / np.maximum(np.linalg.norm(lifted, axis=-1, keepdims=True), 1e-6)
