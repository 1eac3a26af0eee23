"""Numbers and pictures out of ROS messages, as `softflow data import rosbag` takes them.

Nothing in here imports ROS: messages of `rclpy` and of `rosbags` are the same to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from softflow.errors import DataError
from softflow.formats.rosbag.images import CHANNELS, frame
from softflow.formats.rosbag.resampling import QUATERNION_TOLERANCE
from softflow.robot.ros2.signal_settings import ROTATIONS, Camera, Joints, Signal

JointField = Literal["position", "velocity", "effort"]
COMPRESSED = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
"""How JPEG and PNG begin."""


def joint_values(message: Any, names: Sequence[str], field: JointField) -> np.ndarray:
    """Values of joints in a `JointState`, float64, in the order of `names`.

    Raises:
        DataError: a joint is not in it, or not all have this value.
    """
    there = list(message.name)
    values = np.asarray(getattr(message, field), np.float64)
    if len(values) != len(there):
        raise DataError(
            f"{len(values)} values of '{field}' for {len(there)} joints; the driver does not tell "
            "it: choose another field"
        )
    absent = [name for name in names if name not in there]
    if absent:
        raise DataError(f"no joint {absent[0]!r:.60}, only {there!r:.300}; correct the names")
    return values[[there.index(name) for name in names]]


def pose_values(message: Any, frame_id: str = "") -> np.ndarray:
    """A `PoseStamped` as float64 [7]: x, y, z, then a unit quaternion x, y, z, w.

    Args:
        message: the message.
        frame_id: the frame it must be in; empty takes any.

    Raises:
        DataError: another frame, or a quaternion that is none.
    """
    if frame_id and message.header.frame_id != frame_id:
        raise DataError(f"it is in the frame {message.header.frame_id!r:.60}, not {frame_id!r}")
    place, turn = message.pose.position, message.pose.orientation
    pose = np.array([place.x, place.y, place.z, turn.x, turn.y, turn.z, turn.w], np.float64)
    norm = float(np.linalg.norm(pose[ROTATIONS]))
    if not abs(norm - 1) <= QUATERNION_TOLERANCE:
        raise DataError(f"its quaternion has norm {norm:.4g}, not 1; it is no orientation")
    pose[ROTATIONS] /= norm
    return pose


def with_sign_of(quaternion: np.ndarray, before: np.ndarray | None) -> np.ndarray:
    """A quaternion x, y, z, w or its negative, whichever is nearer to the one before.

    The first of an episode has a positive w, as in imported data.
    """
    against = np.array([0.0, 0.0, 0.0, 1.0]) if before is None else before
    return -quaternion if float(quaternion @ against) < 0 else quaternion


def picture(message: Any, camera: Camera) -> np.ndarray:
    """A camera's picture, uint8 [height, width, 3] of the size in the settings.

    Raises:
        DataError: too large, no JPEG or PNG, grey where colours are asked for, or damaged.
    """
    if len(message.data) > camera.max_bytes:
        raise DataError(f"{len(message.data):,} bytes; max_bytes is {camera.max_bytes:,}")
    if camera.compressed:
        if not bytes(message.data[:8]).startswith(COMPRESSED):
            raise DataError(f"format {message.format!r:.40} is no JPEG or PNG; choose one of them")
    elif not camera.grey and CHANNELS.get(message.encoding, (3,))[0] == 1:
        raise DataError(
            f"its pictures are grey ({message.encoding}); say grey = true if that is meant"
        )
    return frame(message, camera.size, camera.crop)


class SignalDecoder:
    """One entry of the settings in its topic's messages; knows the signs of quaternions.

    Args:
        signal: the entry.
    """

    def __init__(self, signal: Signal) -> None:
        self.signal = signal
        self._turn: np.ndarray | None = None

    def begin_episode(self) -> None:
        """Forget the signs of the episode before."""
        self._turn = None

    def __call__(self, message: Any) -> np.ndarray:
        """Its part of an observation: float64 numbers, or uint8 of pictures that were decoded.

        Raises:
            DataError: the message does not hold it.
        """
        signal = self.signal
        if isinstance(signal, Camera):
            return message[signal.key]
        if isinstance(signal, Joints):
            return joint_values(message, signal.names, signal.field)
        pose = pose_values(message, signal.frame_id)
        pose[ROTATIONS] = self._turn = with_sign_of(pose[ROTATIONS], self._turn)
        return pose[signal.numbers]


def concerns(message: Any, joints: frozenset[str]) -> bool:
    """Whether a message tells of any of these joints; with none given, it does.

    Drivers of several parts often share a topic.
    """
    return not joints or not joints.isdisjoint(message.name)
