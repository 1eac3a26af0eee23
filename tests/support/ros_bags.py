"""ROS messages and bags with recognisable content, written by the real `rosbags` package."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from rosbags.typesys.store import Typestore

START_S = 1_700_000_000
"""When the recordings begin, seconds since 1970."""

Message = tuple[str, float, Any]
"""Topic, time of receipt (seconds from START_S), message."""
TYPES = get_typestore(Stores.ROS2_JAZZY)


def nanoseconds(seconds: float) -> int:
    return START_S * 1_000_000_000 + round(seconds * 1e9)


class Ros:
    """Makes ROS messages; `stamp` is in seconds from START_S, None leaves it 0."""

    types = TYPES
    start_s = START_S

    def make(self, kind: str, **fields: Any) -> Any:
        return TYPES.types[kind](**fields)

    def header(self, stamp: float | None) -> Any:
        time = 0 if stamp is None else nanoseconds(stamp)
        parts = divmod(time, 1_000_000_000)
        clock = self.make("builtin_interfaces/msg/Time", sec=parts[0], nanosec=parts[1])
        return self.make("std_msgs/msg/Header", stamp=clock, frame_id="base")

    def joints(
        self, names: Sequence[str], position: Sequence[float], stamp: float | None = None
    ) -> Any:
        empty = np.zeros(0)
        return self.make(
            "sensor_msgs/msg/JointState",
            header=self.header(stamp),
            name=list(names),
            position=np.array(position, np.float64),
            velocity=empty,
            effort=empty,
        )

    def pose(
        self, position: Sequence[float], xyzw: Sequence[float], stamp: float | None = None
    ) -> Any:
        point = self.make("geometry_msgs/msg/Point", **dict(zip("xyz", position, strict=True)))
        turn = self.make("geometry_msgs/msg/Quaternion", **dict(zip("xyzw", xyzw, strict=True)))
        pose = self.make("geometry_msgs/msg/Pose", position=point, orientation=turn)
        return self.make("geometry_msgs/msg/PoseStamped", header=self.header(stamp), pose=pose)

    def number(self, value: float) -> Any:
        return self.make("std_msgs/msg/Float64", data=float(value))

    def flag(self, value: bool) -> Any:
        return self.make("std_msgs/msg/Bool", data=value)

    def text(self, value: str) -> Any:
        return self.make("std_msgs/msg/String", data=value)

    def image(
        self,
        pixels: np.ndarray,
        encoding: str = "rgb8",
        stamp: float | None = None,
        padding: int = 0,
    ) -> Any:
        height, width = pixels.shape[:2]
        rows = pixels.reshape(height, -1)
        padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
        return self.make(
            "sensor_msgs/msg/Image",
            header=self.header(stamp),
            height=height,
            width=width,
            encoding=encoding,
            is_bigendian=0,
            step=padded.shape[1],
            data=padded.reshape(-1).astype(np.uint8),
        )

    def compressed(self, pixels: np.ndarray, kind: str = "png", stamp: float | None = None) -> Any:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, kind)
        return self.make(
            "sensor_msgs/msg/CompressedImage",
            header=self.header(stamp),
            format=f"rgb8; {kind} compressed bgr8",
            data=np.frombuffer(buffer.getvalue(), np.uint8),
        )

    def write(
        self,
        path: Path,
        messages: Iterable[Message],
        *,
        storage: str = "mcap",
        topics: dict[str, str] | None = None,
        types: Typestore = TYPES,
        setup: Callable[[Writer], None] | None = None,
    ) -> Path:
        """A bag with these messages in this order; `topics` are there even without messages."""
        plugin = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}[storage]
        writer = Writer(path, version=9, storage_plugin=plugin)
        if setup:
            setup(writer)
        with writer:
            connections = {
                topic: writer.add_connection(topic, kind, typestore=types)
                for topic, kind in (topics or {}).items()
            }
            for topic, receive_s, message in messages:
                kind = message.__msgtype__
                if topic not in connections:
                    connections[topic] = writer.add_connection(topic, kind, typestore=types)
                data = types.serialize_cdr(message, kind)
                writer.write(connections[topic], nanoseconds(receive_s), data)
        return path
