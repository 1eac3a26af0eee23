"""The values of a bag at the control steps of an episode, in one pass over its messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from softflow.data.data_spec import IMAGE_PREFIX
from softflow.errors import DataError
from softflow.formats.faults import Faults
from softflow.formats.frames import room_for_frames
from softflow.formats.rosbag.fields import FieldReader
from softflow.formats.rosbag.images import IMAGE_TYPES, frame
from softflow.formats.rosbag.mapping import (
    CameraMap,
    OrderedSignal,
    RosbagMapping,
    SignalMap,
    stem,
)
from softflow.formats.rosbag.reader import RawMessage, Recording
from softflow.formats.rosbag.resampling import Interpolation, continuous, nearest, ordered, resample
from softflow.formats.rosbag.timing import (
    BagTiming,
    Membership,
    latency_ns,
    located,
    no_messages,
)

Entry = SignalMap | CameraMap


class SignalReader:
    """Reads the numbers of one signal.

    Args:
        recording: the bag.
        signal: what to read.

    Raises:
        DataError: no such topic or field, or it cannot be interpolated as the mapping says.
    """

    def __init__(self, recording: Recording, signal: SignalMap) -> None:
        self.signal = signal
        self.where = f"{recording.path}, {signal.topic}"
        msgtype = recording.require_topic(signal.topic)
        self._order = signal.order if isinstance(signal, OrderedSignal) else ()
        self._field = FieldReader(
            recording.types, msgtype, signal.field, signal.names, self.where, self._order
        )
        self.method: Interpolation = self._method()
        self.is_quaternion = self._field.kind == "quaternion" or self.method == "slerp"

    def _method(self) -> Interpolation:
        kind, field = self._field.kind, self.signal.field
        if kind == "text":
            raise DataError(f"{self.where}: '{field}' is text; an observation or action is numbers")
        if kind == "quaternion" and self.signal.interpolate == "linear":
            raise DataError(
                f"{self.where}: '{field}' is a quaternion, and a straight line between two leaves "
                "the unit sphere; use 'interpolate: slerp'"
            )
        defaults: dict[str, Interpolation] = {"quaternion": "slerp", "discrete": "nearest"}
        return self.signal.interpolate or defaults.get(kind, "linear")

    def numbers(self, message: object) -> np.ndarray:
        """The signal's numbers in a decoded message, float64 `[n]`."""
        numbers = self._field.numbers(message)
        if len(numbers) == 0:
            raise DataError(f"'{self.signal.field}' is empty; choose another field")
        if self.is_quaternion and len(numbers) != 4:
            raise DataError(
                f"'{self.signal.field}' has {len(numbers)} numbers, slerp needs the 4 of a "
                "quaternion; use 'interpolate: linear', or split it into fields"
            )
        return numbers

    def order_in(self, message: object) -> tuple[str, ...]:
        """The joints that a message without `names` in the mapping names itself; else nothing."""
        return self._field.order_in(message)

    def component_names(self, count: int) -> tuple[str, ...]:
        """What its components are called: stem.joint, stem.0, …, or the stem alone."""
        signal = self.signal
        start = signal.name or stem(signal.topic, signal.field)
        if joints := signal.names or self._order:
            return tuple(f"{start}.{name}" for name in joints)
        if self.is_quaternion and not signal.name:
            start += "_xyzw"
        return (start,) if count == 1 else tuple(f"{start}.{i}" for i in range(count))


class First(NamedTuple):
    """What the first message of a signal or camera holds.

    Args:
        value: its numbers or pixels.
        order: the joints it names by itself.
    """

    value: np.ndarray
    order: tuple[str, ...]


def first_values(recording: Recording, mapping: RosbagMapping) -> dict[Entry, First]:
    """What the first message of each signal and camera holds; no more of the bag is read.

    Raises:
        DataError: a topic or field is missing, or has no messages.
    """
    waiting = {entry: Membership(recording, entry.stream) for entry in mapping.sampled}
    read = {entry: _reader(recording, entry) for entry in waiting}
    found: dict[Entry, First] = {}
    for message in recording.messages({entry.topic for entry in waiting}):
        for entry in [entry for entry in waiting if entry.topic == message.topic]:
            with located(recording, message):
                decoded = recording.decode(message)
                if waiting[entry](message, decoded):
                    found[entry] = First(read[entry](decoded), _order(recording, entry, decoded))
                    del waiting[entry]
        if not waiting:
            return found
    absent, belongs = next(iter(waiting.items()))
    raise no_messages(recording, absent.stream, belongs)


def sample(
    recording: Recording, timing: BagTiming, entries: Iterable[Entry], at: np.ndarray
) -> dict[Entry, np.ndarray]:
    """The values of signals and cameras at the times `at`.

    Args:
        recording: the bag.
        timing: its times.
        entries: signals and cameras of the mapping.
        at: int64 `[m]`, nanoseconds; every entry must have messages around them.

    Returns:
        Signals as float64 `[m, n]`, cameras as uint8 `[m, height, width, 3]`.

    Raises:
        DataError: a message is damaged, not a number, or of another shape than those before; the
            first one of every signal and camera.
    """
    by_topic: dict[str, list[_Numbers | _Frames]] = {}
    for entry in dict.fromkeys(entries):
        if isinstance(entry, CameraMap):
            collector = _Frames(recording, timing, entry, at)
        else:
            collector = _Numbers(recording, timing, entry, at)
        by_topic.setdefault(entry.topic, []).append(collector)
    collectors = [collector for group in by_topic.values() for collector in group]
    spans = [collector.receive_span() for collector in collectors]
    start, stop = min(first for first, _ in spans), max(last for _, last in spans) + 1
    faults = Faults()
    for message in recording.messages(by_topic, start, stop):
        stamp, decoded = recording.stamp_ns(message), None
        for collector in by_topic[message.topic]:
            time = stamp if collector.times.uses_header else message.receive_ns
            if collector.wants(time) and not collector.has_failed:
                collector.has_failed = True
                with faults.of_a_part():
                    decoded = recording.decode(message) if decoded is None else decoded
                    with located(recording, message):
                        collector.add(time, message, decoded)
                    collector.has_failed = False
    faults.raise_any()
    return {collector.entry: collector.result() for collector in collectors}


def _order(recording: Recording, entry: Entry, decoded: object) -> tuple[str, ...]:
    signal = isinstance(entry, SignalMap)
    return SignalReader(recording, entry).order_in(decoded) if signal else ()


def _reader(recording: Recording, entry: Entry) -> Callable[[object], np.ndarray]:
    if isinstance(entry, SignalMap):
        return SignalReader(recording, entry).numbers
    kind = recording.require_topic(entry.topic)
    if kind not in IMAGE_TYPES:
        raise DataError(
            f"{recording.path}: '{entry.topic}' is of type {kind}, no image; an "
            f"'{IMAGE_PREFIX}…' needs {' or '.join(IMAGE_TYPES)}"
        )
    return lambda message: frame(message, entry.size, entry.crop)


class _Collector:
    """Picks the messages that matter for one signal or camera.

    Attributes:
        has_failed: a message was unusable; later ones tell nothing new.
    """

    def __init__(
        self, recording: Recording, timing: BagTiming, entry: Entry, at: np.ndarray
    ) -> None:
        self.entry, self.times = entry, timing.streams[entry.stream]
        self.has_failed = False
        self._at = at + latency_ns(entry)
        self._read = _reader(recording, entry)
        times = self.times.times_ns
        first = max(int(np.searchsorted(times, self._at[0], side="right")) - 1, 0)
        last = min(int(np.searchsorted(times, self._at[-1], side="left")), len(times) - 1)
        self._start, self._end = int(times[first]), int(times[last])

    def receive_span(self) -> tuple[int, int]:
        """When the first and the last message around the times were received."""
        stamps = self.times.stamps_ns
        received = self.times.receive_ns[(stamps >= self._start) & (stamps <= self._end)]
        return int(received.min()), int(received.max())

    def _require_shape(self, value: np.ndarray, expected: tuple[int, ...]) -> None:
        if value.shape != expected:
            raise DataError(
                f"shape {value.shape}, but {expected} in the messages before; its shape must stay "
                "the same: use 'size' for images, 'names' for joints"
            )


class _Numbers(_Collector):
    def __init__(
        self, recording: Recording, timing: BagTiming, entry: SignalMap, at: np.ndarray
    ) -> None:
        super().__init__(recording, timing, entry, at)
        self._signal = SignalReader(recording, entry)
        self._belongs = Membership(recording, entry.stream)
        self._wanted = self._neighbours()
        self._stamps: list[int] = []
        self._values: list[np.ndarray] = []

    def _neighbours(self) -> set[int]:
        """The stamps before and behind each time: no other message of a fast topic is decoded."""
        times = self.times.times_ns
        before = np.searchsorted(times, self._at, side="right") - 1
        around = np.clip(np.concatenate([before, before + 1]), 0, len(times) - 1)
        return set(times[around].tolist())

    def wants(self, stamp_ns: int) -> bool:
        return stamp_ns in self._wanted

    def add(self, stamp_ns: int, message: RawMessage, decoded: object) -> None:
        if not self._belongs(message, decoded):
            return
        numbers = self._read(decoded)
        if self._values:
            self._require_shape(numbers, self._values[0].shape)
        if not np.isfinite(numbers).all():
            place = int(np.flatnonzero(~np.isfinite(numbers))[0])
            raise DataError(
                f"'{self._signal.signal.field}', component {place} is {numbers[place]}; repair the "
                "sensor or leave this bag out: a policy cannot be trained on it"
            )
        if self._signal.is_quaternion:
            continuous(numbers[None])
        self._stamps.append(stamp_ns)
        self._values.append(numbers)

    def result(self) -> np.ndarray:
        stamps = np.array(self._stamps, np.int64)
        order = ordered(stamps)
        return resample(
            self._signal.method,
            stamps[order],
            np.stack(self._values)[order],
            self._at,
            quaternion_xyzw=self._signal.is_quaternion,
        )


class _Frames(_Collector):
    """Decodes each frame that is the nearest one of a control step, once, and no other."""

    def __init__(
        self, recording: Recording, timing: BagTiming, entry: CameraMap, at: np.ndarray
    ) -> None:
        super().__init__(recording, timing, entry, at)
        times = self.times.times_ns
        self._stamps = times[nearest(times, self._at)]
        self._wanted = set(self._stamps.tolist())
        self._frames = np.zeros(0, np.uint8)

    def wants(self, stamp_ns: int) -> bool:
        return stamp_ns in self._wanted

    def add(self, stamp_ns: int, message: RawMessage, decoded: object) -> None:
        picture = self._read(decoded)
        if self._frames.size == 0:
            self._frames = room_for_frames((len(self._at), *picture.shape))
        self._require_shape(picture, self._frames.shape[1:])
        self._frames[self._stamps == stamp_ns] = picture

    def result(self) -> np.ndarray:
        return self._frames
