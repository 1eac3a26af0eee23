"""Pictures of a cube of flat colours, drawn with what is true of them."""

from __future__ import annotations

import numpy as np

from softflow.perception.camera import Calibration, pinhole
from softflow.perception.cube_model import FACE_CORNERS, CubeModel, seen_faces
from softflow.perception.geometry import Pose, random_rotation, rotation_from_vector
from softflow.perception.packages import load_cv2

CAMERA, CUBE = pinhole(320, 240, 54.0), CubeModel()
FINE = 8
"""Pictures are drawn so many times larger, then averaged."""


def drawn(
    pose: Pose,
    camera: Calibration,
    rng: np.random.Generator,
    rim: float = 0.0,
    behind: tuple[float, float] = (40, 110),
) -> np.ndarray:
    """A cube of flat colours before a soft background, with noise: uint8 [H, W, 3].

    Rims are white and take up so much of each half face.
    """
    cv2 = load_cv2()
    height, width = camera.height, camera.width
    low = rng.uniform(*behind, size=(4, 5, 3)).astype(np.float32)
    fine = cv2.resize(low, (width * FINE, height * FINE), interpolation=cv2.INTER_CUBIC)
    seen = seen_faces(pose.rotation, pose.position_m, CUBE.side_m)
    for face in map(int, np.flatnonzero(seen)):
        light = 255 * rng.uniform(0.7, 1.0)
        for colour, part in (((0.95, 0.95, 0.95), 1.0), (CUBE.face_colours[face], 1 - rim)):
            pixels = camera.distorted(camera.project(pose.apply(outline_m(face, part))))
            at = np.rint(((pixels + 0.5) * FINE - 0.5) * 16).astype(np.int32)
            cv2.fillConvexPoly(fine, at, light * np.array(colour), cv2.LINE_8, 4)
    picture = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    return np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


def outline_m(face: int, part: float) -> np.ndarray:
    """Points around the inner part of a face, many: lenses bend edges."""
    corners = CUBE.corners_m[FACE_CORNERS[face]]
    corners = corners.mean(axis=0) + part * (corners - corners.mean(axis=0))
    steps = np.linspace(0, 1, 20, endpoint=False)[:, None]
    sides = zip(corners, np.roll(corners, -1, 0), strict=True)
    return np.concatenate([a + (b - a) * steps for a, b in sides])


def cases(count: int, seed: int) -> list[tuple[Pose, Pose, np.random.Generator]]:
    """True poses, and those that corners may have given."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        true = Pose(
            random_rotation(rng), np.array([*rng.uniform(-0.04, 0.04, 2), rng.uniform(0.24, 0.36)])
        )
        off = np.concatenate(
            [rng.normal(0, 1e-3, 2), rng.normal(0, 6e-3, 1), rng.normal(0, 0.03, 3)]
        )
        found.append(
            (
                true,
                Pose(rotation_from_vector(off[3:]) @ true.rotation, true.position_m + off[:3]),
                rng,
            )
        )
    return found
