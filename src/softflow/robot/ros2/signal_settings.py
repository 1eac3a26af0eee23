"""Which topics become which observations and which actions become which commands.

They are read from a file (`settings_file.py`), so every name in here is a name there. What they
hold is named as `softflow data import rosbag` names it, so that a bag of a run fits to the run.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from softflow.data.data_spec import IMAGE_PREFIX, OBSERVATION_PREFIX
from softflow.errors import ConfigError
from softflow.formats.rosbag.mapping import stem

MIB = 2**20
MAX_RATE_HZ = 1000.0
POSE_SIZE = 7
POSITIONS, ROTATIONS = slice(0, 3), slice(3, POSE_SIZE)


def require(holds: bool, what: str, fix: str) -> None:
    """Raise ConfigError unless something holds."""
    if not holds:
        raise ConfigError(f"{what}; {fix}")


def require_topic(name: str) -> None:
    """Raise ConfigError unless it is the absolute name of a topic, or of a service."""
    fix = "begin it with '/', and give letters, digits, '_' and '/' alone"
    require(bool(re.fullmatch(r"(/[A-Za-z_]\w*)+", name, re.ASCII)), f"the topic {name!r}", fix)


def _require_names(names: Sequence[str], topic: str) -> None:
    require(len(names) > 0, f"{topic} has no names", "name its joints: order alone means nothing")
    require(len(set(names)) == len(names), f"{topic} names a joint twice", "name each once")


class _Schema(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """What all of them share: an entry says its type."""


class Joints(_Schema, frozen=True, tag="joints"):
    """Joints of a `sensor_msgs/msg/JointState` topic, by name: other ones in it are left out.

    Args:
        key: of the observation; entries of one key are joined in the file's order.
        topic: the topic.
        names: joints to take, in this order.
        field: what of them.

    Raises:
        ConfigError: no names, or a key that is none.
    """

    key: str
    topic: str
    names: Sequence[str]
    field: Literal["position", "velocity", "effort"] = "position"

    def __post_init__(self) -> None:
        _require_numbers_key(self.key)
        require_topic(self.topic)
        _require_names(self.names, self.topic)

    @property
    def components(self) -> tuple[str, ...]:
        """What its numbers are called."""
        start = stem(self.topic, self.field)
        return tuple(f"{start}.{name}" for name in self.names)


class Pose(_Schema, frozen=True, tag="pose"):
    """A `geometry_msgs/msg/PoseStamped` topic: x, y, z, then the quaternion x, y, z, w.

    Args:
        key: of the observation; entries of one key are joined in the file's order.
        topic: the topic.
        part: all 7 numbers, or the first 3, or the last 4.
        frame_id: the frame that its messages must name; empty takes any.

    Raises:
        ConfigError: a key that is none.
    """

    key: str
    topic: str
    part: Literal["pose", "position", "orientation"] = "pose"
    frame_id: str = ""

    def __post_init__(self) -> None:
        _require_numbers_key(self.key)
        require_topic(self.topic)

    @property
    def numbers(self) -> slice:
        """Which of the pose's 7 numbers it takes."""
        parts = {"pose": slice(0, POSE_SIZE), "position": POSITIONS, "orientation": ROTATIONS}
        return parts[self.part]

    @property
    def components(self) -> tuple[str, ...]:
        """What its numbers are called."""
        return pose_components(self.topic)[self.numbers]


class Camera(_Schema, frozen=True, tag="image"):
    """A camera: `sensor_msgs/msg/Image`, or `CompressedImage` with JPEG or PNG.

    Args:
        key: observation.images.<camera>.
        topic: the topic.
        size: (height, width) to reduce pictures to.
        crop: (top, left, height, width) cut out before that, pixels.
        compressed: whether the topic is of `CompressedImage`.
        grey: whether grey pictures are taken, as three equal channels; else they are refused.
        max_bytes: of one message; larger ones are dropped.

    Raises:
        ConfigError: a size that is none.
    """

    key: str
    topic: str
    size: tuple[int, int]
    crop: tuple[int, int, int, int] | None = None
    compressed: bool = False
    grey: bool = False
    max_bytes: int = 64 * MIB

    def __post_init__(self) -> None:
        is_camera = self.key.startswith(IMAGE_PREFIX) and len(self.key) > len(IMAGE_PREFIX)
        require(is_camera, f"the camera has the key {self.key!r}", f"call it {IMAGE_PREFIX}NAME")
        require_topic(self.topic)
        told = f"the camera {self.key!r} has size {list(self.size)}, crop {self.crop}"
        inside = self.crop is None or (min(self.crop[:2]) >= 0 and min(self.crop[2:]) > 0)
        require(min(self.size) > 0 and inside, told, "give sizes above 0 in pixels")
        require(self.max_bytes > 0, f"{self.key!r} has max_bytes {self.max_bytes}", "give > 0")


Signal = Joints | Pose | Camera


class PoseCommand(_Schema, frozen=True, tag="pose"):
    """7 components of the action as a `geometry_msgs/msg/PoseStamped`, once a control step.

    Args:
        topic: where the pose is sent.
        measured: topic of an observed pose: where it stands before the first command.
        low, high: corners of the box that positions lie in, metres.
        frame_id: what the message says its frame is.

    Raises:
        ConfigError: a box without inside.
    """

    topic: str
    measured: str
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    frame_id: str = ""

    def __post_init__(self) -> None:
        require_topic(self.topic)
        _require_bounds(self.low, self.high, self.topic)

    @property
    def components(self) -> tuple[str, ...]:
        """What its part of the action is called."""
        return pose_components(self.topic)

    @property
    def bounds(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Lowest and highest value of each component."""
        return (*self.low, -1.0, -1.0, -1.0, -1.0), (*self.high, 1.0, 1.0, 1.0, 1.0)


class JointCommand(_Schema, frozen=True, tag="joints"):
    """Joint targets as a `sensor_msgs/msg/JointState` with the names.

    Args:
        topic: where targets are sent.
        names: joints, in the order of the action.
        measured: topic of observed joints with these names: where they stand before the first
            command. Empty: the values are steps or velocities, and 0 holds still.
        low, high: of each joint.
        rate_hz: how often; targets move evenly from one action to the next. 0 sends each action
            once, as it is.
        target_topic: where actions are sent as they are beside that, for recordings; a bag of
            interpolated targets alone does not tell what was decided.

    Raises:
        ConfigError: other numbers of bounds than joints, a rate that is none, or one for steps.
    """

    topic: str
    names: Sequence[str]
    measured: str
    low: Sequence[float]
    high: Sequence[float]
    rate_hz: float = 0.0
    target_topic: str = ""

    def __post_init__(self) -> None:
        require_topic(self.topic)
        _require_names(self.names, self.topic)
        _require_bounds(self.low, self.high, self.topic)
        sizes = f"{self.topic} has {len(self.names)} names and {len(self.low)} bounds"
        require(len(self.names) == len(self.low), sizes, "give one each")
        told = f"{self.topic} has rate_hz {self.rate_hz}"
        require(0 <= self.rate_hz <= MAX_RATE_HZ, told, f"give 0 to {MAX_RATE_HZ:g}")
        fix = "steps and velocities are sent as they come: leave rate_hz out, or name measured"
        require(bool(self.measured) or not self.rate_hz, f"{told}, and no measured", fix)

    @property
    def components(self) -> tuple[str, ...]:
        """What its part of the action is called."""
        start = stem(self.target_topic or self.topic, "position")
        return tuple(f"{start}.{name}" for name in self.names)

    @property
    def bounds(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Lowest and highest value of each component."""
        return tuple(self.low), tuple(self.high)


Command = PoseCommand | JointCommand


def pose_components(topic: str) -> tuple[str, ...]:
    """What the 7 numbers of a pose topic are called."""
    position, turn = stem(topic, "pose.position"), stem(topic, "pose.orientation")
    numbers = tuple(f"{position}.{i}" for i in range(3))
    return numbers + tuple(f"{turn}_xyzw.{i}" for i in range(4))


def _require_numbers_key(key: str) -> None:
    is_key = key.startswith(OBSERVATION_PREFIX) and not key.startswith(IMAGE_PREFIX)
    require(is_key, f"an observation has the key {key!r}", f"call it {OBSERVATION_PREFIX}NAME")


def _require_bounds(low: Sequence[float], high: Sequence[float], topic: str) -> None:
    told = f"{topic} has low {list(low)} and high {list(high)}"
    holds = len(low) == len(high) and all(
        math.isfinite(a) and math.isfinite(b) and a < b for a, b in zip(low, high, strict=True)
    )
    require(holds, told, "give as many of both, low < high")
