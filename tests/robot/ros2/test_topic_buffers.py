"""What is kept of every topic, and from when an observation is."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from softflow.robot.ros2.settings import Matching
from softflow.robot.ros2.topic_buffers import NANOSECONDS, Received, TopicBuffers


def at(stamp_s: float, received_s: float | None = None) -> Received:
    received_s = stamp_s if received_s is None else received_s
    stamp_ns, ros_ns = round(stamp_s * NANOSECONDS), round(received_s * NANOSECONDS)
    return Received(stamp_s, stamp_ns, ros_ns, 1000 + received_s)


@pytest.fixture
def buffers() -> TopicBuffers:
    return TopicBuffers(["/fast", "/slow"], Matching(tolerance_s=0.02, keep_s=0.5))


def found(buffers: TopicBuffers) -> list[float] | None:
    newest = buffers.newest()
    return None if newest is None else [one.message for one in newest.values()]


def test_the_newest_that_belong_together(buffers: TopicBuffers) -> None:
    assert buffers.missing() == ["/fast", "/slow"]
    buffers.add("/slow", at(0.1))
    assert found(buffers) is None
    for step in range(20):
        buffers.add("/fast", at(step / 100))
    assert found(buffers) == [0.12, 0.1]
    buffers.drop("/fast", at(0.12).stamp_ns)
    assert found(buffers) == [0.11, 0.1]
    assert buffers.spread_s() == pytest.approx(0.09)
    buffers.clear()
    assert found(buffers) is None


def test_old_ones_go_and_a_clock_that_was_set_back_makes_none_newer(buffers: TopicBuffers) -> None:
    for step in range(100):
        buffers.add("/fast", at(step / 100))
    buffers.add("/slow", at(0.45))  # what would have fitted is kept no longer
    assert found(buffers) is None
    buffers.add("/slow", at(0.98))
    buffers.add("/slow", at(0.5))
    assert found(buffers) == [0.99, 0.98]


def test_when_it_was_taken() -> None:
    assert at(5.0, received_s=5.25).taken_at_s == pytest.approx(1005.0)
    # A sensor's clock that is ahead makes nothing fresher than its receipt.
    assert at(9.0, received_s=5.25).taken_at_s == pytest.approx(1005.25)


def test_a_clock_that_was_set_back_is_told_and_a_reset_begins_anew(
    buffers: TopicBuffers, capsys: pytest.CaptureFixture[str]
) -> None:
    """What came before it serves on and gets old, so the watchdogs stop the robot."""
    for step in range(3):
        buffers.add("/slow", at(5000 + step / 100))
        buffers.add("/fast", at(5000 + step / 100))
    buffers.add("/fast", at(4999.9))  # only late
    assert buffers.problems == {}
    for step in range(3):
        buffers.add("/fast", at(1400 + step / 100, received_s=5001 + step / 100))
    assert found(buffers) == [5000.02, 5000.02]
    newest = buffers.newest()
    assert newest is not None
    assert newest["/fast"].taken_at_s == pytest.approx(6000.02)
    assert capsys.readouterr().err.count("went back by 3600.0 s; a clock was set") == 1
    buffers.clear()
    for topic in ("/fast", "/slow"):
        buffers.add(topic, replace(at(1401), monotonic_s=time.monotonic()))
    assert found(buffers) == [1401, 1401]
    assert buffers.problems == {}
