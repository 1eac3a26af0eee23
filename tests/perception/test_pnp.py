"""Poses from corners: exact without noise, as good as its covariance says with it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from softflow.perception.camera import Calibration, pinhole
from softflow.perception.cube_model import CubeModel, face_samples_m, seen_faces
from softflow.perception.geometry import Pose, pose_errors, random_rotation
from softflow.perception.pose import search
from softflow.perception.pose.pnp import PoseFit, fit_pose
from softflow.perception.pose.search import FaceMap, search_pose

CAMERA, CUBE = pinhole(320, 240, 54.0), CubeModel()
SURE = np.full(8, 0.5)


def fitted(corners: np.ndarray, spread: np.ndarray, camera: Calibration = CAMERA) -> PoseFit | None:
    """The pose of corners that have one place each."""
    size = float(np.ptp(corners, axis=0).max())
    return fit_pose(corners[:, None], spread[:, None], np.ones((8, 1)), size, camera, CUBE)


def poses(count: int, seed: int = 0) -> Iterator[Pose]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        place = np.array([*rng.uniform(-0.05, 0.05, size=2), rng.uniform(0.22, 0.38)])
        yield Pose(random_rotation(rng), place)


def test_exact_corners_give_the_pose() -> None:
    for pose in poses(20):
        fit = fitted(CAMERA.project(pose.apply(CUBE.corners_m)), SURE)
        assert fit is not None
        assert pose_errors(fit.pose, pose) == pytest.approx((0, 0), abs=1e-5)
        assert fit.inliers.all()
        assert fit.error_px < 1e-3


def test_noisy_corners_give_what_the_covariance_says() -> None:
    """The squared error by its covariance has mean 6: one for each number."""
    rng, squares, errors = np.random.default_rng(3), [], []
    for pose in poses(150, seed=3):
        corners = CAMERA.project(pose.apply(CUBE.corners_m)) + 0.4 * rng.normal(size=(8, 2))
        fit = fitted(corners, np.full(8, 0.4))
        assert fit is not None
        errors.append(pose_errors(fit.pose, pose))
        off = np.linalg.inv(np.linalg.cholesky(fit.covariance[:3, :3])) @ (
            fit.pose.position_m - pose.position_m
        )
        squares.append(off @ off)
    assert np.median([m for m, _ in errors]) < 0.003
    assert np.degrees(np.median([rad for _, rad in errors])) < 2.5
    # 0.4 px of noise against hypot(0.4, 0.3) believed, hence below 3.
    assert 1.3 < np.mean(squares) < 3.5


def test_wild_corners_are_left_out() -> None:
    rng = np.random.default_rng(4)
    for pose in poses(20, seed=4):
        corners = CAMERA.project(pose.apply(CUBE.corners_m)) + 0.2 * rng.normal(size=(8, 2))
        corners[[1, 6]] += 25.0
        fit = fitted(corners, SURE)
        assert fit is not None
        assert not fit.inliers[[1, 6]].any()
        assert pose_errors(fit.pose, pose)[0] < 0.006


def test_corners_that_are_not_sure_weigh_little() -> None:
    pose = next(poses(1))
    corners = CAMERA.project(pose.apply(CUBE.corners_m))
    corners[2] += 2.0
    doubted = np.where(np.arange(8) == 2, 5.0, 0.5)
    trusting, doubting = (fitted(corners, s) for s in (SURE, doubted))
    assert trusting is not None
    assert doubting is not None
    assert pose_errors(doubting.pose, pose)[0] < 0.2 * pose_errors(trusting.pose, pose)[0]


def test_distortion_is_taken_out() -> None:
    import cv2

    bent = Calibration(320, 240, 235.0, 235.0, 160.0, 118.0, (0.12, -0.2, 0.001, -0.002, 0.05))
    pose = Pose(random_rotation(np.random.default_rng(0)), np.array([0.04, -0.03, 0.3]))
    seen, _ = cv2.projectPoints(
        pose.apply(CUBE.corners_m), np.zeros(3), np.zeros(3), bent.matrix, np.array(bent.distortion)
    )
    fit = fitted(seen[:, 0], SURE, bent)
    assert fit is not None
    assert pose_errors(fit.pose, pose)[0] < 1e-4


@pytest.mark.parametrize("corners", [np.zeros((8, 2)), np.full((8, 2), np.nan), np.eye(8)[:, :2]])
def test_what_is_no_cube_gives_no_pose(corners: np.ndarray) -> None:
    assert fitted(corners, SURE) is None


def test_a_line_of_corners_gives_no_pose_or_says_how_unsure_it_is() -> None:
    corners = np.linspace([10, 10], [80, 80], 8)
    fit = fitted(corners, SURE)
    assert fit is None or fit.covariance.max() > 1e-4 or fit.inliers.sum() < 8


def test_corners_that_may_be_in_several_places_are_resolved_together() -> None:
    """Each map has its true peak and two at other corners' places, often likelier ones."""
    rng, errors = np.random.default_rng(5), []
    for pose in poses(25, seed=5):
        true = CAMERA.project(pose.apply(CUBE.corners_m))
        places, weights = np.zeros((8, 3, 2)), rng.dirichlet([2.0, 2.0, 2.0], size=8)
        for k in range(8):
            others = rng.choice([i for i in range(8) if i != k], 2, replace=False)
            places[k] = true[[k, *others]] + 0.3 * rng.normal(size=(3, 2))
        order = np.argsort(-weights, axis=1)
        places = np.take_along_axis(places, order[..., None], axis=1)
        weights = np.take_along_axis(weights, order, axis=1)
        assert (order[:, 0] == 0).sum() < 8
        size = float(np.ptp(true, axis=0).max())
        fit = fit_pose(places, np.full((8, 3), 0.5), weights, size, CAMERA, CUBE)
        errors.append((9.0, 9.0) if fit is None else pose_errors(fit.pose, pose))
    right = [rad < 0.2 and metres < 0.01 for metres, rad in errors]
    assert np.mean(right) > 0.7


def test_what_places_show_tells_which_corner_is_which() -> None:
    """Corners that may be anywhere a corner is, all equally likely: faces alone decide."""
    rng, right = np.random.default_rng(6), []
    for pose in poses(12, seed=6):
        true = CAMERA.project(pose.apply(CUBE.corners_m))
        left, top = true.min(axis=0) - 10.0
        cell_px = (np.ptp(true, axis=0).max() + 20.0) / 32
        shown = np.full((7, 32, 32), 0.02)
        for face in map(int, np.flatnonzero(seen_faces(pose.rotation, pose.position_m, 0.045))):
            samples = CAMERA.project(pose.apply(face_samples_m(face, 0.045, 60, 1.0)))
            x, y = np.floor((samples + 0.5 - (left, top)) / cell_px).astype(int).T
            shown[:, y, x], shown[1 + face, y, x] = 0.02, 0.9
        shown[0] += 1 - shown.sum(axis=0)
        faces = FaceMap(shown, float(left), float(top), float(cell_px))
        places = np.stack([true[rng.permutation(8)] for _ in range(8)])
        size = float(np.ptp(true, axis=0).max())
        found = search_pose(places, np.full((8, 8), 1 / 8), size, faces, CAMERA, CUBE)
        right.append(found is not None and pose_errors(found, pose)[1] < 0.4)
    # Four random places of eight seldom are a cube: it is the choice among those that is tested.
    assert np.mean(right) > 0.4


def test_of_poses_that_corners_allow_the_one_that_was_found_first_may_win() -> None:
    """Peaks that say little: only who looks at the first pose finds one that all of them allow."""
    rng = np.random.default_rng(8)
    for pose in poses(5, seed=8):
        true = CAMERA.project(pose.apply(CUBE.corners_m))
        size = float(np.ptp(true, axis=0).max())
        weights = np.full((8, 2), [0.1, 0.9])
        places = np.stack([true, true + rng.uniform(-0.4, 0.4, (8, 2)) * size], axis=1)
        alone = search_pose(places, weights, size, None, CAMERA, CUBE)
        helped = search_pose(places, weights, size, None, CAMERA, CUBE, first=pose)
        assert alone is None or pose_errors(alone, pose)[0] > 0.005
        assert helped is not None
        assert pose_errors(helped, pose) == pytest.approx((0, 0), abs=1e-9)


def test_how_large_the_cube_is_tells_two_poses_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every corner has two places, of a cube that is near and of one that is far."""
    (pose, *_) = poses(1, seed=9)
    far = Pose(pose.rotation, 1.35 * pose.position_m)
    near_px, far_px = (CAMERA.project(p.apply(CUBE.corners_m)) for p in (pose, far))
    places, weights = np.stack([far_px, near_px], axis=1), np.full((8, 2), [0.55, 0.45])
    size = float(np.ptp(near_px, axis=0).max())

    def distance_m() -> float:
        found = search_pose(places, weights, size, None, CAMERA, CUBE)
        assert found is not None
        return float(np.linalg.norm(found.position_m))

    assert distance_m() == pytest.approx(np.linalg.norm(pose.position_m), rel=0.02)
    monkeypatch.setattr(search, "SIZE_SPREAD", 1e9)
    assert distance_m() == pytest.approx(np.linalg.norm(far.position_m), rel=0.02)
