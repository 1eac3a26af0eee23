"""A pose that is a few pixels off comes to lie on the cube's edges; without any it stays."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from drawn_cube import CAMERA, CUBE, cases, drawn

from softflow.perception.camera import Calibration
from softflow.perception.geometry import (
    Pose,
    pose_errors,
    vector_from_rotation,
)
from softflow.perception.pose import edges
from softflow.perception.pose.edges import refine_by_edges

UNSURE = np.diag([2e-3, 2e-3, 8e-3, 0.05, 0.05, 0.05]) ** 2


def surprise(pose: Pose, true: Pose, covariance: np.ndarray) -> float:
    """The squared error by its covariance."""
    turn = vector_from_rotation(true.rotation @ pose.rotation.T)
    off = np.concatenate([true.position_m - pose.position_m, turn])
    return float(off @ np.linalg.solve(covariance, off))


@pytest.mark.parametrize("distortion", [(), (0.12, -0.2, 0.002, -0.001, 0.05)])
def test_a_pose_comes_to_lie_on_the_edges(distortion: tuple[float, ...]) -> None:
    camera = msgspec.structs.replace(CAMERA, distortion=distortion)
    before, after = [], []
    for true, start, rng in cases(30, 1):
        pose, covariance = refine_by_edges(start, UNSURE, drawn(true, camera, rng), camera, CUBE)
        before.append(pose_errors(start, true))
        after.append(pose_errors(pose, true))
        assert np.linalg.eigvalsh(covariance).min() > 0
        assert np.trace(covariance[:3, :3]) < np.trace(UNSURE[:3, :3])
        assert surprise(pose, true, covariance) < 30
    assert np.median([metres for metres, _ in before]) > 0.003
    assert np.median([metres for metres, _ in after]) < 0.0008
    assert np.quantile([metres for metres, _ in after], 0.9) < 0.003
    assert np.degrees(np.median([rad for _, rad in after])) < 0.8


def test_rims_do_not_make_the_cube_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the colour ends is a tenth of a half face before where the cube does."""
    beyond = {}
    for second in (edges.SECOND, 0.99):  # then the strongest edge alone counts: the colour's
        monkeypatch.setattr(edges, "SECOND", second)
        found = []
        for true, start, rng in cases(30, 5):
            picture = drawn(true, CAMERA, rng, rim=0.1, behind=(100, 150))
            pose, _ = refine_by_edges(start, UNSURE, picture, CAMERA, CUBE)
            found.append(np.linalg.norm(pose.position_m) - np.linalg.norm(true.position_m))
        beyond[second] = float(np.median(found))
    usual, strongest = beyond.values()
    assert abs(usual) < 0.0015
    assert strongest > 0.004


@pytest.mark.parametrize("rim", [0.0, 0.05, 0.1])
def test_its_covariance_knows_of_rims(rim: float) -> None:
    """Six numbers: the median of the squared error by its covariance is 5.3 if that is right."""
    squares = []
    for true, start, rng in cases(40, 11):
        picture = drawn(true, CAMERA, rng, rim=rim, behind=(100, 150))
        pose, covariance = refine_by_edges(start, UNSURE, picture, CAMERA, CUBE)
        squares.append(surprise(pose, true, covariance))
    assert np.median(squares) < 7
    assert np.quantile(squares, 0.9) < 25


@pytest.mark.parametrize("k1", [-0.3, 0.3])
def test_a_cube_half_out_of_a_bent_picture(k1: float) -> None:
    """Where lenses bend, the picture ends elsewhere than its rectified one."""
    camera = msgspec.structs.replace(CAMERA, distortion=(k1, 0.0, 0.0, 0.0))
    before, after = [], []
    for true, start, rng in cases(25, 6):
        aside_m = np.array([rng.choice([-1, 1]) * 0.45 * true.position_m[2], 0, 0])
        true, start = (replace(p, position_m=p.position_m + aside_m) for p in (true, start))
        pose, _ = refine_by_edges(start, UNSURE, drawn(true, camera, rng), camera, CUBE)
        before.append(pose_errors(start, true)[0])
        after.append(pose_errors(pose, true)[0])
    assert np.median(after) < 0.5 * np.median(before)
    assert np.quantile(after, 0.9) < np.quantile(before, 0.9)


@pytest.mark.parametrize("camera", [CAMERA, msgspec.structs.replace(CAMERA, distortion=(0.1,) * 4)])
def test_a_pose_that_cannot_be_stays_what_it_was(camera: Calibration) -> None:
    """The camera within the cube sees no face of it; behind it there is nothing to look for."""
    picture = np.zeros((240, 320, 3), np.uint8)
    for depth_m in (0.01, -0.3):
        pose = Pose(np.eye(3), np.array([0.0, 0.0, depth_m]))
        assert refine_by_edges(pose, UNSURE, picture, camera, CUBE)[0] is pose


def test_something_before_the_cube_costs_little() -> None:
    errors = []
    for true, start, rng in cases(30, 2):
        picture = drawn(true, CAMERA, rng)
        aside_m = np.array([*rng.uniform(-0.02, 0.02, 2), 0])
        x = int(CAMERA.project(true.position_m + aside_m)[0])
        picture[:, max(x - 6, 0) : x + 6] = (150, 120, 100)  # a finger
        pose, _ = refine_by_edges(start, UNSURE, picture, CAMERA, CUBE)
        errors.append(pose_errors(pose, true)[0])
    assert np.median(errors) < 0.0015


def test_without_edges_a_pose_stays_what_it_was() -> None:
    for true, start, rng in cases(5, 3):
        del true
        grey = np.clip(128 + rng.normal(0, 3, (240, 320, 3)), 0, 255).astype(np.uint8)
        pose, covariance = refine_by_edges(start, UNSURE, grey, CAMERA, CUBE)
        assert pose is start
        assert covariance is UNSURE


def test_a_cube_beyond_the_picture_does_no_harm() -> None:
    (true, start, rng), *_ = cases(1, 4)
    away = replace(start, position_m=np.array([0.5, 0.5, 0.3]))
    assert refine_by_edges(away, UNSURE, drawn(true, CAMERA, rng), CAMERA, CUBE)[0] is away
