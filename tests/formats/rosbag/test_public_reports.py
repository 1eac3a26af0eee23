"""What hurt users of bags, by the public report of it, rebuilt small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from softflow.errors import DataError
from softflow.formats.rosbag.reading import RosbagSource
from softflow.formats.rosbag.yaml import parse_mapping

STATE = "observation.state"
TIMES = [i / 10 for i in range(21)]


def source(path: Path, field: str = "position", **mapping: Any) -> RosbagSource:
    joints = {"topic": "/joint_states", "field": field}
    command = {"topic": "/command", "field": "data"}
    keys = {STATE: [joints], "action": [command], "control_hz": 10, **mapping}
    return RosbagSource(path, parse_mapping(keys))


def recording(ros: Any, joints: Any = None) -> list[Any]:
    make = joints or (lambda t: ros.joints(["a", "b"], [t, 10 * t], t))
    messages = [("/joint_states", t, make(t)) for t in TIMES]
    return sorted(
        messages + [("/command", t, ros.number(t)) for t in TIMES], key=lambda message: message[1]
    )


def test_stamps_that_nobody_set_are_not_the_year_1970(tmp_path: Path, ros: Any) -> None:
    """Pictures of a ZED camera had stamps of 0: zed-ros-wrapper, issue 969."""
    ros.write(tmp_path / "run", recording(ros, lambda t: ros.joints(["a", "b"], [t, 10 * t])))
    states = source(tmp_path / "run").read("run").observations[STATE]
    np.testing.assert_allclose(states, np.outer(TIMES, [1, 10]), atol=1e-4)


def test_velocities_that_a_driver_does_not_know(tmp_path: Path, ros: Any) -> None:
    """They are NaN beside good positions: ros2_controllers, pull request 1572."""

    def joints(t: float) -> Any:
        message = ros.joints(["a", "b"], [t, 10 * t], t)
        message.velocity = np.array([np.nan, 1.0])
        return message

    ros.write(tmp_path / "run", recording(ros, joints))
    assert source(tmp_path / "run").read("run").length == 20
    with pytest.raises(DataError, match=r"/joint_states.*velocity"):
        source(tmp_path / "run", "velocity").read("run")


def test_files_of_a_split_bag_overlap_in_time(tmp_path: Path, ros: Any) -> None:
    """The second file begins before the first one ends: rosbag2, issue 857."""
    messages = recording(ros)
    late = [message for message in messages if message[1] in (0.5, 0.6)]
    others = [message for message in messages if message[1] not in (0.5, 0.6)]
    ros.write(tmp_path / "run", others + late)
    states = source(tmp_path / "run").read("run").observations[STATE]
    np.testing.assert_allclose(states, np.outer(TIMES, [1, 10]), atol=1e-4)


def test_messages_of_one_time_keep_their_order(tmp_path: Path, ros: Any) -> None:
    """Of two with one stamp, as simulated time gives them, the later one counts: rosbag2, 2173."""
    messages = recording(ros)
    again = [("/joint_states", t, ros.joints(["a", "b"], [t + 5, 10 * t], t)) for t in TIMES]
    ros.write(tmp_path / "run", sorted(messages + again, key=lambda message: message[1]))
    states = source(tmp_path / "run").read("run").observations[STATE]
    np.testing.assert_allclose(states[:, 0], np.array(TIMES) + 5, atol=1e-4)


@pytest.mark.parametrize("lost", [9, 200])
def test_a_recorder_that_was_killed(tmp_path: Path, ros: Any, lost: int) -> None:
    """ "Invalid magic at end of file" was all that was said: mcap, issues 207, 697 and 1220."""
    path = ros.write(tmp_path / "run", recording(ros))
    (file,) = path.glob("*.mcap")
    file.write_bytes(file.read_bytes()[:-lost])
    with pytest.raises(DataError, match=r"/run'.*magic.*mcap recover FILE"):
        source(path).read("run")
