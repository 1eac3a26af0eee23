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
from softflow.teacher.gait_scoring import YAWS, capped, progress, score_gaits, starts_about
from softflow.teacher.gait_search import GaitSearchConfig, SearchState, search_gait

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
        FingertipGait(hand.scene, hand.grasps, 0, np.zeros((1, 40)))


def test_without_amplitude_it_stays_at_its_grasp(hand: BatchedHand) -> None:
    gait = FingertipGait(hand.scene, hand.grasps, 7, _numbers()[None])
    for phase in (0.0, 0.3, 0.8):
        targets = gait.targets(np.array([phase]))[0]
        assert targets[1:] == pytest.approx(hand.grasps.joints[7][1:], abs=1e-6)
        assert targets[0] == hand.grasps.targets[7][0]  # the wrist


@pytest.mark.parametrize("amplitude", [0.1, 0.5])
def test_tips_go_around_on_arcs(hand: BatchedHand, amplitude: float) -> None:
    """Far strokes too: as far from the cube's axis and as high as they were."""
    gait = FingertipGait(
        hand.scene, hand.grasps, hand.grasps.home, _numbers(amplitude=amplitude)[None]
    )
    kinematics, home = HandKinematics(hand.scene), hand.grasps.home
    centre = hand.grasps.cube_pose[home, :3]
    before = kinematics.tips(hand.grasps.joints[home]) - centre
    joints = gait.targets(np.array([0.25 + 0.12]))[0]  # not in the table
    joints[0] = hand.grasps.joints[home][0]  # the wrist, which hangs a little in a grasp
    after = kinematics.tips(joints) - centre
    radius = [np.hypot(*arms[:, :2].T) for arms in (before, after)]
    assert radius[1] == pytest.approx(radius[0], abs=3e-4)
    assert after[:, 2] == pytest.approx(before[:, 2], abs=3e-4)
    turned = np.arctan2(np.cross(before, after)[:, 2], (before * after)[:, :2].sum(1))
    assert turned == pytest.approx(np.full(_F, 0.24 * amplitude), abs=0.01)


@pytest.mark.parametrize("direction", [1, -1])
def test_tips_push_the_cube_around_in_stance(hand: BatchedHand, direction: int) -> None:
    numbers = _numbers(amplitude=0.12)[None]
    gait = FingertipGait(hand.scene, hand.grasps, 7, numbers, direction)
    moved = _tip_motion(hand, gait, [0.01, 0.49])
    centre = hand.grasps.cube_pose[7, :3]
    arms = HandKinematics(hand.scene).tips(hand.grasps.joints[7]) - centre
    turning = direction * np.cross(arms, moved)[:, 2]
    assert (turning > 0).all()
    back = _tip_motion(hand, gait, [0.51, 0.99])
    assert np.allclose(back, -moved, atol=1e-3)


def test_tips_lift_off_in_swing_alone(hand: BatchedHand) -> None:
    numbers = _numbers(lift=0.005)[None]
    gait = FingertipGait(hand.scene, hand.grasps, 7, numbers)
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
    hand = BatchedHand(CubeSettings(platform_s=0.0), 2 * YAWS, 0)
    both = np.stack([_numbers(preload=0.003), _numbers(preload=-0.03)])
    scores = score_gaits(hand, both, 7, 1, 1.5, 1.0)
    assert scores[0] > 0.8
    assert scores[1] < scores[0] - 0.2


def test_creeping_forth_and_snapping_back_earns_nothing() -> None:
    cycle = np.concatenate([np.full(40, 0.01), [-0.4]])
    earned = capped(cycle, 1.0)
    assert earned.sum() == pytest.approx(0.0)
    assert capped(np.array([0.5, -0.5]), 1.0) == pytest.approx([0.05, -0.5])


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
    config = GaitSearchConfig(
        scouted_grasps=2,
        scouted_gaits=2,
        scouting_s=0.2,
        population=4,
        elite=2,
        generations=2,
        trial_s=0.3,
    )
    told: list[SearchState] = []

    def make(num: int) -> BatchedHand:
        return BatchedHand(CubeSettings(platform_s=0.0), num, 0)

    found = search_gait(make, config, 1, 0, lambda state, _: told.append(state))
    assert [state.generation for state in told] == [0, 1, 2]
    assert {state.grasp for state in told} == {found.grasp}
    again = search_gait(make, config, 1, 0, begun=told[1])
    assert np.allclose(again.numbers, found.numbers)
    with pytest.raises(ConfigError, match="elite"):
        GaitSearchConfig(population=4, elite=4)


def test_all_gaits_of_a_trial_meet_the_same_frictions_and_masses() -> None:
    what = Randomisation(hand_friction=None, link_mass=None, cube_start_m=None, cube_start_m_s=None)
    hand = BatchedHand(CubeSettings(platform_s=0.0), 3 * YAWS, 0, randomisation=what)
    gait = np.tile(_numbers(amplitude=0.4, lift=0.01), (3, 1))
    scores = score_gaits(hand, gait, hand.grasps.home, 1, 0.5, 1.0)
    assert np.ptp(scores) == 0.0
    masses = [model.body_mass[hand.scene.cube_body] for model in hand.physics.models]
    assert len(set(masses)) == YAWS
