"""Writes a bag of everything that is sent on some topics, as `ros2 bag record` would.

Two nodes find each other one after the other, and each end of a topic on its own: on a busy machine
it takes seconds. What is sent before is lost, so `Heard` says what has been found.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from softflow.robot.ros2.rclpy_modules import ros

TYPES = get_typestore(Stores.ROS2_JAZZY)


def message_kind(name: str) -> type:
    """The class of a message type such as std_msgs/msg/Bool."""
    package, _, kind = name.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), kind)


@dataclass
class Heard:
    """Topics that came so far, and those of which the recorder knows the sender."""

    came: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)


@contextmanager
def recording(path: Path, topics: dict[str, str]) -> Iterator[Heard]:
    """A bag at `path` of these topics (topic -> type), from now until the block ends."""
    modules = ros()
    context = modules.context.Context()
    modules.rclpy.init(context=context)
    node = modules.rclpy.create_node("recorder", context=context)
    received: list[tuple[str, int, bytes]] = []
    heard = Heard()

    def keep(topic: str, data: Any) -> None:
        received.append((topic, time.time_ns(), bytes(data)))
        heard.came.add(topic)

    quality = modules.qos.QoSProfile(depth=100)
    events = importlib.import_module("rclpy.event_handler").SubscriptionEventCallbacks
    for topic, kind in topics.items():
        node.create_subscription(
            message_kind(kind),
            topic,
            partial(keep, topic),
            quality,
            event_callbacks=events(matched=lambda _, topic=topic: heard.known.add(topic)),
            raw=True,
        )
    executor = modules.executors.SingleThreadedExecutor(context=context)
    executor.add_node(node)
    ended = threading.Event()

    def spin() -> None:
        while not ended.is_set():
            executor.spin_once(timeout_sec=0.1)

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        time.sleep(0.5)  # the last messages
        ended.set()
        thread.join(5)
        executor.shutdown(timeout_sec=5)
        node.destroy_node()
        context.try_shutdown()
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connections = {t: writer.add_connection(t, k, typestore=TYPES) for t, k in topics.items()}
        for topic, time_ns, data in received:
            writer.write(connections[topic], time_ns, data)
