"""Gaps, clocks, disorder and drops: what stops an import, and what the report says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softflow.errors import DataError
from softflow.formats.rosbag.reading import RosbagSource
from softflow.formats.rosbag.report import TopicReport
from softflow.formats.rosbag.yaml import parse_mapping

STATE = "observation.state"
CAMERA = "observation.images.wrist"
JOINTS: dict[str, Any] = {"topic": "/joint_states", "field": "position"}
COMMAND: dict[str, Any] = {"topic": "/command", "field": "data"}


def source(path: Path, **mapping: Any) -> RosbagSource:
    keys = {STATE: mapping.pop("state", [JOINTS]), "action": mapping.pop("action", [COMMAND])}
    return RosbagSource(path, parse_mapping({"control_hz": 10, **keys, **mapping}))


def joints(
    ros: Any, times: list[float] | np.ndarray, ahead: float = 0.0, delay: float = 0.0
) -> list[Any]:
    """j1 = t, stamped by a clock that is `ahead`, received `delay` later."""
    return [
        ("/joint_states", float(t) + delay, ros.joints(["j1"], [t], float(t) + ahead))
        for t in times
    ]


def commands(ros: Any, seconds: float) -> list[Any]:
    return [("/command", i / 10, ros.number(i)) for i in range(round(seconds * 10) + 1)]


def hundred_hz(seconds: float, without: tuple[float, float] = (-1, -1)) -> list[float]:
    times = [i / 100 for i in range(round(seconds * 100) + 1)]
    return [t for t in times if not without[0] < t < without[1]]


def topic(imported: RosbagSource, name: str, which: str = "run") -> TopicReport:
    return next(t for t in imported.report(which).topics if t.topic == name)


# ---- gaps -----------------------------------------------------------------------------------


def test_a_gap_stops_the_import(tmp_path: Path, ros: Any, storage: str) -> None:
    times = hundred_hz(4, without=(1.0, 2.5))
    bag = ros.write(tmp_path / "run", joints(ros, times) + commands(ros, 4), storage=storage)
    bounds = {"action_low": [0], "action_high": [40]}
    with pytest.raises(
        DataError,
        match=r"run: '/joint_states' has no message for 1\.500 s, from 1\.000 s on, longer than "
        r"'max_gap_s' 1 s \(1 such gaps\); set 'on_gap: split'",
    ):
        source(bag, **bounds).read("run")
    with pytest.raises(DataError, match="no message for"):
        _ = source(bag).spec
    # The report is there when the import is not.
    report = source(bag).report("run")
    assert report.start_s is None
    assert "nothing to import" in report.table()
    assert "no message for 1.500 s" in report.table()


@pytest.mark.parametrize("limit", [{"max_gap_s": 2}, {"max_gap_s": None}])
def test_a_gap_that_is_allowed(tmp_path: Path, ros: Any, limit: dict[str, Any]) -> None:
    times = hundred_hz(4, without=(1.0, 2.5))
    bag = ros.write(tmp_path / "run", joints(ros, times) + commands(ros, 4))
    assert source(bag, **limit).read("run").length == 40
    own = [{**JOINTS, **limit}]
    assert source(bag, state=own).read("run").length == 40


def test_a_gap_splits_the_episode(tmp_path: Path, ros: Any) -> None:
    times = hundred_hz(4, without=(1.0, 2.53))
    frames = [
        ("/camera", i / 10, ros.image(np.full((2, 2, 3), i, np.uint8), stamp=i / 10))
        for i in range(41)
        if not 32 <= i <= 35
    ]
    bag = ros.write(tmp_path / "run", joints(ros, times) + commands(ros, 4) + frames)
    success = [("/success", 1.2, ros.flag(True))]
    bag = ros.write(
        tmp_path / "again" / "run", joints(ros, times) + commands(ros, 4) + frames + success
    )
    imported = source(
        bag,
        on_gap="split",
        max_gap_s=0.3,
        success={"topic": "/success", "field": "data"},
        **{CAMERA: {"topic": "/camera"}},
    )
    assert imported.episodes() == ["run/000", "run/001", "run/002"]
    parts = [imported.read(name) for name in imported.episodes()]
    spans = [(p.observations[STATE][0, 0], p.observations[STATE][-1, 0]) for p in parts]
    np.testing.assert_allclose(spans, [(0, 1.0), (2.53, 3.03), (3.6, 4.0)], atol=1e-6)
    # Pressed in the gap: it belongs to the part before.
    assert [p.success for p in parts] == [True, False, False]
    assert "3 episodes" in imported.report("run").table()


def test_a_gap_outside_the_episode_does_not_matter(tmp_path: Path, ros: Any) -> None:
    times = hundred_hz(4, without=(0.5, 2.2))
    late = [message for message in commands(ros, 4) if message[1] >= 2.5]
    bag = ros.write(tmp_path / "run", joints(ros, times) + late)
    assert source(bag).read("run").length == 15


def test_topics_that_never_meet(tmp_path: Path, ros: Any) -> None:
    late = [("/command", 5 + i / 10, ros.number(i)) for i in range(11)]
    bag = ros.write(tmp_path / "run", joints(ros, hundred_hz(1)) + late)
    with pytest.raises(DataError) as caught:
        source(bag).read("run")
    assert "/joint_states  0.000 to 1.000 s" in str(caught.value)
    assert "/command  5.000 to 6.000 s" in str(caught.value)


# ---- order and repetition -------------------------------------------------------------------


def test_messages_out_of_order_are_sorted(tmp_path: Path, ros: Any, storage: str) -> None:
    times = np.arange(101) / 100
    received = times.copy()
    received[[20, 21]] = received[[21, 20]]  # one overtakes the other
    messages = sorted(
        [
            ("/joint_states", float(r), ros.joints(["j1"], [t], float(t)))
            for t, r in zip(times, received, strict=True)
        ],
        key=lambda message: message[1],
    )
    bag = ros.write(tmp_path / "run", messages + commands(ros, 1), storage=storage)
    imported = source(bag)
    found = imported.read("run").observations[STATE][:, 0]
    np.testing.assert_allclose(found, np.arange(11) / 10, atol=1e-6)
    assert topic(imported, "/joint_states").out_of_order == 1
    assert topic(imported, "/joint_states").repeated == 0


def test_of_messages_with_one_stamp_the_last_counts(tmp_path: Path, ros: Any) -> None:
    messages = joints(ros, hundred_hz(1))
    again = [("/joint_states", 0.505, ros.joints(["j1"], [9.0], 0.5))]
    everything = sorted(messages + again, key=lambda message: message[1])
    bag = ros.write(tmp_path / "run", everything + commands(ros, 1))
    imported = source(bag)
    found = imported.read("run").observations[STATE][:, 0]
    assert found[5] == 9.0
    assert topic(imported, "/joint_states").repeated == 1
    assert topic(imported, "/joint_states").messages == 102


def test_a_clock_that_jumps_back(tmp_path: Path, ros: Any) -> None:
    """A restarted driver stamps its messages anew: sorting would mix two stretches of time."""
    messages = joints(ros, hundred_hz(3)) + [
        ("/joint_states", 3 + t, ros.joints(["j1"], [t], t)) for t in hundred_hz(1)[1:]
    ]
    bag = ros.write(tmp_path / "run", messages + commands(ros, 4))
    with pytest.raises(DataError, match=r"'/joint_states' jump back by 2\.990 s at message 301"):
        source(bag).read("run")
    assert source(bag, clock="receive").read("run").length == 40


# ---- clocks ---------------------------------------------------------------------------------


def test_stamps_count_rather_than_receipt(tmp_path: Path, ros: Any) -> None:
    bag = ros.write(tmp_path / "run", joints(ros, hundred_hz(1), delay=0.2) + commands(ros, 1))
    by_stamp, by_receipt = source(bag), source(bag, clock="receive")
    assert by_stamp.read("run").observations[STATE][0, 0] == 0
    assert by_receipt.read("run").observations[STATE][0, 0] == 0
    assert by_stamp.read("run").actions[0, 0] == 0
    assert by_receipt.read("run").actions[0, 0] == 2
    assert topic(by_stamp, "/joint_states").skew_ms == pytest.approx(-200)
    assert topic(by_receipt, "/joint_states").skew_ms is None
    assert topic(by_stamp, "/command").clock == "receive"


def test_one_message_without_a_stamp_and_receipt_counts(tmp_path: Path, ros: Any) -> None:
    messages = joints(ros, hundred_hz(1), delay=0.05)
    messages[3] = ("/joint_states", 0.08, ros.joints(["j1"], [0.03]))
    bag = ros.write(tmp_path / "run", messages + commands(ros, 1))
    imported = source(bag)
    assert topic(imported, "/joint_states").clock == "receive"
    # It counts from its receipt on, 0.05 s, and 0.1 s later it has moved by 0.1.
    found = imported.read("run").observations[STATE][:2, 0]
    np.testing.assert_allclose(found, [0.0, 0.1], atol=1e-6)


def test_clocks_that_are_apart(tmp_path: Path, ros: Any) -> None:
    messages = joints(ros, hundred_hz(5), ahead=-2.0) + commands(ros, 5)
    bag = ros.write(tmp_path / "run", messages)
    with pytest.raises(DataError) as caught:
        source(bag).read("run")
    for part in ("more than 1 s apart", "/joint_states  -2.000 s", "/command  +0.000 s"):
        assert part in str(caught.value)
    assert source(bag, clock="receive").read("run").length == 50
    assert source(bag, max_clock_skew_s=3).read("run").length == 30


def test_clock_that_is_off_for_all_topics_does_no_harm(tmp_path: Path, ros: Any) -> None:
    poses = [("/pose", t, ros.pose([t, 0, 0], [0, 0, 0, 1], t - 100)) for t in hundred_hz(1)]
    bag = ros.write(tmp_path / "run", joints(ros, hundred_hz(1), ahead=-100) + poses)
    action = [{"topic": "/pose", "field": "pose.position"}]
    assert source(bag, action=action).read("run").length == 10


def test_events_without_stamps_cannot_be_placed_on_a_clock_that_is_off(
    tmp_path: Path, ros: Any
) -> None:
    poses = [("/pose", t, ros.pose([t, 0, 0], [0, 0, 0, 1], t - 100)) for t in hundred_hz(1)]
    pressed = [("/success", 0.5, ros.flag(True))]
    bag = ros.write(tmp_path / "run", joints(ros, hundred_hz(1), ahead=-100) + poses + pressed)
    action = [{"topic": "/pose", "field": "pose.position"}]
    success = {"topic": "/success", "field": "data"}
    with pytest.raises(DataError, match=r"success  \+0\.000 s"):
        source(bag, action=action, success=success).read("run")
    by_receipt = source(bag, action=action, success=success, clock="receive")
    assert by_receipt.read("run").length == 6


# ---- the report -----------------------------------------------------------------------------


def test_the_report_by_hand(tmp_path: Path, ros: Any) -> None:
    """100 Hz for 10 s, 20 messages dropped from 4 s on, a clock 5 ms behind that loses 100 µs/s."""
    messages = [
        ("/joint_states", t, ros.joints(["j1"], [t], t - 0.005 - t * 1e-4))
        for t in hundred_hz(10, without=(4.0, 4.21))
    ]
    bag = ros.write(tmp_path / "run", messages + commands(ros, 10))
    imported = source(bag)
    found = topic(imported, "/joint_states")
    assert found.messages == 981
    assert found.rate_hz == pytest.approx(100, rel=1e-3)
    assert found.skew_ms == pytest.approx(-5.5, abs=0.02)
    assert found.drift_ppm == pytest.approx(-100, abs=0.1)
    assert found.longest_gap_s == pytest.approx(0.21, abs=1e-4)
    assert found.longest_gap_at_s == pytest.approx(4.0, abs=1e-3)
    assert found.missing == 20
    assert (found.lost, found.out_of_order, found.repeated) == (0, 0, 0)
    # Commands are held: they need no rate.
    assert topic(imported, "/command").missing is None
    table = imported.report("run").table().splitlines()
    assert table[0].startswith("run: imported from 0.005 s to 9.999 s")
    assert table[1].split()[:3] == ["topic", "messages", "Hz"]
    assert table[2].split() == [
        *("/joint_states", "981", "100.0", "0.000", "9.999", "header", "-5.5", "-100.0"),
        *("0.210", "4.000", "20", "0", "0", "0"),
    ]
    assert imported.read("run").metadata["topics"]["/joint_states"]["missing"] == 20


def test_the_report_of_a_part(tmp_path: Path, ros: Any) -> None:
    marks = [("/episode", 1.0, ros.flag(True)), ("/episode", 2.0, ros.flag(False))]
    bag = ros.write(tmp_path / "run", joints(ros, hundred_hz(4)) + commands(ros, 4) + marks)
    imported = source(bag, episodes={"topic": "/episode"})
    part = topic(imported, "/joint_states", "run/000")
    assert (part.messages, part.first_s, part.last_s) == (101, 1.0, 2.0)
    assert topic(imported, "/joint_states").messages == 401


def test_messages_that_the_recorder_counted_and_the_file_lacks(tmp_path: Path, ros: Any) -> None:
    bag = ros.write(tmp_path / "run", joints(ros, hundred_hz(1)) + commands(ros, 1))
    metadata = bag / "metadata.yaml"
    metadata.write_text(metadata.read_text().replace("message_count: 101", "message_count: 150"))
    assert topic(source(bag), "/joint_states").lost == 49
