"""An arm with a hand behind real ROS 2 topics, a process of its own: `python ros_arm.py NOTES`.

It goes where it is commanded, publishes what is so every 10 ms, and notes what it was told.
"""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Picture

from softflow.robot.ros2.rclpy_modules import ros

TIMES = """
[qos]
sensors = { reliability = "best_effort", depth = 5 }
commands = { reliability = "reliable", depth = 10 }
[timeouts]
first_messages_s = 20.0
command_s = 0.5
service_s = 20.0
"""
"""How messages travel, and how long they may take."""
SETTINGS = f"""
control_hz = 10.0
max_episode_steps = 12
episode_topic = "/softflow/episode"
[matching]
tolerance_s = 0.1
{TIMES}[services]
reset = "/arm/reset"
stop = "/arm/stop"
stop_topic = "/arm/stopped"
[[observation]]
type = "pose"
key = "observation.state"
topic = "/arm/pose"
[[observation]]
type = "joints"
key = "observation.state"
topic = "/hand/joints"
names = ["thumb", "index"]
[[observation]]
type = "image"
key = "observation.images.front"
topic = "/front"
size = [8, 12]
[[observation]]
type = "image"
key = "observation.images.wrist"
topic = "/wrist/compressed"
compressed = true
size = [8, 12]
[[command]]
type = "pose"
topic = "/arm/target"
measured = "/arm/pose"
low = [-1.0, -1.0, -1.0]
high = [1.0, 1.0, 1.0]
[[command]]
type = "joints"
topic = "/hand/commands"
target_topic = "/hand/targets"
rate_hz = 40.0
measured = "/hand/joints"
names = ["index", "thumb"]
low = [-1.0, -1.0]
high = [1.0, 1.0]
"""
"""The order of joints differs between messages, observation and action."""

EVERY_S = 0.01
PICTURE_EVERY = 3


class Arm:
    """The node; `publish` once per period."""

    def __init__(self, notes: Path) -> None:
        modules = ros()
        self.sensors, self.geometry = modules.sensors, modules.geometry
        self.notes = notes
        self.spin_once = modules.rclpy.spin_once
        modules.rclpy.init()
        self.node = modules.rclpy.create_node("arm")
        self.place, self.joints = np.array([0.1, 0.2, 0.3]), {"index": 0.4, "thumb": -0.4}
        self.count = 0
        node = self.node
        self.pose = node.create_publisher(self.geometry.PoseStamped, "/arm/pose", 10)
        self.hand = node.create_publisher(self.sensors.JointState, "/hand/joints", 10)
        self.front = node.create_publisher(self.sensors.Image, "/front", 10)
        self.wrist = node.create_publisher(self.sensors.CompressedImage, "/wrist/compressed", 10)
        node.create_subscription(self.geometry.PoseStamped, "/arm/target", self._moved, 10)
        node.create_subscription(self.sensors.JointState, "/hand/commands", self._hand, 100)
        node.create_subscription(
            modules.standard.Bool, "/arm/stopped", lambda m: self._note(f"told {m.data}"), 10
        )
        node.create_service(modules.services.Trigger, "/arm/reset", self._reset)
        node.create_service(modules.services.Trigger, "/arm/stop", self._stop)

    def _note(self, text: str) -> None:
        with self.notes.open("a") as file:
            file.write(f"{text}\n")

    def _moved(self, message: Any) -> None:
        place = message.pose.position
        self.place = np.array([place.x, place.y, place.z])
        self._note(f"pose {time.monotonic()} {place.x}")

    def _hand(self, message: Any) -> None:
        self.joints = dict(zip(message.name, message.position, strict=True))
        self._note(f"hand {time.monotonic()} {self.joints['index']}")

    def _reset(self, _request: Any, response: Any) -> Any:
        self._note("reset")
        response.success = True
        return response

    def _stop(self, _request: Any, response: Any) -> Any:
        self._note("stop")
        response.success = True
        return response

    def publish(self) -> None:
        """Say what is so; pictures now and then."""
        stamp = self.node.get_clock().now().to_msg()
        pose = self.geometry.PoseStamped()
        pose.header.stamp = stamp
        pose.pose.position.x, pose.pose.position.y, pose.pose.position.z = map(float, self.place)
        self.pose.publish(pose)
        joints = self.sensors.JointState(name=["spare", *self.joints])
        joints.header.stamp = stamp
        joints.position = [9.0, *self.joints.values()]
        self.hand.publish(joints)
        other = self.sensors.JointState(name=["wheel"], position=[1.0])
        other.header.stamp = self.node.get_clock().now().to_msg()
        self.hand.publish(other)
        if self.count % PICTURE_EVERY == 0:
            self._pictures(stamp)
        self.count += 1

    def _pictures(self, stamp: Any) -> None:
        pixels = np.full((8, 12, 3), (200, 100, self.count % 250), np.uint8)
        raw = self.sensors.Image(height=8, width=12, step=36, encoding="bgr8")
        raw.header.stamp, raw.data = stamp, pixels[:, :, ::-1].tobytes()
        self.front.publish(raw)
        file = io.BytesIO()
        Picture.fromarray(pixels).save(file, "png")
        small = self.sensors.CompressedImage(format="png", data=file.getvalue())
        small.header.stamp = stamp
        self.wrist.publish(small)


def main(notes: Path) -> None:
    """Until it is killed."""
    arm = Arm(notes)
    notes.write_text("ready\n")
    due_s = time.monotonic()
    while True:
        due_s = max(due_s + EVERY_S, time.monotonic())
        arm.publish()
        while (left_s := due_s - time.monotonic()) > 0:
            arm.spin_once(arm.node, timeout_sec=left_s)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
