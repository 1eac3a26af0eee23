"""Calibrations: projection against OpenCV, other sizes, and what is no calibration."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from softflow.errors import ConfigError, StoreError
from softflow.perception.camera import Calibration, pinhole, read_calibration

GOOD = "width = 640\nheight = 480\nfx = 450.0\nfy = 450.0\ncx = 319.5\ncy = 239.5\n"


def test_projection_agrees_with_opencv(rng: np.random.Generator) -> None:
    camera = Calibration(640, 480, 451.0, 449.0, 322.0, 236.0)
    points = rng.uniform([-0.1, -0.1, 0.2], [0.1, 0.1, 0.5], size=(20, 3))
    expected, _ = cv2.projectPoints(points, np.zeros(3), np.zeros(3), camera.matrix, np.zeros(5))
    np.testing.assert_allclose(camera.project(points), expected[:, 0])


def test_half_the_size_is_half_the_picture() -> None:
    whole, half = pinhole(640, 480, 54.0), pinhole(320, 240, 54.0)
    assert whole.resized(320, 240) == half
    point = np.array([0.05, -0.03, 0.3])
    # Pixels are counted from their centres: the edges agree.
    np.testing.assert_allclose(whole.project(point) + 0.5, 2 * (half.project(point) + 0.5))


def test_another_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"1920 x 1080.*for 640 x 480.*cropped mode"):
        pinhole(640, 480, 54.0).resized(1920, 1080)


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "camera.toml"
    file.write_text(GOOD + "distortion = [0.1, -0.2, 0.0, 0.0, 0.05]\n")
    assert read_calibration(file).distortion == [0.1, -0.2, 0.0, 0.0, 0.05]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("fx = 450.0\n", ""), "fx"),
        (("fx = 450.0", "fx = -450.0"), "fx -450"),
        (("fx = 450.0", "fx = nan"), "fx nan"),
        (("cx = 319.5", "cx = 900.0"), "optical axis must meet"),
        (("width = 640", "width = 0"), "width 0"),
        (("fx = 450.0", "focal = 450.0"), "focal"),
        (("cy = 239.5", "cy = 239.5\ndistortion = [1.0, 2.0]"), "2 numbers"),
    ],
)
def test_what_is_no_calibration_is_refused(
    tmp_path: Path, change: tuple[str, str], told: str
) -> None:
    file = tmp_path / "camera.toml"
    file.write_text(GOOD.replace(*change))
    with pytest.raises(ConfigError, match=told):
        read_calibration(file)


def test_none_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no calibration.*--calibration FILE"):
        read_calibration(None)
    with pytest.raises(StoreError, match="cannot read the calibration"):
        read_calibration(tmp_path / "absent.toml")
