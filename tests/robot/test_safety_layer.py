"""No command outside a limit: whatever is asked for, whenever, whatever the robot did before."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from softflow.data.data_spec import DataSpec
from softflow.errors import ConfigError, RobotStoppedError, StoreError
from softflow.robot.safety.limits import (
    ComponentLimit,
    ForceLimit,
    Limits,
    Patience,
    RotationLimit,
    Workspace,
)
from softflow.robot.safety.limits_file import read_limits
from softflow.robot.safety.rotation_filter import angle_rad
from softflow.robot.safety.safety_layer import SafetyLayer

HZ = 20.0
FORCE, PLACE = "observation.force", "observation.place"
SPEC = DataSpec(
    {FORCE: (3,), PLACE: (3,)},
    action_dim=3,
    action_low=(-1.0, -0.1, -math.pi),
    action_high=(1.0, 0.7, math.pi),
    control_hz=HZ,
    names={"action": ("x", "y", "turn")},
)
SEEN = {FORCE: np.zeros(3, np.float32), PLACE: np.zeros(3, np.float32)}
numbers = st.floats(-3, 3, width=32) | st.sampled_from([math.nan, math.inf, -math.inf, 1e30, 0.7])
requests = st.lists(
    st.tuples(st.tuples(numbers, numbers, numbers), st.floats(0.002, 0.3)), max_size=60
)
rates = st.none() | st.floats(0.01, 50)


@given(requests, rates, rates, st.floats(-0.09, 0.69))
def test_range_velocity_and_acceleration_at_any_jitter(
    asked: list[tuple[tuple[float, ...], float]],
    velocity: float | None,
    acceleration: float | None,
    start: float,
) -> None:
    limit = ComponentLimit("y", velocity=velocity, acceleration=acceleration)
    layer = SafetyLayer(Limits([limit]), SPEC)
    last, speed = np.array([0, max(start, -0.1), 0], np.float32), 0.0
    layer.begin(last)
    for wanted, elapsed_s in asked:
        action = layer.command(np.array(wanted, np.float32), SEEN, elapsed_s).action
        assert action.dtype == np.float32
        assert (np.asarray(SPEC.action_low) - 1e-7 <= action).all()
        assert (action <= np.asarray(SPEC.action_high) + 1e-7).all()
        step_s = min(elapsed_s, 1 / HZ)
        now = (float(action[1]) - float(last[1])) / step_s
        rounding = 4e-7 / step_s
        if velocity is not None:
            assert abs(now) <= velocity + rounding
        if acceleration is not None:
            assert abs(now - speed) <= acceleration * step_s + 3 * rounding
        last, speed = action, now


@given(st.lists(st.tuples(*[st.floats(-1, 1, width=32)] * 2), max_size=20))
def test_what_keeps_the_limits_passes_to_the_last_bit(steps: list[tuple[float, float]]) -> None:
    limits = Limits([ComponentLimit("x", velocity=30.0), ComponentLimit("turn", velocity=40.0)])
    layer = SafetyLayer(limits, SPEC)
    layer.begin(np.zeros(3, np.float32))
    last = np.zeros(3)
    for x, turn in steps:
        wanted = np.array([last[0] / 2 + x / 2, 0.3, last[2] + turn], np.float32)
        wanted[2] = np.clip(wanted[2], -3, 3)
        safe = layer.command(wanted, SEEN, 1 / HZ)
        assert safe.action.tobytes() == wanted.tobytes()
        assert safe.clipped == ""
        last = wanted


def test_it_says_what_it_clipped_and_replaces_what_is_no_number() -> None:
    layer = SafetyLayer(Limits([ComponentLimit("x", low=-0.5, high=0.5, velocity=2.0)]), SPEC)
    layer.begin(np.array([0.25, 0, 0], np.float32))
    told = layer.command(np.array([9, math.nan, 0.5], np.float32), SEEN, 0.05)
    assert told.action.tolist() == pytest.approx([0.35, 0, 0.5])
    assert told.clipped == "x, y"
    # A pause allows no more than a control step, and no time nothing at all.
    assert layer.command(np.array([9, 0, 0.5]), SEEN, 5.0).action[0] == pytest.approx(0.45)
    assert layer.command(np.array([9, 0, 0.5]), SEEN, 0.0).action[0] == pytest.approx(0.45)


quaternions = st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.2)
ROTATION = DataSpec({FORCE: (3,)}, 4, (-1.0,) * 4, (1.0,) * 4, HZ)


@given(st.lists(st.tuples(quaternions, st.floats(0.002, 0.2)), max_size=15), st.floats(0.05, 30))
def test_orientations_turn_no_faster_than_allowed(
    asked: list[tuple[tuple[float, ...], float]], rate: float
) -> None:
    limits = Limits(rotation=[RotationLimit([0, 1, 2, 3], "quat_wxyz", rate)])
    layer = SafetyLayer(limits, ROTATION)
    last = np.array([1, 0, 0, 0], np.float32)
    layer.begin(last)
    for wanted, elapsed_s in asked:
        unit = np.array(wanted, np.float32) / np.float32(np.linalg.norm(wanted))
        action = layer.command(unit, {FORCE: SEEN[FORCE]}, elapsed_s).action
        turned = angle_rad(last.astype(float), action.astype(float), "quat_wxyz")
        assert turned <= rate * min(elapsed_s, 1 / HZ) + 3e-6
        assert (np.abs(action) <= 1).all()
        last = action


def test_angles_between_orientations() -> None:
    quarter = np.array([math.cos(math.pi / 4), math.sin(math.pi / 4), 0, 0])
    none = np.array([1.0, 0, 0, 0])
    assert angle_rad(none, quarter, "quat_wxyz") == pytest.approx(math.pi / 2)
    assert angle_rad(none, -quarter, "quat_wxyz") == pytest.approx(math.pi / 2)
    assert angle_rad(none, np.zeros(4), "quat_wxyz") == math.inf
    most = np.array([0, 0, math.pi - 0.1])
    turned = angle_rad(most, -most, "rotation_vector")
    assert turned == pytest.approx(0.2)
    assert angle_rad(np.zeros(3), np.array([1e-6, 0, 0]), "rotation_vector") == pytest.approx(1e-6)


def test_an_orientation_is_followed_as_fast_as_allowed() -> None:
    layer = SafetyLayer(Limits(rotation=[RotationLimit([0, 1, 2, 3], "quat_wxyz", 1.0)]), ROTATION)
    layer.begin(np.array([1, 0, 0, 0], np.float32))
    goal = np.array([0, 1, 0, 0], np.float32)  # half a turn away
    seen = {FORCE: SEEN[FORCE]}
    for _ in range(9):
        layer.command(goal, seen, 0.05)
    action = layer.command(goal, seen, 0.05).action
    assert angle_rad(np.array([1.0, 0, 0, 0]), action, "quat_wxyz") == pytest.approx(0.5, abs=1e-4)


def box(**changes: object) -> Limits:
    place = Workspace(["x", "y"], [-1, -1], [1, 0.5], PLACE, [0, 2], step=0.5, tolerance=0.1)
    return Limits(workspace=[replace(place, **changes)])  # type: ignore[arg-type]


def at(x: float, y: float) -> dict[str, np.ndarray]:
    return {**SEEN, PLACE: np.array([x, 9, y], np.float32)}


def test_steps_end_at_the_wall_of_the_box_and_may_lead_back() -> None:
    layer = SafetyLayer(box(), SPEC)
    layer.begin(np.zeros(3, np.float32))
    asked = np.array([1, 0.6, 0], np.float32)
    assert layer.command(asked, at(0, 0), 0.05).action.tolist() == pytest.approx([1, 0.6, 0])
    assert layer.command(asked, at(0.9, 0.4), 0.05).action.tolist() == pytest.approx([0.2, 0.2, 0])
    assert layer.command(asked, at(1.05, 0.5), 0.05).action.tolist() == pytest.approx([0, 0, 0])
    back = np.array([-1, 0, 0], np.float32)
    assert layer.command(back, at(1.05, 0), 0.05).action.tolist() == pytest.approx([-1, 0, 0])


def test_a_robot_that_cannot_turn_back_in_time_is_stopped() -> None:
    limits = replace(box(), component=[ComponentLimit("x", velocity=1.0)])
    layer = SafetyLayer(limits, SPEC)
    layer.begin(np.array([1, 0, 0], np.float32))
    with pytest.raises(RobotStoppedError, match="cannot turn back within its velocity limits"):
        layer.command(np.array([1, 0, 0], np.float32), at(0.99, 0), 0.05)


def test_outside_the_box_or_pressed_too_hard_it_stops() -> None:
    layer = SafetyLayer(replace(box(), force=[ForceLimit(FORCE, 10.0)]), SPEC)
    layer.watch(at(1.05, 0))
    with pytest.raises(RobotStoppedError, match=r"'observation.place' is 0\.2 outside"):
        layer.watch(at(1.2, 0))
    with pytest.raises(RobotStoppedError, match=r"force in 'observation.force' is 11.18, above 10"):
        layer.watch({**at(0, 0), FORCE: np.array([10, 0, -5], np.float32)})
    with pytest.raises(RobotStoppedError, match="force"):
        layer.watch({**at(0, 0), FORCE: np.array([math.nan, 0, 0], np.float32)})


def test_a_robot_that_stands_outside_its_limits_is_not_moved() -> None:
    layer = SafetyLayer(Limits([ComponentLimit("turn", high=1.0)]), SPEC)
    with pytest.raises(RobotStoppedError, match=r"stands outside its limits \(turn\)"):
        layer.begin(np.array([0, 0, 1.5], np.float32))


FILE = """
[[component]]
component = "x"
velocity = 0.5          # units a second
[[component]]
component = 1
low = 0.0
[[workspace]]
components = ["x", "y"]
low = [-1.0, 0.0]
high = [1.0, 0.5]
[[force]]
observation = "observation.force"
most = 20
[watchdogs]
frozen_s = 2.0
observation = { hold_s = 0.1, stop_s = 0.4 }
"""


def test_limits_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(FILE)
    limits = read_limits(path)
    assert limits.component[0] == ComponentLimit("x", velocity=0.5)
    assert limits.watchdogs.observation == Patience(0.1, 0.4)
    layer = SafetyLayer(limits, SPEC)
    layer.begin(np.array([0, 0.1, 0], np.float32))
    action = layer.command(np.array([1, -1, 0]), SEEN, 0.05).action
    assert action.tolist() == pytest.approx([0.025, 0, 0])


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("[[component]]\nvelocity = 1", ConfigError, r"at 'component\[0\]'.*component"),
        (
            "[[component]]\ncomponent = 0\nvelocity = -1",
            ConfigError,
            "velocity -1.0; give a",
        ),
        ("[[component]]\ncomponent = 0\nvelocity = nan", ConfigError, "velocity nan; give a numb"),
        ("[[component]]\ncomponent = 0\nspeed = 1", ConfigError, "speed"),
        ("[[component]]\ncomponent = 0\nlow = 2\nhigh = 1", ConfigError, "give low < high"),
        (
            "[[rotation]]\ncomponents = [0]\nkind = 'quat_wxyz'\nrate_rad_s = 1",
            ConfigError,
            "has 4",
        ),
        ("[watchdogs]\nobservation = {hold_s = 2, stop_s = 1}", ConfigError, "hold_s <= stop_s"),
        ("component = [", StoreError, "no TOML"),
    ],
)
def test_files_with_mistakes_are_told(
    tmp_path: Path, text: str, kind: type[Exception], told: str
) -> None:
    path = tmp_path / "limits.toml"
    path.write_text(text)
    with pytest.raises(kind, match=told) as error:
        read_limits(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        (Limits([ComponentLimit("z")]), "called x, y, turn"),
        (Limits([ComponentLimit(3)]), "component 3; the action has 3"),
        (Limits([ComponentLimit("x", low=2.0)]), r"may only lie in \[2, 1\]"),
        (Limits(force=[ForceLimit("observation.touch", 1.0)]), "choose one of"),
        (Limits(force=[ForceLimit(FORCE, 1.0, [3])]), r"components \[3\]"),
        (box(observed=[0, 7]), r"components \[0, 7\]"),
        (
            Limits(
                [ComponentLimit("y", velocity=1.0)],
                [RotationLimit(["x", "y", "turn"], "rotation_vector", 1.0)],
            ),
            "part of a rotation",
        ),
    ],
)
def test_limits_of_another_robot_are_refused(limits: Limits, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        SafetyLayer(limits, SPEC)
