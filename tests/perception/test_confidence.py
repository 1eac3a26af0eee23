"""What speaks for a pose, against numbers worked by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from drawn_cube import CAMERA, CUBE, cases

from softflow.perception.camera import Calibration
from softflow.perception.detectors.detection import Detection
from softflow.perception.geometry import Pose
from softflow.perception.pose.confidence import evidence, pose_confidence
from softflow.perception.pose.search import ELSEWHERE, NEAR_SHARE

COVARIANCE = np.diag([1e-6, 4e-6, 4e-6, 1e-4, 4e-4, 4e-4])
BENT = Calibration(320, 240, 300.0, 300.0, 160.0, 120.0, (0.12, -0.21, 0.001, 0.0, 0.05))


def detection(places: np.ndarray, weights: np.ndarray) -> Detection:
    """Places [8, K, 2] of corners; the rest plays no part."""
    flat = places.reshape(-1, 2)
    box = np.concatenate([flat.min(0), flat.max(0)])
    none = np.zeros((240, 320), bool)
    return Detection(1.0, box, places, np.ones(places.shape[:2]), weights, np.ones(8), none)


def true_pose() -> Pose:
    return next(iter(cases(1, 5)))[0]


def test_evidence_by_hand() -> None:
    pose = true_pose()
    corners = CAMERA.project(pose.apply(CUBE.corners_m))
    near_px = NEAR_SHARE * np.ptp(corners, axis=0).max()
    # Six corners are where they should be, one is two deviations off, one has a peak elsewhere.
    corners[1, 0] += 2 * near_px
    corners[2] += 1e4
    weights = np.full((8, 1), 0.8)
    found = evidence(pose, COVARIANCE, detection(corners[:, None], weights), CAMERA, CUBE)
    nats = 6 * np.log(ELSEWHERE + 0.8) + np.log(ELSEWHERE + 0.8 * np.exp(-2)) + np.log(ELSEWHERE)
    assert found[0] == pytest.approx(nats / 8)
    assert found[1] == pytest.approx(np.log(3e-3 / CUBE.side_m))
    assert found[2] == pytest.approx(np.log(0.03))


def test_what_puts_a_pose_in_doubt() -> None:
    pose = true_pose()
    corners = CAMERA.project(pose.apply(CUBE.corners_m))[:, None]
    found = detection(corners, np.ones((8, 1)))

    def sure(pose: Pose, covariance: np.ndarray, found: Detection) -> float:
        return pose_confidence(pose, covariance, found, CAMERA, CUBE)

    best = sure(pose, COVARIANCE, found)
    assert 0.9 < best < 1
    assert sure(pose, 9 * COVARIANCE, found) < best
    assert sure(pose, COVARIANCE, replace(found, weights=0.3 * found.weights)) < best
    elsewhere = Pose(pose.rotation, pose.position_m + np.array([0.02, 0, 0]))
    assert sure(elsewhere, COVARIANCE, found) < 0.5


def test_a_bent_picture_is_as_sure_as_a_straight_one() -> None:
    pose, straight = true_pose(), Calibration(320, 240, 300.0, 300.0, 160.0, 120.0)
    corners = straight.project(pose.apply(CUBE.corners_m))
    bent = BENT.distorted(corners)
    assert np.abs(bent - corners).max() > 0.2
    sure = [
        pose_confidence(pose, COVARIANCE, detection(seen[:, None], np.ones((8, 1))), camera, CUBE)
        for seen, camera in ((bent, BENT), (corners, straight))
    ]
    assert sure[0] == pytest.approx(sure[1], abs=1e-3)
    assert np.allclose(BENT.undistorted(bent[:, None]), corners[:, None], atol=0.01)
