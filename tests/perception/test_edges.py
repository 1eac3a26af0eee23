"""A pose that is a few pixels off comes to lie on the cube's edges; without any it stays."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from softflow.perception.camera import Calibration, pinhole
from softflow.perception.cube_model import FACE_CORNERS, CubeModel, seen_faces
from softflow.perception.geometry import Pose, pose_errors, random_rotation, rotation_from_vector
from softflow.perception.packages import load_cv2
from softflow.perception.pose import edges
from softflow.perception.pose.edges import refine_by_edges

CAMERA, CUBE = pinhole(320, 240, 54.0), CubeModel()
FINE = 8
"""Pictures are drawn so many times larger, then averaged."""
UNSURE = np.diag([2e-3, 2e-3, 8e-3, 0.05, 0.05, 0.05]) ** 2


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
