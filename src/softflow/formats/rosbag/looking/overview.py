"""The topics of a bag without any mapping: types, counts, rates, joints, sizes of images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from softflow.errors import DataError
from softflow.formats.rosbag.images import IMAGE_TYPES, frame
from softflow.formats.rosbag.reader import Recording
from softflow.formats.rosbag.resampling import NANOSECONDS
from softflow.formats.rosbag.timing import MESSAGES_TOLD


@dataclass
class TopicOverview:
    """One topic of a bag.

    Args:
        topic, msgtype: as the bag names them.
        times_ns: when its messages were received.
        first: the first message, decoded; None where nobody knows its type, or it is damaged.
        joints: which its first messages tell of, a group for each publisher.
        problem: why the first message could not be decoded.
    """

    topic: str
    msgtype: str
    times_ns: list[int] = field(default_factory=list)
    first: Any = None
    joints: list[tuple[str, ...]] = field(default_factory=list)
    problem: str = ""

    @property
    def rate_hz(self) -> float:
        """One over the median period; 0 with fewer than two messages."""
        steps = np.diff(np.asarray(self.times_ns, np.int64))
        period = float(np.median(steps)) if len(steps) else 0.0
        return NANOSECONDS / period if period else 0.0

    @property
    def longest_gap_s(self) -> float:
        """Longest time between two messages, seconds."""
        steps = np.diff(np.sort(np.asarray(self.times_ns, np.int64)))
        return float(steps.max()) / NANOSECONDS if len(steps) else 0.0

    @property
    def is_camera(self) -> bool:
        """Whether its messages are images."""
        return self.msgtype in IMAGE_TYPES

    @property
    def holds(self) -> str:
        """What a message holds, in a few words."""
        if self.problem:
            return self.problem
        if self.is_camera and self.first is not None:
            height, width = frame(self.first).shape[:2]
            return f"{height} x {width}"
        return "; ".join(", ".join(group) for group in self.joints)


def overview(
    recording: Recording, on_messages: Callable[[int], None] = lambda count: None
) -> list[TopicOverview]:
    """Every topic of a bag, in one pass over its messages.

    Raises:
        DataError: the bag is damaged.
    """
    found = {topic: TopicOverview(topic, kind) for topic, kind in recording.topics.items()}
    for count, message in enumerate(recording.messages(found)):
        if count % MESSAGES_TOLD == 0:
            on_messages(count)
        topic = found[message.topic]
        if not topic.times_ns:
            try:
                topic.first = recording.decode(message)
                topic.holds  # noqa: B018  an image that cannot be decoded is told, too
            except DataError as error:
                topic.problem = str(error).partition("; ")[0]
        topic.times_ns.append(message.receive_ns)
    for topic in found.values():
        if topic.first is not None:
            topic.joints = recording.joint_groups(topic.topic)
    return list(found.values())


def table(name: str, topics: list[TopicOverview]) -> str:
    """The topics of a bag as text, a line each."""
    heads: tuple[str, ...] = ("topic", "type", "messages", "Hz", "longest gap s", "holds")
    rows: list[tuple[str, ...]] = [heads]
    for one in topics:
        numbers = (str(len(one.times_ns)), f"{one.rate_hz:.1f}", f"{one.longest_gap_s:.3f}")
        rows.append((one.topic, one.msgtype, *numbers, one.holds))
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = [
        "  ".join(
            cell.rjust(width) if 2 <= column <= 4 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([f"{name}:", *lines])
