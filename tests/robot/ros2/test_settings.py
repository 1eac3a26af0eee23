"""What may stand in the file of a ROS 2 robot, and what its episodes then hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ros_arm import SETTINGS

from softflow.data.data_spec import STATE_KEY
from softflow.errors import ConfigError, StoreError
from softflow.robot.ros2.settings import read_settings
from softflow.robot.safety.limits_file import component_numbers

EXAMPLE = Path(__file__).parents[3] / "examples" / "franka_orca.toml"


def test_the_robot_of_the_paper() -> None:
    settings = read_settings(EXAMPLE)
    spec = settings.spec()
    assert spec.action_dim == 24  # Sec. V-B
    assert settings.sizes == [7, 17]
    assert spec.control_hz == 10
    assert spec.observation_shapes[STATE_KEY] == (24,)
    assert [spec.observation_shapes[key] for key in spec.image_keys] == [(224, 224, 3)] * 3
    assert settings.command[1].rate_hz == 40  # type: ignore[union-attr]
    assert np.less(spec.action_low, spec.action_high).all()
    assert component_numbers(["orca_joint_targets_position.wrist"], spec) == [7]
    assert component_numbers(["franka_target_pose_pose_orientation_xyzw.3"], spec) == [6]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('key = "observation.images.front"', 'key = "front"', "observation.images.NAME"),
        ('topic = "/arm/pose"', 'topic = "arm/pose"', "begin it with '/'"),
        ("rate_hz = 40.0", "rate_hz = -1.0", "rate_hz -1.0"),
        ("rate_hz = 40.0", "rate = 40.0", "unknown field 'rate'"),
        ('measured = "/arm/pose"', 'measured = "/hand/joints"', "of the same type"),
        ('measured = "/hand/joints"', 'measured = ""', "leave rate_hz out, or name measured"),
        ('topic = "/hand/commands"', 'topic = "/hand/joints"', "observed and commanded"),
        ("tolerance_s = 0.1", "tolerance_s = -0.1", "tolerance_s -0.1"),
        ("low = [-1.0, -1.0]", "low = [-1.0]", "as many of both"),
        ('reliability = "reliable"', 'reliability = "maybe"', "invalid enum value 'maybe'"),
        ("command_s = 0.5", "", "missing required field 'command_s'"),
        ("control_hz = 10.0", "control_hz = 0", "control_hz is 0"),
    ],
)
def test_mistakes_are_told_with_their_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    path = tmp_path / "arm.toml"
    assert old in SETTINGS
    path.write_text(SETTINGS.replace(old, new, 1))
    with pytest.raises(ConfigError) as told:
        read_settings(path)
    assert said in str(told.value).replace("`", "'")
    assert "arm.toml" in str(told.value)


def test_no_file_and_no_toml(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nothing\.toml"):
        read_settings(tmp_path / "nothing.toml")
    path = tmp_path / "broken.toml"
    path.write_text("control_hz = ")
    with pytest.raises(StoreError, match="no TOML"):
        read_settings(path)
