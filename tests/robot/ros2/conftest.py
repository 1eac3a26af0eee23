"""A simulated arm behind real ROS 2 topics, in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ros_arm

from softflow.robot.ros2.settings import Ros2Settings, read_settings

DOMAINS = 100


@pytest.fixture
def domain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else hears it: not another test, not another machine."""
    pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
    monkeypatch.setenv("ROS_DOMAIN_ID", str(1 + os.getpid() % DOMAINS))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    path = tmp_path / "arm.toml"
    path.write_text(ros_arm.SETTINGS)
    return path


@pytest.fixture
def settings(settings_file: Path) -> Ros2Settings:
    return read_settings(settings_file)


@pytest.fixture
def arm_process(tmp_path: Path, domain: None) -> Iterator[subprocess.Popen[bytes]]:
    """The arm runs; what it notes is in `tmp_path / "notes"`."""
    notes = tmp_path / "notes"
    process = subprocess.Popen([sys.executable, ros_arm.__file__, str(notes)])
    deadline_s = time.monotonic() + 60
    while not notes.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def arm(tmp_path: Path, arm_process: object) -> Path:
    """The arm runs; what it notes is in this file."""
    return tmp_path / "notes"
