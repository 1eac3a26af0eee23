"""A camera's calibration: which ray each pixel sees.

OpenCV's conventions: x points right, y down, z forward; the centre of the first pixel is (0, 0).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from softflow.errors import ConfigError
from softflow.perception.packages import load_cv2
from softflow.robot.toml_file import read_toml

DISTORTIONS = (0, 4, 5, 8, 12, 14)
"""How many coefficients OpenCV's model may have."""
MAX_SIDE = 16384


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The pinhole of a camera, in pixels, for pictures of one size.

    Args:
        width, height: of its pictures.
        fx, fy: focal lengths.
        cx, cy: where the optical axis meets the picture.
        distortion: k1, k2, p1, p2, k3 … in OpenCV's order; none if pictures are rectified.

    Raises:
        ConfigError: numbers that no camera has.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: Sequence[float] = ()

    def __post_init__(self) -> None:
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        told = f"fx {self.fx}, fy {self.fy}, cx {self.cx}, cy {self.cy}"
        if not all(map(math.isfinite, numbers)) or min(self.fx, self.fy) <= 0:
            raise ConfigError(f"{told}: give finite numbers, fx and fy above 0, in pixels")
        if not (1 <= self.width <= MAX_SIDE and 1 <= self.height <= MAX_SIDE):
            raise ConfigError(f"width {self.width}, height {self.height}; give 1 to {MAX_SIDE}")
        if not (-1 < self.cx < self.width and -1 < self.cy < self.height):
            raise ConfigError(
                f"{told}, but pictures are {self.width} x {self.height}: the optical axis must "
                "meet the picture; width and height are those the camera was calibrated at"
            )
        if len(self.distortion) not in DISTORTIONS:
            count = len(self.distortion)
            raise ConfigError(f"distortion has {count} numbers; OpenCV's has one of {DISTORTIONS}")

    @property
    def matrix(self) -> np.ndarray:
        """OpenCV's camera matrix, float64 [3, 3]."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def project(self, points_m: np.ndarray) -> np.ndarray:
        """Pixels [..., 2] of points [..., 3] in the camera's frame, without distortion."""
        depth = points_m[..., 2:]
        return points_m[..., :2] / depth * (self.fx, self.fy) + (self.cx, self.cy)

    def distorted(self, pixels: np.ndarray) -> np.ndarray:
        """Where a picture shows what a camera without distortion sees at pixels [..., 2]."""
        if not any(self.distortion) or pixels.size == 0:
            return pixels
        rays = (pixels.reshape(-1, 2) - (self.cx, self.cy)) / (self.fx, self.fy)
        rays = np.concatenate([rays, np.ones((len(rays), 1))], axis=1)
        none, given = np.zeros(3), np.asarray(self.distortion, np.float64)
        seen, _ = load_cv2().projectPoints(rays, none, none, self.matrix, given)
        return seen.reshape(pixels.shape)

    def undistorted(self, pixels: np.ndarray) -> np.ndarray:
        """Where a camera without distortion would see what a picture shows at pixels [..., 2]."""
        pixels = np.asarray(pixels, np.float64)
        if not any(self.distortion) or pixels.size == 0:
            return pixels
        cv2, matrix, given = load_cv2(), self.matrix, pixels.reshape(-1, 1, 2)
        straight = cv2.undistortPoints(given, matrix, np.array(self.distortion), P=matrix)
        return straight.reshape(pixels.shape)

    def resized(self, width: int, height: int) -> Calibration:
        """The same camera, whose pictures are then brought to another size.

        Raises:
            ConfigError: the other size has another shape: the picture would be stretched.
        """
        if (width, height) == (self.width, self.height):
            return self
        across, down = width / self.width, height / self.height
        if abs(across / down - 1.0) > 0.01:
            raise ConfigError(
                f"pictures are {width} x {height}, the calibration is for {self.width} x "
                f"{self.height}: the shapes differ, so which part is seen cannot be known; give "
                "the calibration of this picture size (a cropped mode has its own)"
            )
        return Calibration(
            width,
            height,
            self.fx * across,
            self.fy * down,
            (self.cx + 0.5) * across - 0.5,
            (self.cy + 0.5) * down - 0.5,
            self.distortion,
        )

    def to_json(self) -> dict[str, Any]:
        """As it stands in a file."""
        return msgspec.to_builtins(self)


def pinhole(width: int, height: int, vertical_deg: float) -> Calibration:
    """A camera whose optical axis meets the picture's middle, with square pixels."""
    focal = 0.5 * height / math.tan(math.radians(vertical_deg) / 2)
    return Calibration(width, height, focal, focal, 0.5 * (width - 1), 0.5 * (height - 1))


def read_calibration(path: Path | None) -> Calibration:
    """The calibration in a TOML file.

    Raises:
        ConfigError: none is given, or a field is missing, unknown or unusable; says how to get one.
        StoreError: no such file, or no TOML.
    """
    if path is None:
        raise ConfigError(
            "the camera has no calibration, and without one a picture tells no distances: give "
            "--calibration FILE, a TOML file with width, height, fx, fy, cx, cy and, if pictures "
            "are not rectified, distortion (docs/cube_pose.md says how to measure them)"
        )
    return read_toml(path, Calibration, "the calibration", "docs/cube_pose.md")
