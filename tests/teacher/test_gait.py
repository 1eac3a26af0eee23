"""A gait moves fingertips as its numbers say, and a search finds what is better."""

from __future__ import annotations

import numpy as np
import pytest

from softflow.envs.orca_cube.batched import BatchedHand
from softflow.envs.orca_cube.kinematics import HandKinematics
from softflow.envs.orca_cube.randomisation import Randomisation
from softflow.envs.orca_cube.settings import CubeSettings
from softflow.errors import ConfigError
from softflow.teacher.gait import FingertipGait
from softflow.teacher.gait_search import (
    YAWS,
    GaitSearchConfig,
    SearchState,
    progress,
    score_gaits,
    search_gait,
    starts_about,
)

_F = 5


@pytest.fixture(scope="module")
def hand() -> BatchedHand:
    return BatchedHand(CubeSettings(platform_s=0.0), YAWS, 0)


def _numbers(**parts: float) -> np.ndarray:
    """A gait of the ORCA hand: every finger alike, in phase; joints without bias."""
    names = ("amplitude", "lift", "preload", "height", "phase")
    fingers = [np.full(_F, parts.get(name, 0.0)) for name in names]
    rest = [parts.get("period", 1.0), parts.get("duty", 0.5)]
    return np.concatenate([*fingers, rest, np.zeros(16)])


def _tip_motion(hand: BatchedHand, gait: FingertipGait, phases: list[float]) -> np.ndarray:
    kinematics = HandKinematics(hand.scene)
    places = [kinematics.tips(gait.targets(np.array([p]))[0]) for p in phases]
    return places[1] - places[0]


def test_a_gait_of_this_hand_is_43_numbers(hand: BatchedHand) -> None:
    assert len(_numbers()) == 43
    with pytest.raises(ConfigError, match="43"):
        FingertipGait(hand.scene, hand.grasps, np.array([0]), np.zeros((1, 40)))


def test_without_amplitude_it_stays_at_its_grasp(hand: BatchedHand) -> None:
    gait = FingertipGait(hand.scene, hand.grasps, np.array([7]), _numbers()[None])
    for phase in (0.0, 0.3, 0.8):
        assert gait.targets(np.array([phase]))[0] == pytest.approx(hand.grasps.targets[7])


@pytest.mark.parametrize("direction", [1, -1])
def test_tips_push_the_cube_around_in_stance(hand: BatchedHand, direction: int) -> None:
    numbers = _numbers(amplitude=0.004)[None]
    gait = FingertipGait(hand.scene, hand.grasps, np.array([7]), numbers, direction)
    moved = _tip_motion(hand, gait, [0.01, 0.49])
    centre = hand.grasps.cube_pose[7, :3]
    arms = HandKinematics(hand.scene).tips(hand.grasps.joints[7]) - centre
    turning = direction * np.cross(arms, moved)[:, 2]
    assert (turning > 0).all()
    back = _tip_motion(hand, gait, [0.51, 0.99])
    assert np.allclose(back, -moved, atol=5e-4)


def test_tips_lift_off_in_swing_alone(hand: BatchedHand) -> None:
    numbers = _numbers(lift=0.005)[None]
    gait = FingertipGait(hand.scene, hand.grasps, np.array([7]), numbers)
    assert np.allclose(_tip_motion(hand, gait, [0.0, 0.4]), 0.0, atol=1e-9)
    lifted = _tip_motion(hand, gait, [0.0, 0.75])
    away = HandKinematics(hand.scene).tips(hand.grasps.joints[7]) - hand.grasps.cube_pose[7, :3]
    assert ((lifted * away)[:, :2].sum(1) > 0).all()


def test_a_gait_is_tried_from_four_yaw_angles(hand: BatchedHand) -> None:
    from softflow.envs.orca_cube.rotations import quarter_yaw

    starts = starts_about(hand, 7)
    yaw = quarter_yaw(hand.grasps.cube_pose[starts, 3:])
    spread = np.sort((yaw - yaw.min()) % (np.pi / 2))
    assert len(set(starts)) == YAWS
    assert np.diff(spread).min() > 0.1


def test_a_gait_that_opens_the_hand_scores_worse_than_one_that_holds() -> None:
    config = GaitSearchConfig(population=4, elite=2, generations=1, trial_s=1.5)
    hand = BatchedHand(CubeSettings(platform_s=0.0), 2 * YAWS, 0)
    both = np.stack([_numbers(), _numbers(preload=-0.06)])
    scores = score_gaits(hand, both, np.array([7, 7]), 1, config)
    assert scores[0] > 0.8
    assert scores[1] < scores[0] - 0.2


def test_swinging_there_and_back_is_no_progress() -> None:
    time_s = np.linspace(0, 8, 161)
    steady, swinging = 0.05 * time_s, 0.1 * np.sin(2 * np.pi * time_s / 1.3)
    jump = np.where(time_s > 0.5, 0.1, 0.0)
    found = progress(np.stack([steady, swinging, steady + swinging, jump], axis=1))
    assert found[0] == pytest.approx(0.4, rel=0.02)
    assert abs(found[1]) < 0.05  # of swings of 0.2
    assert found[2] == pytest.approx(0.4, abs=0.05)
    assert found[3] < 0.05


def test_a_search_tells_its_generations_and_goes_on_from_one() -> None:
    config = GaitSearchConfig(population=4, elite=2, generations=2, trial_s=0.3)
    told: list[SearchState] = []

    def make(num: int) -> BatchedHand:
        return BatchedHand(CubeSettings(platform_s=0.0), num, 0)

    found = search_gait(make, config, 1, 0, lambda state, _: told.append(state))
    assert [state.generation for state in told] == [1, 2]
    again = search_gait(make, config, 1, 0, begun=told[0])
    assert np.allclose(again.numbers, found.numbers)
    with pytest.raises(ConfigError, match="elite"):
        GaitSearchConfig(population=4, elite=4)


def test_all_gaits_of_a_trial_meet_the_same_frictions_and_masses() -> None:
    what = Randomisation(hand_friction=None, link_mass=None, cube_start_m=None, cube_start_m_s=None)
    hand = BatchedHand(CubeSettings(platform_s=0.0), 3 * YAWS, 0, randomisation=what)
    config = GaitSearchConfig(population=4, elite=2, generations=1, trial_s=0.5)
    gait = np.tile(_numbers(amplitude=0.01, lift=0.01), (3, 1))
    home = np.full(3, hand.grasps.home)
    scores = score_gaits(hand, gait, home, 1, config)
    assert np.ptp(scores) == 0.0
    masses = [model.body_mass[hand.scene.cube_body] for model in hand.physics.models]
    assert len(set(masses)) == YAWS
