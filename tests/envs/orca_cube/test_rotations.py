"""How a cube stands, against rotations that are known."""

from __future__ import annotations

import numpy as np
import pytest

from softflow.envs.orca_cube.rotations import (
    matrices,
    product,
    quarter_yaw,
    small_rotation,
    tilt_of,
    up_axes,
    yaw_quat,
)


def _about(axis: list[float], angle: float) -> np.ndarray:
    return small_rotation(np.array([axis]) * angle)


def test_a_yaw_is_read_back_up_to_quarters() -> None:
    for yaw in (-0.7, -0.2, 0.0, 0.5, 1.2, 3.0):
        found = quarter_yaw(yaw_quat(yaw)[None])[0]
        assert np.sin(4 * found) == pytest.approx(np.sin(4 * yaw), abs=1e-9)
        assert np.cos(4 * found) == pytest.approx(np.cos(4 * yaw), abs=1e-9)


def test_yaw_is_the_same_on_whichever_face_the_cube_lies() -> None:
    turned = yaw_quat(0.3)[None]
    for axis in ([1.0, 0, 0], [0, 1.0, 0]):
        lying = product(turned, _about(axis, np.pi / 2))
        assert quarter_yaw(lying)[0] == pytest.approx(0.3, abs=1e-9)
        assert tilt_of(lying)[0] == pytest.approx(0.0, abs=1e-6)


def test_tilt_is_the_angle_to_the_vertical() -> None:
    assert tilt_of(_about([1.0, 0, 0], 0.4))[0] == pytest.approx(0.4)


def test_the_upper_axis_leans_with_the_cube() -> None:
    up, which = up_axes(matrices(_about([0, 1.0, 0], 0.3)))
    assert which[0] == 2
    assert up[0] == pytest.approx([np.sin(0.3), 0, np.cos(0.3)])


def test_matrices_are_rotations() -> None:
    quats = np.random.default_rng(0).normal(size=(20, 4))
    found = matrices(quats)
    assert np.allclose(found @ found.swapaxes(1, 2), np.eye(3))
    assert np.allclose(np.linalg.det(found), 1)
