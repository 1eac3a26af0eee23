"""The ROS 2 node of a robot: receives into buffers, sends messages, calls services.

One thread of its own runs ROS's callbacks; whatever it meets is a fault that the control loop is
told of. Nothing in here decides what is sent.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from softflow.errors import RobotStoppedError, brief
from softflow.robot.ros2.message_decoding import concerns
from softflow.robot.ros2.picture_decoding import PictureDecoding
from softflow.robot.ros2.rclpy_modules import ros
from softflow.robot.ros2.settings import Quality, Ros2Settings
from softflow.robot.ros2.signal_settings import Camera, Joints, Signal
from softflow.robot.ros2.topic_buffers import NANOSECONDS, Received, TopicBuffers
from softflow.utils.console import say

SPIN_S = 0.1
LOOK_EVERY_S = 0.01
CLOSE_S = 2.0


class RobotNode:
    """Listens from when it is made until `close`.

    Args:
        settings: of the robot.
        buffers: what is received goes there.

    Raises:
        MissingPackageError: there is no ROS 2.
    """

    def __init__(self, settings: Ros2Settings, buffers: TopicBuffers) -> None:
        self.ros = ros()
        self._settings, self._buffers = settings, buffers
        self.fault = ""
        self._too_large: set[str] = set()
        self._pictures = _decodings(settings, buffers)
        self._heard: list[Any] = []
        self._context = self.ros.context.Context()
        # Ctrl-C is the command's: it stops the robot first.
        self.ros.rclpy.init(context=self._context, args=[])
        self._node = self.ros.rclpy.create_node(settings.node, context=self._context)
        self._subscribe()
        trigger = self.ros.services.Trigger
        self._node.create_service(trigger, f"/{settings.node}/stop", self._asked_to_stop)
        self._executor = self.ros.executors.SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="ros2", daemon=True)
        self._thread.start()

    def publisher(self, kind: type, topic: str, *, must_be_heard: bool = False) -> Any:
        """What sends messages of a kind; `publish(message)` may be called in any thread.

        Args:
            kind, topic: what, and where.
            must_be_heard: whether `wait_until_heard` waits for somebody who listens.
        """
        quality = self._quality(self._settings.qos.commands)
        publisher = self._node.create_publisher(kind, topic, quality)
        if must_be_heard:
            self._heard.append(publisher)
        return publisher

    def listen(self, kind: type, topic: str, hear: Callable[[Any], None]) -> None:
        """Have a function hear every message of a topic, in the node's thread."""
        quality = self._quality(self._settings.qos.commands)
        self._node.create_subscription(kind, topic, hear, quality)

    def wait_until_heard(self) -> None:
        """Wait until somebody listens to every topic that must be heard.

        Raises:
            RobotStoppedError: says to which ones nobody does.
        """
        patience_s = self._settings.timeouts.first_messages_s
        deadline_s = time.monotonic() + patience_s
        while unheard := [p.topic_name for p in self._heard if not p.get_subscription_count()]:
            if time.monotonic() > deadline_s:
                raise RobotStoppedError(
                    f"within {patience_s:g} s nobody listened to {', '.join(unheard)}; start the "
                    "robot's driver, with the topics and qos of the settings and the same "
                    "ROS_DOMAIN_ID. Nothing was commanded"
                )
            time.sleep(LOOK_EVERY_S)

    def stamp(self) -> Any:
        """The time for a message's header."""
        return self._node.get_clock().now().to_msg()

    def trigger(self, service: str) -> None:
        """Call a `std_srvs/srv/Trigger` of the robot and wait for its answer.

        Raises:
            RobotStoppedError: it is not there, does not answer in time, or says no.
        """
        kind, patience_s = self.ros.services.Trigger, self._settings.timeouts.service_s
        client = self._node.create_client(kind, service)
        deadline_s = time.monotonic() + patience_s
        try:
            if not client.wait_for_service(timeout_sec=patience_s):
                raise RobotStoppedError(f"nobody offers the service {service}; start its node")
            answered, future = threading.Event(), client.call_async(kind.Request())
            future.add_done_callback(lambda _: answered.set())
            if not answered.wait(max(deadline_s - time.monotonic(), 0.0)):
                raise RobotStoppedError(
                    f"the service {service} did not answer within {patience_s:g} s (service_s)"
                )
            if not future.result().success:
                said = str(future.result().message)
                raise RobotStoppedError(f"the service {service} says no: {said:.200}")
        finally:
            self._node.destroy_client(client)

    def close(self) -> None:
        """Leave ROS; called once."""
        self._closing.set()
        self._executor.wake()
        self._thread.join(CLOSE_S)
        for decoding in self._pictures.values():
            decoding.close()
        self._executor.shutdown(timeout_sec=CLOSE_S)
        self._node.destroy_node()
        self._context.try_shutdown()

    def _subscribe(self) -> None:
        signals = {signal.topic: signal for signal in self._settings.observation}
        quality = self._quality(self._settings.qos.sensors)
        for topic, signal in signals.items():
            received = partial(self._received, signal, self._settings.joints_of(topic))
            self._node.create_subscription(self._kind(signal), topic, received, quality)

    def _kind(self, signal: Signal) -> type:
        if isinstance(signal, Camera):
            sensors = self.ros.sensors
            return sensors.CompressedImage if signal.compressed else sensors.Image
        if isinstance(signal, Joints):
            return self.ros.sensors.JointState
        return self.ros.geometry.PoseStamped

    def _quality(self, quality: Quality) -> Any:
        qos = self.ros.qos
        return qos.QoSProfile(
            depth=quality.depth,
            history=qos.HistoryPolicy.KEEP_LAST,
            reliability=qos.ReliabilityPolicy[quality.reliability.upper()],
            durability=qos.DurabilityPolicy.VOLATILE,
        )

    def _received(self, signal: Signal, joints: frozenset[str], message: Any) -> None:
        monotonic_s = time.monotonic()
        ros_ns = self._node.get_clock().now().nanoseconds
        if isinstance(signal, Camera):
            if self._is_too_large(signal, message):
                return
        elif isinstance(signal, Joints) and not concerns(message, joints):
            return
        stamp = message.header.stamp
        stamp_ns = stamp.sec * NANOSECONDS + stamp.nanosec
        # As an import has it: drivers that do not stamp leave it 0.
        if self._settings.matching.clock == "receive" or not stamp_ns:
            stamp_ns = ros_ns
        received = Received(message, stamp_ns, ros_ns, monotonic_s)
        if isinstance(signal, Camera):
            self._pictures[signal.topic].take(received)
        else:
            self._buffers.add(signal.topic, received)

    def _is_too_large(self, camera: Camera, message: Any) -> bool:
        """Whether a message is not even kept; it is told once."""
        size = len(message.data)
        if size > camera.max_bytes and camera.topic not in self._too_large:
            self._too_large.add(camera.topic)
            what = f"{size:,} bytes, and max_bytes is {camera.max_bytes:,}"
            say(f"pictures of {camera.topic} are dropped: {what}", to_errors=True)
        return size > camera.max_bytes

    def _asked_to_stop(self, _request: Any, response: Any) -> Any:
        self.fault = (
            f"stopped by the service /{self._settings.node}/stop; look around, then run the "
            "command again"
        )
        response.success = True
        return response

    def _spin(self) -> None:
        while not self._closing.is_set():
            try:
                self._executor.spin_once(timeout_sec=SPIN_S)
            except Exception as error:
                self.fault = f"ROS 2 raised {brief(error)}; restart it, then start again"
                return


def _decodings(settings: Ros2Settings, buffers: TopicBuffers) -> dict[str, PictureDecoding]:
    """A thread for each topic with pictures."""
    cameras: dict[str, list[Camera]] = {}
    for signal in settings.observation:
        if isinstance(signal, Camera):
            cameras.setdefault(signal.topic, []).append(signal)
    return {topic: PictureDecoding(topic, own, buffers) for topic, own in cameras.items()}
