"""Rotations to and fro, against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from softflow.perception.geometry import (
    Pose,
    pose_errors,
    quat_wxyz,
    random_rotation,
    rotation_from_quat_wxyz,
    rotation_from_vector,
    vector_from_rotation,
)

ANGLES = (0.0, 1e-9, 1e-4, 0.7, 3.0, np.pi - 1e-7, np.pi)


@pytest.mark.parametrize("angle", ANGLES)
def test_rotation_vectors_agree_with_scipy(angle: float) -> None:
    axis = np.array([0.6, -0.64, 0.48])
    rotation = rotation_from_vector(angle * axis)
    np.testing.assert_allclose(rotation, Rotation.from_rotvec(angle * axis).as_matrix(), atol=1e-12)
    back = vector_from_rotation(rotation)
    assert np.linalg.norm(back) == pytest.approx(angle, abs=1e-7)
    np.testing.assert_allclose(rotation_from_vector(back), rotation, atol=1e-7)


def test_quaternions_agree_with_scipy() -> None:
    rng = np.random.default_rng(0)
    half_turns = [np.diag(signs) for signs in ([1, -1, -1], [-1, 1, -1], [-1, -1, 1])]
    for rotation in (*half_turns, *(random_rotation(rng) for _ in range(50))):
        quaternion = quat_wxyz(np.asarray(rotation, float))
        x, y, z, w = Rotation.from_matrix(rotation).as_quat(canonical=True)
        expected = np.array([w, x, y, z])
        assert min(np.abs(quaternion - expected).max(), np.abs(quaternion + expected).max()) < 1e-9
        np.testing.assert_allclose(rotation_from_quat_wxyz(quaternion), rotation, atol=1e-12)


def test_poses_are_composed_and_undone() -> None:
    rng = np.random.default_rng(1)
    one, two = (Pose(random_rotation(rng), rng.normal(size=3)) for _ in range(2))
    points = rng.normal(size=(5, 3))
    np.testing.assert_allclose((one @ two).apply(points), one.apply(two.apply(points)))
    np.testing.assert_allclose(one.inverse().apply(one.apply(points)), points, atol=1e-12)


def test_errors_are_metres_and_radians() -> None:
    true = Pose(np.eye(3), np.array([0.0, 0.0, 0.3]))
    found = Pose(rotation_from_vector(np.array([0.0, 0.2, 0.0])), np.array([0.003, 0.004, 0.3]))
    assert pose_errors(found, true) == pytest.approx((0.005, 0.2))
