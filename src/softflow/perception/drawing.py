"""What was found, drawn into pictures."""

from __future__ import annotations

import numpy as np

from softflow.perception.camera import Calibration
from softflow.perception.cube_model import CORNER_SIGNS, EDGES
from softflow.perception.geometry import Pose
from softflow.perception.packages import load_cv2

Colour = tuple[int, int, int]
WHITE, RED, GREEN, YELLOW = (255, 255, 255), (255, 40, 40), (60, 230, 60), (255, 210, 0)
_AXES = ((255, 60, 60), (60, 220, 60), (90, 130, 255))
SHIFT = 3
"""Bits behind the point of OpenCV's coordinates: lines need not lie on whole pixels."""


def draw_cube(
    picture: np.ndarray, pose: Pose, camera: Calibration, side_m: float, colour: Colour
) -> None:
    """The cube's edges at a pose, into a picture uint8 [H, W, 3]."""
    points = _shown(pose.apply(CORNER_SIGNS * (0.5 * side_m)), camera)
    if points is not None:
        for i, j in EDGES:
            _line(picture, points[i], points[j], colour)


def draw_axes(picture: np.ndarray, pose: Pose, camera: Calibration, side_m: float) -> None:
    """Its axes: x red, y green, z blue."""
    ends = _shown(pose.apply(np.vstack([np.zeros(3), np.eye(3) * side_m])), camera)
    if ends is not None:
        for end, colour in zip(ends[1:], _AXES, strict=True):
            _line(picture, ends[0], end, colour, 2)


def draw_corners(picture: np.ndarray, corners: np.ndarray, colour: Colour) -> None:
    """Dots at corners [n, 2]."""
    cv2 = load_cv2()
    for corner in corners[np.isfinite(corners).all(axis=1)]:
        cv2.circle(picture, _fixed(corner), 2 << SHIFT, colour, 1, cv2.LINE_AA, SHIFT)


def draw_text(picture: np.ndarray, lines: list[str]) -> None:
    """Lines of text at the top left."""
    cv2, size = load_cv2(), max(picture.shape[0] / 600, 0.35)
    for i, line in enumerate(lines):
        at = (4, round((i + 1) * 32 * size))
        for colour, thick in (((0, 0, 0), 3), (WHITE, 1)):
            cv2.putText(
                picture, line, at, cv2.FONT_HERSHEY_SIMPLEX, size, colour, thick, cv2.LINE_AA
            )


def _shown(points_m: np.ndarray, camera: Calibration) -> np.ndarray | None:
    """Pixels of points, if all of them lie before the camera; distortion is put in."""
    if (points_m[:, 2] < 1e-3).any():
        return None
    return camera.distorted(camera.project(points_m))


def _fixed(point: np.ndarray) -> tuple[int, int]:
    x, y = np.clip(np.rint(point * 2**SHIFT), -(2**24), 2**24).astype(int)
    return int(x), int(y)


def _line(
    picture: np.ndarray, start: np.ndarray, end: np.ndarray, colour: Colour, thick: int = 1
) -> None:
    cv2 = load_cv2()
    cv2.line(picture, _fixed(start), _fixed(end), colour, thick, cv2.LINE_AA, SHIFT)
