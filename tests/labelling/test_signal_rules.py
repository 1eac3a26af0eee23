"""The two rules on signals, worked by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.errors import ConfigError, DataError
from softflow.labelling.event_kinds import READY_MADE, EventDeclaration, EventKinds
from softflow.labelling.rules import RuleContext
from softflow.labelling.signal_rules import (
    LiftedSettings,
    QuarterTurnSettings,
    cube_quarter_turn,
    gripper_lifted,
)

Signal = Sequence[float] | np.ndarray
HZ = 10.0
NAMES = ("height", "gap", "yaw", "q.0", "q.1", "q.2", "q.3")
SPEC = DataSpec({STATE_KEY: (7,)}, 1, (-1.0,), (1.0,), HZ, names={STATE_KEY: NAMES})
CUBE = RuleContext(SPEC, READY_MADE["cube"])
SCISSORS = RuleContext(SPEC, READY_MADE["scissors"])
YAW = QuarterTurnSettings(yaw="observation.state[yaw]", hold_s=0.0)
QUAT = QuarterTurnSettings(quat="observation.state[q.0]", hold_s=0.0)
LIFT = LiftedSettings(height="observation.state[height]", hold_s=0.0)


def recorded(**signals: Signal) -> Episode:
    """An episode with one signal or several; what is not given is 0."""
    length = len(next(iter(signals.values()))) - 1
    state = np.zeros((length + 1, 7), np.float32)
    for name, values in signals.items():
        state[:, NAMES.index(name)] = values
    zeros = np.zeros((length, 1), np.float32)
    return Episode({STATE_KEY: state}, zeros, zeros[:, 0], False, True, False)


def turned(degrees: Signal) -> Episode:
    return recorded(yaw=np.radians(degrees))


def quats(degrees: Signal, tilt_degrees: float = 0.0) -> Episode:
    """Turned about the vertical after being tilted about x: q = z-turn times x-tilt, wxyz."""
    half, tilt = np.radians(degrees) / 2, math.radians(tilt_degrees) / 2
    cos, sin = np.cos(half), np.sin(half)
    rows = (cos * math.cos(tilt), cos * math.sin(tilt), sin * math.sin(tilt), sin * math.cos(tilt))
    return recorded(**{f"q.{i}": row for i, row in enumerate(rows)})


def steps(episode: Episode, settings: QuarterTurnSettings) -> list[int]:
    return [one.event.step for one in cube_quarter_turn(episode, CUBE, settings)]


def test_each_quarter_is_one_event_at_the_step_that_completes_it() -> None:
    # Observations 0 … 9; 90 is first seen in observation 4, which action 3 brought about.
    degrees = [0, 30, 60, 80, 100, 150, 179, 181, 200, 275]
    assert steps(turned(degrees), YAW) == [3, 6, 8]
    event = cube_quarter_turn(turned(degrees), CUBE, YAW)[0]
    assert (event.event.name, event.event.kind, event.event.value) == ("rotated", "reward", 1.0)


def test_turning_back_and_forth_counts_once() -> None:
    degrees = [0, 50, 95, 85, 95, 85, 40, 0, 40, 95, 140, 185]
    assert steps(turned(degrees), YAW) == [1, 10]


def test_the_angle_counts_from_where_the_cube_began_and_wraps_anywhere() -> None:
    degrees = np.array([170.0, 200, 230, 260, 290, 320, 350, 380])
    assert steps(turned(degrees), YAW) == [2, 5]
    assert steps(turned((degrees + 180) % 360 - 180), YAW) == [2, 5]


def test_float32_that_stops_a_hair_before_a_quarter_is_a_quarter() -> None:
    assert steps(turned([0, 45, 89.9999]), YAW) == [1]
    assert steps(turned([0, 45, 89.9]), YAW) == []


def test_only_the_asked_direction_counts() -> None:
    back = turned([0, -50, -95, -140, -185])
    assert steps(back, YAW) == []
    assert steps(back, replace(YAW, direction=-1)) == [1, 3]
    # What was turned the wrong way has to be turned back first.
    assert steps(turned([0, -50, -90, -50, 0, 50, 91]), YAW) == [5]


@pytest.mark.parametrize("tilt", [0.0, 35.0])
def test_a_quaternion_tells_the_turn_about_the_vertical_also_of_a_tilted_cube(tilt: float) -> None:
    degrees = np.arange(0, 800, 40.0)  # more than two full turns: 90, 180, … 720
    expected = [math.ceil(90 * k / 40) - 1 for k in range(1, 9)]
    assert steps(quats(degrees, tilt), QUAT) == expected


def test_a_quaternion_that_changes_its_sign_is_the_same_orientation() -> None:
    episode = quats(np.arange(0, 200, 20.0))
    episode.observations[STATE_KEY][3:6, 3:] *= -1
    assert steps(episode, QUAT) == [4, 8]


def test_the_order_xyzw_is_read_too() -> None:
    episode = quats(np.arange(0, 200, 20.0))
    state = episode.observations[STATE_KEY]
    state[:, 3:] = state[:, [4, 5, 6, 3]]
    assert steps(episode, replace(QUAT, order="xyzw")) == [4, 8]


def test_a_single_wrong_pose_is_no_turn_if_it_must_hold() -> None:
    spike = turned([0, 5, 10, 100, 12, 14, 16, 18])
    assert steps(spike, YAW) == [2]
    assert steps(spike, replace(YAW, hold_s=0.2)) == []
    # … and what holds is put where it began, also at the very end.
    assert steps(turned([0, 50, 95, 96, 97, 140, 185]), replace(YAW, hold_s=0.2)) == [1, 5]


def test_a_jump_makes_what_follows_doubtful() -> None:
    sure = cube_quarter_turn(turned([0, 50, 95]), CUBE, YAW)
    lost = cube_quarter_turn(turned([0, 5, 95, 140, 185]), CUBE, YAW)
    assert [one.confidence for one in sure] == [1.0]
    assert [one.confidence for one in lost] == [0.5, 0.5]


def test_two_quarters_within_a_step_are_two_doubtful_events() -> None:
    found = cube_quarter_turn(turned([0, 30, 60]), CUBE, replace(YAW, degrees=15.0))
    assert [(one.event.step, one.confidence) for one in found] == [(0, 0.5)] * 2 + [(1, 0.5)] * 2


def test_an_event_that_is_not_declared_is_named() -> None:
    with pytest.raises(DataError, match="'rotated' is not declared"):
        cube_quarter_turn(turned([0, 50, 95]), SCISSORS, YAW)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "where the cube's orientation is"),
        ({"yaw": "a", "quat": "b"}, "where the cube's orientation is"),
        ({"yaw": "a", "direction": 2}, "direction"),
        ({"yaw": "a", "degrees": 0.0}, "degrees is 0.0"),
        ({"yaw": "a", "hold_s": math.nan}, "hold_s is nan"),
    ],
)
def test_settings_that_cannot_be_meant(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        QuarterTurnSettings(**settings)  # type: ignore[arg-type]


def test_a_quaternion_needs_four_components() -> None:
    with pytest.raises(ConfigError, match="first of four"):
        steps(quats([0, 90]), replace(QUAT, quat="observation.state[q.1]"))


def lifted(
    settings: LiftedSettings, context: RuleContext = SCISSORS, **signals: Sequence[float]
) -> list[int]:
    return [one.event.step for one in gripper_lifted(recorded(**signals), context, settings)]


def test_lifted_is_where_the_height_first_rises_enough() -> None:
    assert lifted(LIFT, height=[0.80, 0.82, 0.839, 0.8401, 0.9]) == [2]
    assert lifted(LIFT, height=[0.80, 0.82, 0.839]) == []


def test_lifted_above_the_lowest_height_for_a_gripper_that_first_goes_down() -> None:
    heights = [0.30, 0.10, 0.02, 0.03, 0.07, 0.09]
    assert lifted(LIFT, height=heights) == []
    assert lifted(replace(LIFT, above="lowest"), height=heights) == [3]
    with pytest.raises(ConfigError, match="choose start or lowest"):
        replace(LIFT, above="table")


def test_lifted_once_where_the_event_is_declared_once() -> None:
    assert lifted(LIFT, height=[0, 0.05, 0, 0.05, 0]) == [0]


def test_lifted_again_only_after_a_way_down() -> None:
    kinds = EventKinds((EventDeclaration("lifted", 1.0, repeats=True),))
    again = replace(LIFT, event="lifted")
    heights = [0, 0.05, 0.03, 0.05, 0.019, 0.05, 0.06]
    assert lifted(again, RuleContext(SPEC, kinds), height=heights) == [0, 4]


def test_lifted_needs_something_between_the_fingers() -> None:
    holding = replace(LIFT, gap="observation.state[gap]", gap_above=0.01, gap_below=0.06)
    heights = [0, 0.05, 0.05, 0.05, 0.05]
    assert lifted(holding, height=heights, gap=[0.08, 0.08, 0.0, 0.03, 0.03]) == [2]
    assert lifted(holding, height=heights, gap=[0.08, 0.08, 0.0, 0.0, 0.0]) == []


def test_lifted_must_hold() -> None:
    assert lifted(replace(LIFT, hold_s=0.3), height=[0, 0.05, 0, 0.05, 0.05, 0.05, 0]) == [2]


def test_lifted_needs_a_height() -> None:
    with pytest.raises(ConfigError, match="which component is the height"):
        LiftedSettings()
