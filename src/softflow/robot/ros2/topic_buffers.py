"""The last messages of every topic, and the newest set of them that belongs together."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from softflow.robot.ros2.settings import Matching
from softflow.robot.ros2.stamp_matching import newest_match
from softflow.utils.console import say

NANOSECONDS = 1_000_000_000
MOST_MESSAGES = 2000
"""Of a topic, however long they are to be kept."""


@dataclass(frozen=True)
class Received:
    """A message as it came.

    Attributes:
        message: it; of a camera {key: picture}.
        stamp_ns: when it was taken, on the clock that topics are matched by.
        ros_ns, monotonic_s: when it was received, on both clocks.
    """

    message: Any
    stamp_ns: int
    ros_ns: int
    monotonic_s: float

    @property
    def taken_at_s(self) -> float:
        """When it was taken, on the monotonic clock; not after it was received."""
        return self.monotonic_s - max(self.ros_ns - self.stamp_ns, 0) / NANOSECONDS


class TopicBuffers:
    """Filled by the threads that receive and decode, read by the control loop.

    Attributes:
        problems: topic -> what was wrong with its last message that could not be used.

    Args:
        topics: names of all topics.
        matching: which messages belong together.
    """

    def __init__(self, topics: Sequence[str], matching: Matching) -> None:
        self._tolerance_ns = round(matching.tolerance_s * NANOSECONDS)
        self._keep_ns = round(matching.keep_s * NANOSECONDS)
        self._buffers: dict[str, list[Received]] = {topic: [] for topic in topics}
        self._lock = threading.Lock()
        self._cleared_s = -math.inf
        self.problems: dict[str, str] = {}

    def add(self, topic: str, received: Received) -> None:
        """Keep a message; one that is not newer than the last, or was on its way, is dropped."""
        with self._lock:
            buffer = self._buffers[topic]
            if received.monotonic_s < self._cleared_s:
                return
            back_ns = buffer[-1].stamp_ns - received.stamp_ns if buffer else -1
            if back_ns >= 0:
                if back_ns > self._keep_ns:
                    self.tell(topic, _went_back(back_ns))
                return
            buffer.append(received)
            oldest_ns = received.stamp_ns - self._keep_ns
            while buffer[0].stamp_ns < oldest_ns or len(buffer) > MOST_MESSAGES:
                del buffer[0]

    def drop(self, topic: str, stamp_ns: int) -> None:
        """Forget a message that cannot be used."""
        with self._lock:
            self._buffers[topic] = [m for m in self._buffers[topic] if m.stamp_ns != stamp_ns]

    def tell(self, topic: str, problem: str) -> None:
        """A message of a topic cannot be used: it is said once."""
        if topic not in self.problems:
            say(f"messages of {topic} are dropped: {problem}", to_errors=True)
        self.problems[topic] = problem

    def clear(self) -> None:
        """Forget everything: an episode begins."""
        with self._lock:
            self._cleared_s = time.monotonic()
            self.problems.clear()
            for buffer in self._buffers.values():
                buffer.clear()

    def missing(self) -> list[str]:
        """Topics without a message."""
        with self._lock:
            return [topic for topic, buffer in self._buffers.items() if not buffer]

    def newest(self) -> dict[str, Received] | None:
        """The newest set that belongs together, one message a topic; None without one."""
        with self._lock:
            buffers = {topic: tuple(buffer) for topic, buffer in self._buffers.items()}
        stamps = [[one.stamp_ns for one in buffer] for buffer in buffers.values()]
        chosen = newest_match(stamps, self._tolerance_ns)
        if chosen is None:
            return None
        found = zip(buffers.items(), stamps, chosen, strict=True)
        return {topic: buffer[there.index(stamp)] for (topic, buffer), there, stamp in found}

    def spread_s(self) -> float:
        """How far apart the newest messages of all topics are; for messages."""
        with self._lock:
            newest = [buffer[-1].stamp_ns for buffer in self._buffers.values() if buffer]
        return (max(newest) - min(newest)) / NANOSECONDS if newest else 0.0


def _went_back(back_ns: int) -> str:
    """What is said of stamps that no late message has."""
    return (
        f"their stamps went back by {back_ns / NANOSECONDS:.1f} s; a clock was set. It works again "
        "from the next reset on"
    )
