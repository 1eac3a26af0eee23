"""The node: what it takes for a calibration, and a picture in, a pose out where ROS 2 is."""

from __future__ import annotations

import os
import threading
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from softflow.errors import ConfigError
from softflow.perception.camera import pinhole
from softflow.perception.cube_model import CubeModel
from softflow.perception.detectors.checkpoints import Detector
from softflow.perception.detectors.detection import Batch, CornerNetwork, Detection
from softflow.perception.geometry import Pose
from softflow.perception.ros2_node import CubePoseNode, NodeSettings, calibration_of
from softflow.robot.ros2.rclpy_modules import ros

CAMERA = pinhole(320, 240, 54.0)
TRUE = Pose(np.eye(3), np.array([0.02, -0.01, 0.3]))


class Sees(CornerNetwork):
    """Sees the cube at one pose in every bright picture."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        raise NotImplementedError

    def detect(self, pictures: Tensor) -> list[Detection | None]:
        if int(pictures.max()) < 100:
            return [None]
        corners = CAMERA.project(TRUE.apply(CubeModel().corners_m))
        ones, mask = np.ones(8), np.zeros((240, 320), bool)
        each = np.ones((8, 1))
        box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
        return [Detection(0.9, box, corners[:, None], 0.3 * each, each, ones, mask)]


def info(**others: Any) -> SimpleNamespace:
    """A CameraInfo."""
    values = {"width": 320, "height": 240, "distortion_model": "plumb_bob", "d": [0.0] * 5}
    k = [CAMERA.fx, 0.0, CAMERA.cx, 0.0, CAMERA.fy, CAMERA.cy, 0.0, 0.0, 1.0]
    return SimpleNamespace(**{**values, "k": k, **others})


def test_camera_info_is_a_calibration() -> None:
    assert calibration_of(info()) == CAMERA
    bent = calibration_of(info(d=[0.1, 0.0, 0.0, 0.0, 0.2]))
    assert bent.distortion == (0.1, 0.0, 0.0, 0.0, 0.2)
    np.testing.assert_array_equal(bent.matrix, CAMERA.matrix)


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ({"k": [0.0] * 9}, "no calibration.*calibrate the camera"),
        ({"distortion_model": "equidistant"}, "model is 'equidistant'"),
        ({"width": 100}, "optical axis"),
    ],
)
def test_camera_info_that_holds_none(others: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        calibration_of(info(**others))


def test_a_camera_without_calibration_and_a_topic_that_is_none() -> None:
    detector = Detector(Sees(), CubeModel(), 1)
    with pytest.raises(ConfigError, match=r"no calibration.*--camera-info"):
        CubePoseNode(detector, None, NodeSettings("/camera/image"))
    with pytest.raises(ConfigError, match="begin it with '/'"):
        NodeSettings("camera/image")


def test_pictures_in_poses_out(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2", exc_type=ImportError)
    parts = ros()
    monkeypatch.setenv("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    worker = CubePoseNode(Detector(Sees().eval(), CubeModel(), 1), CAMERA, NodeSettings("/eye"))
    stop = threading.Event()
    thread = threading.Thread(target=worker.run, args=(stop,))
    thread.start()
    context = parts.context.Context()
    parts.rclpy.init(context=context, args=[])
    other = parts.rclpy.create_node("other", context=context)
    heard: list[Any] = []
    other.create_subscription(parts.geometry.PoseStamped, "/cube/pose", heard.append, 10)
    eye = other.create_publisher(parts.sensors.Image, "/eye", parts.qos.qos_profile_sensor_data)
    executor = parts.executors.SingleThreadedExecutor(context=context)
    executor.add_node(other)
    message = parts.sensors.Image(height=240, width=320, step=960, encoding="rgb8")
    message.header.frame_id = "eye_optical"
    deadline_s, second = time.monotonic() + 60, 0
    while len(heard) < 3 and time.monotonic() < deadline_s:
        second += 1
        message.header.stamp.sec, message.header.stamp.nanosec = 100, second * 50_000_000
        message.data = np.full(240 * 960, 200, np.uint8).tobytes()
        eye.publish(message)
        executor.spin_once(timeout_sec=0.1)
    stop.set()
    thread.join(20)
    worker.close()
    other.destroy_node()
    context.try_shutdown()
    assert len(heard) >= 3
    assert heard[-1].header.frame_id == "eye_optical"
    assert heard[-1].header.stamp.sec == 100
    place = heard[-1].pose.position
    assert (place.x, place.y, place.z) == pytest.approx(tuple(TRUE.position_m), abs=1e-4)
    assert abs(heard[-1].pose.orientation.w) == pytest.approx(1.0, abs=1e-6)
