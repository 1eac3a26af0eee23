"""A robot behind real ROS 2 topics, moved by hand."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from softflow.data.data_spec import STATE_KEY
from softflow.errors import RobotStoppedError
from softflow.robot.protocol import Outcome, Robot
from softflow.robot.ros2.robot import Ros2Robot
from softflow.robot.ros2.settings import Ros2Settings, Timeouts, read_settings

TARGET = np.array([0.5, 0.2, 0.3, 0, 0, 0, 1, 0.8, -0.4], np.float32)
"""Pose, then index and thumb."""


@pytest.fixture
def robot(arm: Path, settings: Ros2Settings) -> Iterator[Ros2Robot]:
    robot = Ros2Robot(settings)
    yield robot
    robot.close()


def numbers(values: list[float]) -> Any:
    return pytest.approx(np.array(values, np.float32))


def noted(arm: Path, kind: str) -> list[tuple[float, float]]:
    lines = [line.split() for line in arm.read_text().splitlines()]
    return [
        (float(a), float(b)) for what, a, b in (w for w in lines if len(w) == 3) if what == kind
    ]


def test_what_is_seen_and_what_is_sent(robot: Ros2Robot, arm: Path) -> None:
    assert isinstance(robot, Robot)
    with pytest.raises(RobotStoppedError, match="before reset"):
        robot.act(TARGET)
    robot.reset(0)
    sensed = robot.observe()
    start = [0.1, 0.2, 0.3, 0, 0, 0, 1, -0.4, 0.4]  # by name: thumb, then index
    assert sensed.values[STATE_KEY] == numbers(start)
    assert sensed.values[STATE_KEY].dtype == np.float32
    for camera in ("front", "wrist"):
        picture = sensed.values[f"observation.images.{camera}"]
        assert (picture.shape, picture.dtype) == ((8, 12, 3), np.uint8)
        assert picture[0, 0, :2].tolist() == [200, 100]
    assert 0 <= time.monotonic() - sensed.taken_at_s < 0.2
    assert robot.hold() == numbers([0.1, 0.2, 0.3, 0, 0, 0, 1, 0.4, -0.4])
    time.sleep(0.2)
    assert "hand" not in arm.read_text()  # nothing is sent before the first command
    robot.act(TARGET)
    time.sleep(0.4)
    assert robot.hold() == pytest.approx(TARGET)
    seen = robot.observe()
    assert seen.values[STATE_KEY] == numbers([0.5, *start[1:7], -0.4, 0.8])
    assert seen.taken_at_s > sensed.taken_at_s


def test_the_hand_moves_evenly_at_its_rate_and_goes_quiet(robot: Ros2Robot, arm: Path) -> None:
    robot.reset(0)
    robot.act(TARGET)
    time.sleep(1.2)
    times, places = np.array(noted(arm, "hand")).T
    assert 0.3 < times[-1] - times[0] <= 0.7  # command_s is 0.5
    assert 8 <= len(times) <= 24  # 20 at 40 Hz
    assert places[-1] == pytest.approx(0.8)
    assert np.diff(places).min() >= -1e-6
    assert np.diff(places).max() < 0.35  # of 0.4; alone if all four ticks of the way were late
    assert len(noted(arm, "pose")) == 1


def test_stopped_it_holds_tells_the_robot_and_moves_no_more(robot: Ros2Robot, arm: Path) -> None:
    robot.reset(0)
    robot.act(TARGET)
    robot.stop()
    robot.stop()
    with pytest.raises(RobotStoppedError, match="after stop"):
        robot.act(TARGET)
    time.sleep(0.3)
    said = [
        line for line in arm.read_text().splitlines() if line.split()[0] not in ("pose", "hand")
    ]
    assert said == ["ready", "told False", "reset", "told True", "stop"]
    assert len(noted(arm, "pose")) == 2
    robot.reset(1)
    robot.act(TARGET)


def test_a_reset_leaves_the_hand_to_others(robot: Ros2Robot, arm: Path) -> None:
    robot.reset(0)
    robot.act(TARGET)
    time.sleep(0.1)
    robot.reset(1)
    time.sleep(0.1)
    before = len(noted(arm, "hand"))
    time.sleep(0.2)
    assert len(noted(arm, "hand")) == before > 0


def test_a_message_that_is_none_is_not_sent_and_the_hold_stays(robot: Ros2Robot, arm: Path) -> None:
    robot.reset(0)
    before = robot.hold()
    with pytest.raises(RobotStoppedError, match="no orientation"):
        robot.act(np.zeros(9, np.float32))
    assert robot.hold().tolist() == before.tolist()
    time.sleep(0.2)
    assert noted(arm, "pose") == noted(arm, "hand") == []


def test_steps_are_held_by_zero_and_a_topic_tells_of_success(
    settings_file: Path, arm: Path
) -> None:
    text = "success_topic = '/seen/done'\n" + settings_file.read_text()
    before = 'target_topic = "/hand/targets"\nrate_hz = 40.0\nmeasured = "/hand/joints"\n'
    assert before in text
    settings_file.write_text(text.replace(before, 'measured = ""\n'))
    robot = Ros2Robot(read_settings(settings_file))
    try:
        robot.reset(0)
        assert robot.hold() == numbers([0.1, 0.2, 0.3, 0, 0, 0, 1, 0, 0])
        assert robot.act(TARGET) == Outcome(0.0, False, False)
        assert robot.hold() == numbers([*TARGET[:7], 0, 0])
        seen = robot._node.publisher(robot._node.ros.standard.Bool, "/seen/done")
        deadline_s = time.monotonic() + 20
        while robot.act(TARGET) != Outcome(1.0, True, True):
            assert time.monotonic() < deadline_s
            seen.publish(robot._node.ros.standard.Bool(data=True))
            time.sleep(0.02)
        robot.stop()
        robot.reset(1)
        assert robot.act(TARGET) == Outcome(0.0, False, False)
    finally:
        robot.close()


def impatient(settings: Ros2Settings) -> Ros2Settings:
    return msgspec.structs.replace(settings, timeouts=Timeouts(1.5, 0.5, 1.5))


def require_told(settings: Ros2Settings, told: str) -> None:
    """A reset fails with this, and nothing can be commanded."""
    robot = Ros2Robot(settings)
    try:
        with pytest.raises(RobotStoppedError, match=told):
            robot.reset(0)
        with pytest.raises(RobotStoppedError, match="nothing is commanded"):
            robot.act(TARGET)
    finally:
        robot.close()


def test_without_a_driver_nothing_moves(settings: Ros2Settings, domain: None) -> None:
    require_told(impatient(settings), "nobody listened to /arm/target, /hand/commands")


def test_a_silent_topic_is_named(settings_file: Path, arm: Path) -> None:
    text = settings_file.read_text()
    settings_file.write_text(text.replace('"/front"', '"/back"'))
    require_told(impatient(read_settings(settings_file)), "nothing came of /back")
    assert noted(arm, "pose") == noted(arm, "hand") == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('names = ["thumb", "index"]', 'names = ["thumb", "pinky"]', "/hand/joints: no joint"),
        ('topic = "/arm/pose"\n', 'topic = "/arm/pose"\nframe_id = "base"\n', "not 'base'"),
        ("size = [8, 12]\n", "size = [8, 12]\nmax_bytes = 9\n", "nothing came of /front"),
        ("size = [8, 12]\n", "size = [8, 12]\ncrop = [0, 0, 90, 9]\n", "reaches beyond the image"),
    ],
)
def test_messages_that_cannot_be_used_are_told_of(
    settings_file: Path, arm: Path, old: str, new: str, told: str
) -> None:
    text = settings_file.read_text()
    assert old in text
    settings_file.write_text(text.replace(old, new, 1))
    require_told(impatient(read_settings(settings_file)), told)


def test_anybody_may_stop_it_by_a_service(robot: Ros2Robot) -> None:
    robot.reset(0)
    robot._node.trigger("/softflow/stop")
    with pytest.raises(RobotStoppedError, match="stopped by the service /softflow/stop"):
        robot.observe()
    with pytest.raises(RobotStoppedError, match="stopped by the service /softflow/stop"):
        robot.reset(1)


def test_without_tolerance_only_equal_stamps_belong_together(
    arm: Path, settings: Ros2Settings
) -> None:
    matching = msgspec.structs.replace(settings.matching, tolerance_s=0.0)
    robot = Ros2Robot(msgspec.structs.replace(settings, matching=matching))
    try:
        robot.reset(0)  # pictures and numbers of one moment have the same stamp
        ages_s = [time.monotonic() - robot.observe().taken_at_s for _ in range(20)]
        assert max(ages_s) < 0.5
    finally:
        robot.close()
