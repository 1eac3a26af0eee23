"""The tests that need ROS 2, where its wheels are: in an environment of their own."""

from __future__ import annotations

import importlib.util
import re

import pytest
import ros2_environment

FILES = [f"tests/robot/ros2/test_{name}.py" for name in ("robot", "session", "command")]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("rclpy") is not None, reason="ROS 2 is here")
def test_robots_behind_ros2_topics() -> None:
    if problem := ros2_environment.ENVIRONMENT.problem():
        pytest.skip(problem)
    words = ["-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "--durations=5", *FILES]
    done = ros2_environment.run(*words, timeout_s=600)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert re.search(r"\d\d passed", done.stdout), done.stdout
    assert "needs ROS 2" not in done.stdout, done.stdout
