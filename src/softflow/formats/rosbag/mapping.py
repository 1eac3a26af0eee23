"""Which topics and fields of a ROS recording become which keys; `rosbag_yaml` reads it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from softflow.formats.rosbag.resampling import Interpolation

Clock = Literal["header", "receive"]
OnGap = Literal["error", "split"]
EventRole = Literal["reward", "success", "episodes"]


@dataclass(frozen=True)
class Stream:
    """The messages that belong together: a topic's, or those of it that tell of certain joints."""

    topic: str
    names: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.topic} ({', '.join(sorted(self.names))})" if self.names else self.topic


@dataclass(frozen=True)
class SignalMap:
    """Numbers from a field of a topic.

    Args:
        topic: the topic.
        field: path to numbers in the message, such as `pose.position` or `points[0].positions`. A
            message made of numbers gives them all, in the order of its definition (x, y, z, w).
        names: joints to take, in this order, where the message has `name` or `joint_names`.
            Messages of the topic with none of them are somebody else's and left out.
        interpolate: linear, slerp, nearest or previous. Unless told: `previous` in actions; in
            observations `slerp` for quaternions, `nearest` for booleans and integers, else
            `linear`.
        latency_s: how long after the moment it belongs to a message is stamped, seconds.
        max_gap_s: longest time without a message, seconds, instead of the file's; null for none.
        name: what its components are called; made of topic and field unless told.
    """

    topic: str
    field: str
    names: tuple[str, ...] = ()
    interpolate: Interpolation | None = None
    latency_s: float = 0.0
    max_gap_s: float | None = None
    name: str = ""

    @property
    def stream(self) -> Stream:
        """The messages it is read from."""
        return Stream(self.topic, frozenset(self.names))


@dataclass(frozen=True)
class OrderedSignal(SignalMap):
    """A signal without `names` whose messages name their joints themselves.

    Args:
        order: the joints of the first message; later ones are brought into this order.
    """

    order: tuple[str, ...] = ()


@dataclass(frozen=True)
class CameraMap:
    """Images of a topic, `sensor_msgs/msg/Image` or `CompressedImage`; the nearest in time.

    Args:
        topic: the topic.
        size: (height, width) to reduce them to; as they are unless told.
        crop: (top, left, height, width) cut out before that, pixels.
        latency_s, max_gap_s: as in `SignalMap`.
    """

    topic: str
    size: tuple[int, int] | None = None
    crop: tuple[int, int, int, int] | None = None
    latency_s: float = 0.0
    max_gap_s: float | None = None

    @property
    def stream(self) -> Stream:
        """The messages it is read from."""
        return Stream(self.topic)


@dataclass(frozen=True)
class EventMap:
    """Messages that tell of a reward, or of success.

    Args:
        topic: the topic.
        field: one number, boolean or text.
        equals: for `success`, the value that means it; true, or above 0, unless told.
    """

    topic: str
    field: str
    equals: bool | float | str | None = None


@dataclass(frozen=True)
class EpisodesMap:
    """Messages that say when an episode starts and stops.

    Args:
        topic: the topic.
        field: one boolean, number or text.
        start, stop: the values that mean it; other values mean nothing.
    """

    topic: str
    field: str = "data"
    start: bool | float | str = True
    stop: bool | float | str = False


@dataclass(frozen=True)
class RosbagMapping:
    """Everything the YAML file says; its keys are these, and `observation.…`.

    Args:
        control_hz: control steps per second.
        observations: key → signals, joined in this order.
        cameras: key → camera.
        action: signals, joined in this order.
        reward: its messages' values are summed over the control step in which they come.
        success: the first such message ends the episode, with reward 1 unless `reward` is there.
        episodes: where a bag is cut into episodes; None takes the whole bag as one.
        clock: `header` takes the stamp in the message, and the time of receipt for topics without
            one or where it is 0; `receive` always takes the time of receipt.
        max_gap_s: longest time without a message, seconds, for all signals that are not held
            (`interpolate: previous`); None for no limit.
        on_gap: `error`, or `split` the episode there.
        max_clock_skew_s: how far the topics' clocks may be apart, or jump back, seconds.
        action_low, action_high: bounds of the action space; the range of the data unless told.
        message_definitions: `.msg` files, or folders of them, for bags that do not hold their own.
        end_at_success: cut the episode there, and terminate it.
    """

    control_hz: float
    observations: dict[str, tuple[SignalMap, ...]]
    cameras: dict[str, CameraMap]
    action: tuple[SignalMap, ...]
    reward: EventMap | None = None
    success: EventMap | None = None
    episodes: EpisodesMap | None = None
    clock: Clock = "header"
    max_gap_s: float | None = 1.0
    on_gap: OnGap = "error"
    max_clock_skew_s: float = 1.0
    action_low: tuple[float, ...] | None = None
    action_high: tuple[float, ...] | None = None
    message_definitions: tuple[Path, ...] = ()
    end_at_success: bool = True

    @property
    def signals(self) -> tuple[SignalMap, ...]:
        """Every signal, of observations and of the action."""
        return (*(s for signals in self.observations.values() for s in signals), *self.action)

    @property
    def sampled(self) -> tuple[SignalMap | CameraMap, ...]:
        """Every signal and camera: what must be there throughout an episode."""
        return (*self.signals, *self.cameras.values())

    @property
    def events(self) -> dict[EventRole, EventMap | EpisodesMap]:
        """The topics whose messages count one by one."""
        roles: dict[EventRole, EventMap | EpisodesMap | None] = {
            "reward": self.reward,
            "success": self.success,
            "episodes": self.episodes,
        }
        return {role: event for role, event in roles.items() if event is not None}

    @property
    def fingerprint(self) -> str:
        """Eight letters that change with whatever decides what an episode holds."""
        same = replace(
            self,
            observations=dict(sorted(self.observations.items())),
            cameras=dict(sorted(self.cameras.items())),
            # These are in the spec, or say where to find the same thing.
            action_low=None,
            action_high=None,
            message_definitions=(),
        )
        return hashlib.sha256(repr(same).encode()).hexdigest()[:8]

    def ordered(self, orders: Mapping[SignalMap, tuple[str, ...]]) -> RosbagMapping:
        """This mapping with the joints' order for those signals that say it themselves."""

        def known(signals: tuple[SignalMap, ...]) -> tuple[SignalMap, ...]:
            return tuple(
                OrderedSignal(**vars(signal), order=orders[signal])
                if orders.get(signal)
                else signal
                for signal in signals
            )

        observations = {key: known(signals) for key, signals in self.observations.items()}
        return replace(self, observations=observations, action=known(self.action))

    @property
    def topics(self) -> tuple[str, ...]:
        """Every topic it needs, each once."""
        entries = (*self.sampled, *self.events.values())
        return tuple(dict.fromkeys(entry.topic for entry in entries))

    def is_held(self, entry: SignalMap | CameraMap) -> bool:
        """Whether a message stays valid until the next one comes."""
        return isinstance(entry, SignalMap) and entry.interpolate == "previous"

    def gap_limit_s(self, entry: SignalMap | CameraMap) -> float:
        """Longest time without a message, seconds; infinity for no limit."""
        limit = entry.max_gap_s
        if limit is None and not self.is_held(entry):
            limit = self.max_gap_s
        return math.inf if limit is None else limit


def stem(topic: str, field: str) -> str:
    """What a field's components are called after.

    gripper for /gripper data, ee_pose_orientation for /ee/pose pose.orientation.
    """
    parts = [part for part in topic.split("/") if part]
    for name in field.replace("[", ".").replace("]", "").split("."):
        if name != "data" and name != parts[-1]:
            parts.append(name)
    return "_".join(parts)
