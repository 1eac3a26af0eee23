"""How good a recording is: rates, clock skew, gaps, drops, disorder, topic by topic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from softflow.formats.rosbag.episodes import EpisodeRange
from softflow.formats.rosbag.mapping import Clock, RosbagMapping, Stream
from softflow.formats.rosbag.resampling import NANOSECONDS
from softflow.formats.rosbag.timing import BagTiming, StreamTiming

DROP_PERIODS = 1.5
"""From this many periods on, a gap means that messages are missing."""


@dataclass(frozen=True)
class TopicReport:
    """The messages of one topic, or of those that tell of certain joints.

    Args:
        topic: which.
        messages: how many.
        rate_hz: one over the median period; None with fewer than two messages.
        first_s, last_s: when the first and last one belong, seconds from the bag's first message.
        clock: `header` if the stamps in the messages count, else `receive`.
        skew_ms: median of stamp minus time of receipt; negative is the usual delay. None without
            stamps.
        drift_ppm: by how many microseconds a second the skew grows; None without stamps.
        longest_gap_s: longest time between two messages; 0 with fewer than two.
        longest_gap_at_s: where it begins, seconds from the bag's first message.
        missing: estimated number of messages that should have been in the gaps, from the median
            period; None for what is held between messages, which needs no rate.
        lost: messages that the recorder counted and that are not in the file.
        out_of_order: messages stamped earlier than the one received before.
        repeated: messages with the stamp of another one, of which only the last counts.
    """

    topic: str
    messages: int
    rate_hz: float | None
    first_s: float
    last_s: float
    clock: Clock
    skew_ms: float | None
    drift_ppm: float | None
    longest_gap_s: float
    longest_gap_at_s: float
    missing: int | None
    lost: int
    out_of_order: int
    repeated: int

    def to_json(self) -> dict[str, Any]:
        """What an episode keeps of it in its metadata."""
        keys = ("rate_hz", "skew_ms", "drift_ppm", "longest_gap_s", "missing", "out_of_order")
        values = {key: getattr(self, key) for key in (*keys, "repeated")}
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}


@dataclass(frozen=True)
class RecordingReport:
    """A bag, or the part of it that is an episode.

    Args:
        name: the episode, or the bag.
        start_s, end_s: what is imported, seconds from the bag's first message; None if nothing is.
            A control step ends there, or a little earlier.
        topics: one report a topic.
        notes: what else is worth knowing, such as why nothing is imported.
    """

    name: str
    start_s: float | None
    end_s: float | None
    topics: tuple[TopicReport, ...]
    notes: tuple[str, ...] = ()

    def table(self) -> str:
        """The report as text, one line a topic."""
        if self.start_s is None or self.end_s is None:
            title = f"{self.name}: nothing to import"
        else:
            title = f"{self.name}: imported from {self.start_s:.3f} s to {self.end_s:.3f} s"
        rows = [_HEADINGS, *(_cells(topic) for topic in self.topics)]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
        lines = [
            "  ".join(
                cell.ljust(width) if column == 0 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        return "\n".join([title, *lines, *self.notes])


_HEADINGS = (
    *("topic", "messages", "Hz", "from s", "to s", "clock", "skew ms", "drift ppm"),
    *("longest gap s", "at s", "missing", "lost", "out of order", "repeated"),
)


def _cells(topic: TopicReport) -> tuple[str, ...]:
    return (
        *(topic.topic, str(topic.messages), _number(topic.rate_hz, 1)),
        *(_number(topic.first_s, 3), _number(topic.last_s, 3), topic.clock),
        *(_number(topic.skew_ms, 1), _number(topic.drift_ppm, 1)),
        *(_number(topic.longest_gap_s, 3), _number(topic.longest_gap_at_s, 3)),
        *(_number(topic.missing, 0), str(topic.lost)),
        *(str(topic.out_of_order), str(topic.repeated)),
    )


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def make_report(
    name: str,
    timing: BagTiming,
    mapping: RosbagMapping,
    episode: EpisodeRange | None,
    part_only: bool,
    notes: Sequence[str] = (),
) -> RecordingReport:
    """A report on a bag, or with `part_only` on no more of it than the episode."""
    sampled = {entry.stream for entry in mapping.sampled if not mapping.is_held(entry)}
    topics = []
    for stream, times in timing.streams.items():
        if part_only and episode is not None:
            times = times.between(episode.start_ns, episode.end_ns)
        lost = 0 if part_only or stream.names else _lost(timing, stream)
        topics.append(_topic_report(timing, times, stream in sampled, lost))
    start, end = (episode.start_ns, episode.end_ns) if episode else (None, None)
    return RecordingReport(
        name,
        None if start is None else timing.seconds(start),
        None if end is None else timing.seconds(end),
        tuple(topics),
        tuple(notes),
    )


def _lost(timing: BagTiming, stream: Stream) -> int:
    return max(timing.announced[stream.topic] - len(timing.streams[stream].receive_ns), 0)


def _topic_report(timing: BagTiming, times: StreamTiming, has_rate: bool, lost: int) -> TopicReport:
    steps = np.diff(times.times_ns)
    period = float(np.median(steps)) if len(steps) else None
    longest = int(steps.argmax()) if len(steps) else 0
    first, last = times.times_ns[[0, -1]] if len(times.times_ns) else (timing.origin_ns,) * 2
    return TopicReport(
        topic=str(times.stream),
        messages=len(times.receive_ns),
        rate_hz=NANOSECONDS / period if period else None,
        first_s=timing.seconds(int(first)),
        last_s=timing.seconds(int(last)),
        clock="header" if times.uses_header else "receive",
        skew_ms=float(np.median(times.skew_ns)) / 1e6 if _has_skew(times) else None,
        drift_ppm=_drift_ppm(times) if _has_skew(times) else None,
        longest_gap_s=float(steps[longest]) / 1e9 if len(steps) else 0.0,
        longest_gap_at_s=timing.seconds(int(times.times_ns[longest])) if len(steps) else 0.0,
        missing=_missing(steps, period) if has_rate else None,
        lost=lost,
        out_of_order=int(np.sum(np.diff(times.stamps_ns) < 0)),
        repeated=len(times.stamps_ns) - len(times.times_ns),
    )


def _has_skew(times: StreamTiming) -> bool:
    return times.uses_header and len(times.receive_ns) > 0


def _missing(steps: np.ndarray, period: float | None) -> int:
    if not period:
        return 0
    gaps = steps[steps > DROP_PERIODS * period]
    return int(np.sum(np.round(gaps / period) - 1))


def _drift_ppm(times: StreamTiming) -> float:
    """Slope of the straight line through the skew, by least squares."""
    seconds = (times.receive_ns - times.receive_ns[0]) / 1e9
    if np.ptp(seconds) == 0:
        return 0.0
    seconds = seconds - seconds.mean()
    skew_us = (times.skew_ns - times.skew_ns[0]) / 1e3
    return float(np.sum(seconds * skew_us) / np.sum(seconds**2))
