"""A ROS 2 node: pictures of a camera in, the cube's pose out as PoseStamped.

It keeps the newest picture only: where detection is slower than the camera, pictures in between are
left out instead of piling up. The pose has the stamp and frame of its picture. Nothing is sent
while no cube is known.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from softflow.errors import ConfigError, DataError
from softflow.formats.rosbag.images import frame
from softflow.perception.camera import Calibration
from softflow.perception.detectors.checkpoints import Detector
from softflow.perception.geometry import quat_wxyz
from softflow.perception.pose.confidence import SURE, require_confidence
from softflow.perception.pose.filter import FilterConfig, FilteredPose
from softflow.perception.tracker import CubeTracker
from softflow.robot.ros2.rclpy_modules import ros
from softflow.robot.ros2.signal_settings import require_topic
from softflow.utils.console import say

NANOSECONDS = 1_000_000_000
SPIN_S = 0.05


@dataclass(frozen=True)
class NodeSettings:
    """Where a node listens and speaks.

    Attributes:
        image_topic: `sensor_msgs/msg/Image`, or `CompressedImage` if `compressed`.
        pose_topic: where `geometry_msgs/msg/PoseStamped` goes.
        compressed: whether pictures are JPEG or PNG.
        camera_info_topic: `sensor_msgs/msg/CameraInfo` with the calibration, where no file has it.
        node: the node's name.
        min_confidence: poses that are less sure count as not seen.

    Raises:
        ConfigError: a topic that is none, or a confidence outside of 0 to 1.
    """

    image_topic: str
    pose_topic: str = "/cube/pose"
    compressed: bool = False
    camera_info_topic: str = ""
    node: str = "softflow_cube_pose"
    min_confidence: float = SURE

    def __post_init__(self) -> None:
        require_confidence(self.min_confidence)
        for topic in (self.image_topic, self.pose_topic, self.camera_info_topic or "/none"):
            require_topic(topic)


class CubePoseNode:
    """Listens from when it is made until `close`.

    Args:
        detector: finds the corners.
        camera: calibration; None waits for the CameraInfo topic.
        settings: topics.
        config: of the filter.

    Raises:
        MissingPackageError: there is no ROS 2.
        ConfigError: neither a calibration nor a topic for one.
    """

    def __init__(
        self,
        detector: Detector,
        camera: Calibration | None,
        settings: NodeSettings,
        config: FilterConfig | None = None,
    ) -> None:
        if camera is None and not settings.camera_info_topic:
            raise ConfigError(
                "the camera has no calibration: give --calibration FILE, or --camera-info TOPIC"
            )
        self._detector, self._config, self._settings = detector, config, settings
        self._camera, self._tracker = camera, None
        self._newest: Any = None
        self._told: set[str] = set()
        self.sent = 0
        self._ros = ros()
        self._context = self._ros.context.Context()
        self._ros.rclpy.init(context=self._context, args=[])
        self._node = self._ros.rclpy.create_node(settings.node, context=self._context)
        geometry = self._ros.geometry
        self._publisher = self._node.create_publisher(geometry.PoseStamped, settings.pose_topic, 1)
        self._subscribe()
        self._executor = self._ros.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop."""
        while not stop.is_set():
            self._executor.spin_once(timeout_sec=SPIN_S)
            message, self._newest = self._newest, None
            if message is not None:
                self._work_on(message)

    def close(self) -> None:
        """Leave ROS; called once."""
        self._executor.shutdown(timeout_sec=1.0)
        self._node.destroy_node()
        self._context.try_shutdown()

    def _subscribe(self) -> None:
        sensors, settings = self._ros.sensors, self._settings
        qos = self._ros.qos
        newest = qos.QoSProfile(
            depth=1,
            history=qos.HistoryPolicy.KEEP_LAST,
            reliability=qos.ReliabilityPolicy.BEST_EFFORT,
        )
        kind = sensors.CompressedImage if settings.compressed else sensors.Image
        self._node.create_subscription(kind, settings.image_topic, self._received, newest)
        if self._camera is None:
            topic = settings.camera_info_topic
            self._node.create_subscription(sensors.CameraInfo, topic, self._calibrated, newest)

    def _received(self, message: Any) -> None:
        self._newest = message

    def _calibrated(self, message: Any) -> None:
        if self._camera is None:
            self._camera = self._once(lambda: calibration_of(message))

    def _work_on(self, message: Any) -> None:
        if self._camera is None:
            return
        if self._tracker is None:
            least = self._settings.min_confidence
            self._tracker = CubeTracker(self._detector, self._camera, self._config, least)
        tracker, stamp = self._tracker, message.header.stamp
        time_s = stamp.sec + stamp.nanosec / NANOSECONDS or time.time()
        tracked = self._once(lambda: tracker.step(time_s, frame(message)))
        if tracked is not None and tracked.filtered is not None:
            self._publisher.publish(self._message(tracked.filtered, message.header))
            self.sent += 1

    def _once(self, work: Callable[[], Any]) -> Any:
        """What some work gives, or None and a line, told once, if the message is at fault."""
        try:
            return work()
        except (DataError, ConfigError) as error:
            if str(error) not in self._told and len(self._told) < 20:
                self._told.add(str(error))
                say(f"a picture is left out: {error}", to_errors=True)
            return None

    def _message(self, filtered: FilteredPose, header: Any) -> Any:
        message = self._ros.geometry.PoseStamped(header=header)
        place, turn = message.pose.position, message.pose.orientation
        place.x, place.y, place.z = map(float, filtered.pose.position_m)
        turn.w, turn.x, turn.y, turn.z = map(float, quat_wxyz(filtered.pose.rotation))
        return message


def calibration_of(message: Any) -> Calibration:
    """A `sensor_msgs/msg/CameraInfo` as a calibration.

    Raises:
        ConfigError: it holds none (drivers send zeros then), or a model that is no pinhole.
    """
    matrix = np.asarray(message.k, np.float64)
    if message.distortion_model not in ("", "plumb_bob", "rational_polynomial"):
        raise ConfigError(
            f"the camera's distortion model is {message.distortion_model!r:.40}; rectify its "
            "pictures and give --calibration FILE"
        )
    if matrix.shape != (9,) or not matrix[0] > 0:
        raise ConfigError(
            "the camera's CameraInfo holds no calibration (its k is zero); calibrate the camera, "
            "or give --calibration FILE"
        )
    fx, _, cx, _, fy, cy = matrix[:6]
    bent = tuple(map(float, message.d)) if any(message.d) else ()
    size = int(message.width), int(message.height)
    return Calibration(*size, float(fx), float(fy), float(cx), float(cy), bent)
