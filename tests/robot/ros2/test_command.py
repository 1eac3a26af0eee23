"""`softflow robot --ros2` as its own process, and what it says where there is no ROS 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ros_arm import TIMES

from softflow.data.data_spec import STATE_KEY
from softflow.data.episode_store import EpisodeStore
from softflow.errors import MissingPackageError
from softflow.formats.rosbag.yaml import load_mapping
from softflow.robot.ros2.rclpy_modules import ros
from softflow.robot.ros2.settings import read_settings

CLI = Path(__file__).parents[2] / "support/point_cli.py"
EXAMPLES = Path(__file__).parents[3] / "examples"
HAND = f"""
control_hz = 10.0
max_episode_steps = 8
[matching]
tolerance_s = 0.1
{TIMES}[[observation]]
type = "joints"
key = "observation.state"
topic = "/hand/joints"
names = ["thumb", "index"]
[[observation]]
type = "joints"
key = "observation.state"
topic = "/hand/joints"
names = ["index", "thumb"]
[[command]]
type = "joints"
topic = "/hand/commands"
rate_hz = 40.0
measured = "/hand/joints"
names = ["index", "thumb"]
low = [-1.0, -1.0]
high = [1.0, 1.0]
"""
"""With as many numbers as the point world has."""


@pytest.mark.slow
def test_a_policy_in_its_own_process_moves_it(imitated: Path, arm: Path, tmp_path: Path) -> None:
    settings, out = tmp_path / "hand.toml", tmp_path / "out"
    settings.write_text(HAND)
    words = ["robot", imitated, "--ros2", settings, "--out", out, "--episodes", 2]
    told = subprocess.run(
        [sys.executable, str(CLI), *map(str, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=os.environ,
        timeout=120,
    )
    assert told.returncode == 0, told.stderr
    store = EpisodeStore.open(out)
    assert len(store) == 2
    episode = store.episode(0)
    assert episode.length == 8
    assert episode.observations[STATE_KEY].shape == (9, 4)
    assert episode.metadata["policy_version"] == (imitated / "checkpoints/last").resolve().name
    assert arm.read_text().count("hand") > 20


def test_without_ros_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)
    with pytest.raises(MissingPackageError, match=r"setup.bash.*softflow\[ros2\]"):
        ros()


def test_the_examples_mapping_is_that_of_its_robot() -> None:
    settings = read_settings(EXAMPLES / "franka_orca.toml")
    mapping = load_mapping(EXAMPLES / "franka_orca_rosbag.yaml")
    spec = settings.spec()
    assert mapping.action_low == spec.action_low
    assert mapping.action_high == spec.action_high
    assert mapping.control_hz == spec.control_hz
    assert set(mapping.observations) | set(mapping.cameras) == set(spec.observation_shapes)
    sent = {command.topic for command in settings.command} - {"/orca/joint_commands"}
    sent |= {"/orca/joint_targets", settings.episode_topic}
    assert set(mapping.topics) == {*settings.topics, *sent}
    recorded = (EXAMPLES / "franka_orca_rosbag.yaml").read_text().split("control_hz")[0]
    assert [topic for topic in mapping.topics if topic not in recorded] == []
