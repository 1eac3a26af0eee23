"""When the messages of a bag were made, by one clock for all of its topics."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from softflow.errors import DataError
from softflow.formats.rosbag.fields import FieldReader, name_field
from softflow.formats.rosbag.mapping import (
    CameraMap,
    Clock,
    EpisodesMap,
    EventMap,
    EventRole,
    RosbagMapping,
    SignalMap,
    Stream,
)
from softflow.formats.rosbag.reader import RawMessage, Recording
from softflow.formats.rosbag.resampling import NANOSECONDS, ordered

MESSAGES_TOLD = 10_000


class Event(NamedTuple):
    """A message that counts by itself: a reward, success, start or stop."""

    time_ns: int
    receive_ns: int
    value: bool | float | str


@dataclass(frozen=True, eq=False)
class StreamTiming:
    """The times of a stream's messages, in the order in which they were stored.

    Args:
        stream: whose they are.
        receive_ns: when the recorder received them, int64 `[n]`.
        header_ns: the stamps in their headers, int64 `[n]`; 0 without one.
        clock: which of the two is wanted.
    """

    stream: Stream
    receive_ns: np.ndarray
    header_ns: np.ndarray
    clock: Clock

    @cached_property
    def uses_header(self) -> bool:
        """Whether the stamps count: one message without a stamp, and none does."""
        return self.clock == "header" and bool(np.all(self.header_ns != 0))

    @property
    def stamps_ns(self) -> np.ndarray:
        """The times that count, in the order of storage."""
        return self.header_ns if self.uses_header else self.receive_ns

    @cached_property
    def times_ns(self) -> np.ndarray:
        """The times that count, sorted, each once."""
        return self.stamps_ns[ordered(self.stamps_ns)]

    @property
    def skew_ns(self) -> np.ndarray:
        """Stamp minus time of receipt, int64 `[n]`; 0 where stamps do not count."""
        return self.stamps_ns - self.receive_ns

    def between(self, start_ns: int, end_ns: int) -> StreamTiming:
        """Only the messages from `start_ns` to `end_ns`."""
        inside = (self.stamps_ns >= start_ns) & (self.stamps_ns <= end_ns)
        return StreamTiming(
            self.stream, self.receive_ns[inside], self.header_ns[inside], self.clock
        )


@dataclass(frozen=True, eq=False)
class BagTiming:
    """The times of everything that the mapping takes from a bag.

    Args:
        path: the bag.
        streams: the times of each stream's messages.
        events: the messages that count one by one, in order.
        announced: topic → how many messages the recorder counted.
    """

    path: Path
    streams: dict[Stream, StreamTiming]
    events: dict[EventRole, list[Event]]
    announced: dict[str, int]

    @property
    def origin_ns(self) -> int:
        """Time of the first message; errors and reports count seconds from here."""
        return min(int(timing.times_ns[0]) for timing in self.streams.values())

    @property
    def end_ns(self) -> int:
        """Time of the last message."""
        return max(int(timing.times_ns[-1]) for timing in self.streams.values())

    def seconds(self, time_ns: int) -> float:
        """A time in seconds from the bag's first message."""
        return (time_ns - self.origin_ns) / NANOSECONDS

    def times_ns(self, entry: SignalMap | CameraMap) -> np.ndarray:
        """The moments that the messages of a signal or camera belong to, int64, rising."""
        return self.streams[entry.stream].times_ns - latency_ns(entry)


def latency_ns(entry: SignalMap | CameraMap) -> int:
    """How long after its moment a message is stamped, in nanoseconds."""
    return round(entry.latency_s * NANOSECONDS)


# ---- reading times --------------------------------------------------------------------------


def scan(
    recording: Recording,
    mapping: RosbagMapping,
    on_messages: Callable[[int], None] = lambda count: None,
) -> BagTiming:
    """Read the times of all messages, and the events, in one pass; images stay undecoded.

    Args:
        recording: the bag.
        mapping: what is taken from it.
        on_messages: called every `MESSAGES_TOLD` messages with their number until then.

    Raises:
        DataError: a topic is missing, empty or damaged, or the clocks do not belong together.
    """
    for topic in mapping.topics:
        recording.require_topic(topic)
    streams = {entry.stream: _Times(recording, entry.stream) for entry in mapping.sampled}
    readers: list[tuple[EventRole, str, FieldReader]] = [
        (role, event.topic, event_reader(recording, role, event))
        for role, event in mapping.events.items()
    ]
    events: dict[EventRole, list[Event]] = {role: [] for role in mapping.events}
    for count, message in enumerate(recording.messages(mapping.topics)):
        if count % MESSAGES_TOLD == 0:
            on_messages(count)
        received = message.receive_ns
        stamp = recording.stamp_ns(message) if mapping.clock == "header" else 0
        for stream, times in streams.items():
            if stream.topic == message.topic:
                times.add(message, stamp)
        for role, topic, reader in readers:
            if topic == message.topic:
                with located(recording, message):
                    value = reader.value(recording.decode(message))
                events[role].append(Event(stamp or received, received, value))
    timing = BagTiming(
        recording.path,
        {stream: times.timing(mapping.clock) for stream, times in streams.items()},
        {role: sorted(found, key=lambda event: event.time_ns) for role, found in events.items()},
        {topic: recording.announced(topic) for topic in mapping.topics},
    )
    _require_one_clock(timing, mapping.max_clock_skew_s)
    return timing


class _Times:
    """Collects the times of a stream."""

    def __init__(self, recording: Recording, stream: Stream) -> None:
        self._recording, self._stream = recording, stream
        self._receive, self._header = array("q"), array("q")
        self._belongs = Membership(recording, stream)

    def add(self, message: RawMessage, stamp_ns: int) -> None:
        if self._belongs(message):
            self._receive.append(message.receive_ns)
            self._header.append(stamp_ns)

    def timing(self, clock: Clock) -> StreamTiming:
        if not self._receive:
            raise no_messages(self._recording, self._stream, self._belongs)
        receive, header = np.array(self._receive, np.int64), np.array(self._header, np.int64)
        return StreamTiming(self._stream, receive, header, clock)


class Membership:
    """Says whether a message belongs to a stream: several publishers may share a topic."""

    def __init__(self, recording: Recording, stream: Stream) -> None:
        self._recording, self._stream = recording, stream
        self._others: list[str] = []
        if stream.names:
            msgtype = recording.require_topic(stream.topic)
            self._field = name_field(recording.types, msgtype, f"{recording.path}, {stream.topic}")

    def __call__(self, message: RawMessage, decoded: object = None) -> bool:
        """Whether it tells of one of the stream's joints."""
        if not self._stream.names:
            return True
        decoded = self._recording.decode(message) if decoded is None else decoded
        there = getattr(decoded, self._field)
        if self._stream.names.isdisjoint(there):
            self._others = list(there)
            return False
        return True

    def hint(self) -> str:
        """What the messages that did not belong to the stream tell of."""
        return f"; its messages tell of {self._others}" if self._others else ""


def no_messages(recording: Recording, stream: Stream, belongs: Membership) -> DataError:
    """The error for a stream that is empty."""
    return DataError(
        f"{recording.path}: '{stream}' has no messages, so there is nothing to import"
        f"{belongs.hint()}; leave this bag out, or map another topic"
    )


@contextmanager
def located(recording: Recording, message: RawMessage) -> Iterator[None]:
    """Errors inside the block say which message they are about."""
    try:
        yield
    except DataError as error:
        where = recording.told(message)
        raise error if str(error).startswith(where) else DataError(f"{where}: {error}") from error


def event_reader(
    recording: Recording, role: EventRole, event: EventMap | EpisodesMap
) -> FieldReader:
    """Reads the values of an event topic.

    Raises:
        DataError: no such topic or field, or its values are not what the mapping compares with.
    """
    where = f"{recording.path}, {event.topic}"
    msgtype = recording.require_topic(event.topic)
    reader = FieldReader(recording.types, msgtype, event.field, where=where)
    is_text = reader.kind == "text"
    if role == "reward" and is_text:
        raise DataError(f"{where}: '{event.field}' is text; a reward is a number")
    wanted = (event.equals,) if isinstance(event, EventMap) else (event.start, event.stop)
    if role != "reward" and any(is_text != isinstance(value, str) for value in wanted):
        if wanted == (None,) and not is_text:
            return reader
        option = "equals" if isinstance(event, EventMap) else "start and stop"
        raise DataError(
            f"{where}: '{event.field}' is {'text' if is_text else 'a number or boolean'}; give "
            f"{option} in '{role}' as such a value"
        )
    return reader


def _require_one_clock(timing: BagTiming, limit_s: float) -> None:
    """Raise if stamps jump back, as after a restart, or come from clocks far apart."""
    limit = limit_s * NANOSECONDS
    for stream, times in timing.streams.items():
        steps = np.diff(times.stamps_ns)
        if len(steps) and steps.min() < -limit:
            place = int(steps.argmin())
            after = (times.receive_ns[place + 1] - times.receive_ns[0]) / NANOSECONDS
            raise DataError(
                f"{timing.path}: the times of '{stream}' jump back by "
                f"{-steps[place] / NANOSECONDS:.3f} s at message {place + 1}, received "
                f"{after:.3f} s after its first one: a clock was set, or a driver restarted. Cut "
                "the bag there, use 'clock: receive', or raise 'max_clock_skew_s'"
            )
    skews = {str(stream): float(np.median(t.skew_ns)) for stream, t in timing.streams.items()}
    for role, events in timing.events.items():
        if events:
            skews[role] = float(np.median([e.time_ns - e.receive_ns for e in events]))
    if max(skews.values()) - min(skews.values()) > limit:
        told = "".join(f"\n  {name}  {skew / 1e9:+.3f} s" for name, skew in skews.items())
        raise DataError(
            f"{timing.path}: the topics' clocks are more than {limit_s:g} s apart; stamp minus "
            f"time of receipt is{told}\nUse 'clock: receive', or raise 'max_clock_skew_s' if the "
            "messages are really that late"
        )
