"""What one picture says: corners, colours and edges, one after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drawn_cube import CAMERA, CUBE, cases, drawn
from torch import Tensor

from softflow.errors import ConfigError
from softflow.perception.detectors.checkpoints import Detector
from softflow.perception.detectors.detection import Batch, CornerNetwork, Detection
from softflow.perception.geometry import pose_errors
from softflow.perception.tracker import CubeTracker, see


class Rough(CornerNetwork):
    """Finds every corner where a pose that is a little off has it."""

    def __init__(self, corners: np.ndarray) -> None:
        super().__init__()
        self.corners, self.one = corners, torch.nn.Parameter(torch.zeros(1))

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        return {}

    def detect(self, pictures: Tensor) -> list[Detection | None]:
        low, high = self.corners.min(0), self.corners.max(0)
        mask = np.zeros((240, 320), bool)
        mask[int(low[1]) : int(high[1]), int(low[0]) : int(high[0])] = True
        box, sure = np.concatenate([low, high]), np.ones((8, 1))
        return [
            Detection(1.0, box, self.corners[:, None], 1.5 * sure, sure, sure[:, 0], mask)
        ] * len(pictures)


def test_a_pose_is_as_exact_as_the_cubes_edges_not_as_its_corners() -> None:
    by_corners, by_all = [], []
    for true, start, rng in cases(15, 13):
        corners = CAMERA.project(start.apply(CUBE.corners_m))
        seen = see(Detector(Rough(corners).eval(), CUBE, 1), CAMERA, drawn(true, CAMERA, rng))
        assert seen.fit is not None
        assert seen.pose is not None
        assert seen.covariance is not None
        assert np.trace(seen.covariance) != np.trace(seen.fit.covariance)
        by_corners.append(pose_errors(seen.fit.pose, true)[0])
        by_all.append(pose_errors(seen.pose, true)[0])
    assert np.median(by_all) < 0.4 * np.median(by_corners)


def test_a_pose_on_which_corners_do_not_agree_is_not_sure_and_no_filter_sees_it() -> None:
    true, _, rng = next(iter(cases(1, 13)))
    picture = drawn(true, CAMERA, rng)
    corners = CAMERA.project(true.apply(CUBE.corners_m))
    wrong = corners[[1, 0, 3, 2, 5, 4, 7, 6]]  # mirrored: on no pose they all agree
    sure, unsure = (
        CubeTracker(Detector(Rough(seen).eval(), CUBE, 1), CAMERA).step(0.0, picture)
        for seen in (corners, wrong)
    )
    assert sure.seen.confidence > 0.9
    assert sure.filtered is not None
    assert unsure.seen.confidence < 0.1
    assert unsure.filtered is None
    every = CubeTracker(Detector(Rough(wrong).eval(), CUBE, 1), CAMERA, min_confidence=0.0)
    tracked = every.step(0.0, picture)
    assert (tracked.filtered is None) == (tracked.seen.pose is None)
    with pytest.raises(ConfigError, match=r"--min-confidence is 1\.5"):
        CubeTracker(Detector(Rough(corners).eval(), CUBE, 1), CAMERA, min_confidence=1.5)
