"""Everything that the file of a ROS 2 robot says; docs/robot.md shows one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from softflow.data.data_spec import DataSpec
from softflow.robot.ros2.signal_settings import (
    Camera,
    Command,
    JointCommand,
    Joints,
    Signal,
    require,
    require_topic,
)
from softflow.robot.toml_file import read_toml


class _Schema(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of the file."""


class Matching(_Schema, frozen=True, forbid_unknown_fields=True):
    """Which messages of different topics belong together.

    Args:
        tolerance_s: how far apart their stamps may be.
        clock: `header` takes the stamp in the message, and the time of receipt where it is 0;
            `receive` always takes the time of receipt.
        keep_s: for how long messages are kept to be matched.

    Raises:
        ConfigError: times that are none.
    """

    tolerance_s: float
    clock: Literal["header", "receive"] = "header"
    keep_s: float = 1.0

    def __post_init__(self) -> None:
        told = f"matching has tolerance_s {self.tolerance_s}, keep_s {self.keep_s}"
        holds = 0 <= self.tolerance_s <= self.keep_s <= 60
        require(holds, told, "give 0 <= tolerance_s <= keep_s <= 60")


class Quality(_Schema, frozen=True, forbid_unknown_fields=True):
    """Quality of service of topics; it must fit that of the other side.

    Args:
        reliability: `best_effort` loses messages rather than being late.
        depth: messages that wait.

    Raises:
        ConfigError: no depth.
    """

    reliability: Literal["reliable", "best_effort"]
    depth: int = 1

    def __post_init__(self) -> None:
        require(1 <= self.depth <= 1000, f"qos has depth {self.depth}", "give 1 to 1000")


class QualityOfService(_Schema, frozen=True, forbid_unknown_fields=True):
    """Quality of service of what is sensed, and of what is commanded."""

    sensors: Quality
    commands: Quality


class Timeouts(_Schema, frozen=True, forbid_unknown_fields=True):
    """How long something may take, seconds.

    Args:
        first_messages_s: until every topic has been seen, at a reset.
        command_s: after so long without a new action interpolated targets end, so that the
            driver's own time-out stops the robot; a hanging loop does not keep it alive.
        service_s: until a service of the robot has answered.

    Raises:
        ConfigError: not above 0.
    """

    first_messages_s: float
    command_s: float
    service_s: float

    def __post_init__(self) -> None:
        times = (self.first_messages_s, self.command_s, self.service_s)
        holds = all(0 < time < math.inf for time in times)
        require(holds, f"time-outs are {list(times)}", "give seconds above 0")


class Services(_Schema, frozen=True, forbid_unknown_fields=True):
    """What of the robot is called; empty: it is not.

    Args:
        reset: `std_srvs/srv/Trigger` that brings the robot to its start, and answers when it is.
        reset_question: what the person beside it is asked before; Enter goes on.
        stop: `std_srvs/srv/Trigger` that stops it.
        stop_topic: `std_msgs/msg/Bool` that is told true when it stops, false at a reset.

    Raises:
        ConfigError: a name that is none.
    """

    reset: str = ""
    reset_question: str = ""
    stop: str = ""
    stop_topic: str = ""

    def __post_init__(self) -> None:
        for name in filter(None, (self.reset, self.stop, self.stop_topic)):
            require_topic(name)


class Ros2Settings(_Schema, frozen=True, forbid_unknown_fields=True):
    """A robot behind ROS 2 topics.

    Args:
        control_hz: control steps a second.
        max_episode_steps: control steps after which an episode is cut.
        observation: topics -> observations, in this order within a key.
        command: actions -> topics; the action is these, one after the other.
        matching, qos, timeouts: as they say.
        services: what of the robot is called.
        node: name of this node; its service `/NODE/stop` stops the run.
        episode_topic: where it is told that an episode starts and stops, for recordings: a
            `JointState` whose `position[0]` is 1 or 0; empty: nowhere.
        success_topic: `std_msgs/msg/Bool` of whatever sees that the task is done: true ends the
            episode as a success, and without it an episode is none; empty: a person says it.

    Raises:
        ConfigError: nothing is observed or commanded, topics or keys that do not fit together.
    """

    control_hz: float
    max_episode_steps: int
    observation: Sequence[Signal]
    command: Sequence[Command]
    matching: Matching
    qos: QualityOfService
    timeouts: Timeouts
    services: Services = Services()
    node: str = "softflow"
    episode_topic: str = ""
    success_topic: str = ""

    def __post_init__(self) -> None:
        require(1 <= self.control_hz <= 100, f"control_hz is {self.control_hz}", "give 1 to 100")
        told = f"max_episode_steps is {self.max_episode_steps}"
        require_topic(f"/{self.node}")
        require(self.max_episode_steps > 0, told, "give a number above 0")
        require(len(self.observation) > 0, "nothing is observed", "give [[observation]]")
        require(len(self.command) > 0, "nothing is commanded", "give [[command]]")
        self._require_one_kind_each()
        self._require_other_topics()
        if self.success_topic:
            require_topic(self.success_topic)
        for command in self.command:
            self._require_measured(command)

    def _require_one_kind_each(self) -> None:
        kinds: dict[str, tuple[type, bool]] = {}
        cameras: set[str] = set()
        for signal in self.observation:
            kind = type(signal), isinstance(signal, Camera) and signal.compressed
            told = f"{signal.topic} is observed as two types of message"
            require(kinds.setdefault(signal.topic, kind) == kind, told, "a topic has one")
            if isinstance(signal, Camera):
                require(signal.key not in cameras, f"{signal.key!r} is there twice", "rename one")
                cameras.add(signal.key)

    def _require_other_topics(self) -> None:
        sent = [command.topic for command in self.command]
        sent += [c.target_topic for c in self.command if isinstance(c, JointCommand)]
        sent = [topic for topic in (*sent, self.episode_topic) if topic]
        for topic in sent:
            require_topic(topic)
        require(len(set(sent)) == len(sent), f"a topic is sent to twice: {sent}", "give each once")
        both = set(sent) & set(self.topics)
        require(
            not both, f"{sorted(both)} is observed and commanded", "a robot's answer is another"
        )

    def _require_measured(self, command: Command) -> None:
        is_joints = isinstance(command, JointCommand)
        if is_joints and not command.measured:
            return
        seen = [s for s in self.observation if s.topic == command.measured]
        told = f"{command.topic} has measured {command.measured!r}"
        same = bool(seen) and not isinstance(seen[0], Camera)
        same = same and isinstance(seen[0], Joints) == is_joints
        require(same, told, "name a topic of an [[observation]] of the same type")

    @property
    def topics(self) -> tuple[str, ...]:
        """Every observed topic, each once."""
        return tuple(dict.fromkeys(signal.topic for signal in self.observation))

    @property
    def sizes(self) -> list[int]:
        """Components of each command."""
        return [len(command.components) for command in self.command]

    def joints_of(self, topic: str) -> frozenset[str]:
        """Joints that are wanted of a topic; none of another type."""
        observed = (s.names for s in self.observation if isinstance(s, Joints) and s.topic == topic)
        measured = (
            c.names for c in self.command if isinstance(c, JointCommand) and c.measured == topic
        )
        return frozenset(name for names in (*observed, *measured) for name in names)

    def spec(self) -> DataSpec:
        """What the robot's episodes hold."""
        shapes: dict[str, tuple[int, ...]] = {}
        names: dict[str, tuple[str, ...]] = {}
        for signal in self.observation:
            if isinstance(signal, Camera):
                shapes[signal.key] = (*signal.size, 3)
            else:
                names[signal.key] = names.get(signal.key, ()) + signal.components
                shapes[signal.key] = (len(names[signal.key]),)
        names["action"] = tuple(name for command in self.command for name in command.components)
        low = tuple(value for command in self.command for value in command.bounds[0])
        high = tuple(value for command in self.command for value in command.bounds[1])
        return DataSpec(shapes, len(low), low, high, self.control_hz, names=names)


def read_settings(path: Path) -> Ros2Settings:
    """The settings of a file.

    Raises:
        StoreError: no such file, or no TOML.
        ConfigError: a field is unknown or missing, or its value unusable; names it.
    """
    return read_toml(path, Ros2Settings, "the ROS 2 settings")
