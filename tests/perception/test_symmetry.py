"""Colours tell which of 24 equal positions is meant."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from softflow.perception.camera import pinhole
from softflow.perception.cube_model import (
    CORNER_SIGNS,
    FACE_NORMALS,
    CubeModel,
    cube_rotations,
    seen_faces,
)
from softflow.perception.geometry import Pose, pose_errors, random_rotation
from softflow.perception.pose.symmetry import resolve_symmetry

CAMERA, CUBE = pinhole(320, 240, 54.0), CubeModel()


def painted(pose: Pose, light: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A flat picture of the cube, and its mask."""
    picture = np.full((240, 320, 3), 90, np.uint8)
    mask = np.zeros((240, 320), np.uint8)
    for face in map(int, np.flatnonzero(seen_faces(pose.rotation, pose.position_m, CUBE.side_m))):
        corners = CUBE.corners_m[CORNER_SIGNS @ FACE_NORMALS[face] > 0]
        points = cv2.convexHull(np.rint(CAMERA.project(pose.apply(corners))).astype(np.int32))
        colour = np.clip(np.asarray(CUBE.face_colours[face]) * light * 255, 0, 255)
        cv2.fillPoly(picture, [points], colour.tolist())
        cv2.fillPoly(mask, [points], 1)
    return picture, mask > 0


def slanted(rng: np.random.Generator) -> Pose:
    """A pose that shows three faces well."""
    while True:
        pose = Pose(random_rotation(rng), np.array([*rng.uniform(-0.04, 0.04, 2), 0.3]))
        facing = -(FACE_NORMALS @ pose.rotation.T)[:, 2]
        if (facing > 0.35).sum() == 3:
            return pose


def test_there_are_24_rotations_and_the_first_is_none() -> None:
    rotations = cube_rotations()
    assert len({tuple(r.ravel()) for r in rotations}) == 24
    np.testing.assert_array_equal(rotations[0], np.eye(3))
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0)


def test_every_turned_pose_is_turned_back() -> None:
    rng = np.random.default_rng(0)
    for rotation in cube_rotations():
        true = slanted(rng)
        light = np.array([1.0, 0.9, 0.75]) * rng.uniform(0.5, 1.0)
        picture, mask = painted(true, light)
        found = resolve_symmetry(
            picture, mask, Pose(true.rotation @ rotation, true.position_m), CAMERA, CUBE
        )
        assert pose_errors(found, true) == pytest.approx((0, 0), abs=1e-6)


def test_one_face_alone_changes_nothing() -> None:
    true = Pose(np.eye(3), np.array([0.0, 0.0, 0.3]))
    picture, mask = painted(true, np.ones(3))
    turned = Pose(cube_rotations()[5], true.position_m)
    assert resolve_symmetry(picture, mask, turned, CAMERA, CUBE) is turned


def test_hidden_faces_say_nothing() -> None:
    true = slanted(np.random.default_rng(1))
    picture, mask = painted(true, np.ones(3))
    picture[::2] = 40  # every other row is hidden, and the mask says so
    mask[::2] = False
    turned = Pose(true.rotation @ cube_rotations()[7], true.position_m)
    found = resolve_symmetry(picture, mask, turned, CAMERA, CUBE)
    assert pose_errors(found, true)[1] == pytest.approx(0, abs=1e-6)
