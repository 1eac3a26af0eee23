"""Which stretches of a bag are episodes: where every mapped topic is there, cut as is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from softflow.errors import DataError
from softflow.formats.faults import Faults
from softflow.formats.rosbag.mapping import CameraMap, RosbagMapping, SignalMap
from softflow.formats.rosbag.resampling import NANOSECONDS
from softflow.formats.rosbag.timing import BagTiming

FAR = 2**62
"""A time (ns) before or after everything."""
Runs = list[tuple[int, int]]


class EpisodeRange(NamedTuple):
    """The stretch of a bag that is an episode, and the stretch whose events belong to it."""

    start_ns: int
    end_ns: int
    events_from_ns: int
    events_until_ns: int


def find_ranges(timing: BagTiming, mapping: RosbagMapping) -> tuple[list[EpisodeRange], list[str]]:
    """The episodes of a bag: where all signals and cameras are there, cut as the mapping says.

    Returns:
        The episodes, in order, and a line for each stretch too short for one control step.

    Raises:
        DataError: there is none, or it has a longer gap than the mapping allows.
    """
    windows = list(_windows(timing, mapping))
    common = _common_runs(timing, mapping)
    ranges: list[EpisodeRange] = []
    notes: list[str] = []
    for number, (start, stop, until) in enumerate(windows):
        inside = _intersection(common, [(start, stop)])
        long_enough = [(a, b) for a, b in inside if b - a >= NANOSECONDS / mapping.control_hz]
        edges = [start, *(a for a, _ in long_enough[1:]), until]
        ranges += [EpisodeRange(*run, *edges[i : i + 2]) for i, run in enumerate(long_enough)]
        dropped = len(inside) - len(long_enough) + (not inside)
        if dropped:
            at = timing.seconds(max(start, timing.origin_ns))
            notes.append(
                f"part {number} (from {at:.3f} s): {dropped} stretch(es) shorter than a "
                "control step, or without all topics, left out"
            )
    if not ranges:
        raise DataError(_why_nothing(timing, mapping))
    if mapping.on_gap == "error":
        faults = Faults()
        for found in ranges:
            for entry in mapping.sampled:
                with faults.of_a_part():
                    _require_no_gap(timing, mapping, found, entry)
        faults.raise_any()
    return ranges, notes


def _windows(timing: BagTiming, mapping: RosbagMapping) -> Iterator[tuple[int, int, int]]:
    """Start and stop of each episode as the mapping's topic tells, and the start of the next."""
    if mapping.episodes is None:
        yield -FAR, FAR, FAR
        return
    starts, stops = mapping.episodes.start, mapping.episodes.stop
    marks = [e for e in timing.events["episodes"] if e.value in (starts, stops)]
    for number, mark in enumerate(marks):
        if mark.value != starts:
            continue
        later = marks[number + 1 :]
        following = next((e.time_ns for e in later if e.value == starts), FAR)
        # A start without a stop: the next start, or the end of the bag, stops it.
        yield mark.time_ns, (later[0].time_ns if later else FAR), following


def _common_runs(timing: BagTiming, mapping: RosbagMapping) -> Runs:
    """The stretches in which every signal and camera is there."""
    runs: Runs = [(-FAR, timing.end_ns)]
    for entry in mapping.sampled:
        limit = mapping.gap_limit_s(entry) if mapping.on_gap == "split" else float("inf")
        limit_ns = int(min(limit * NANOSECONDS, FAR))
        times, held = timing.times_ns(entry), mapping.is_held(entry)
        runs = _intersection(runs, _runs(times, limit_ns, held))
    return runs


def _runs(times: np.ndarray, limit_ns: int, held: bool) -> Runs:
    """The stretches between gaps; a held value stays valid after the last message."""
    breaks = np.flatnonzero(np.diff(times) > limit_ns)
    starts = times[np.append(0, breaks + 1)]
    ends = times[np.append(breaks, -1)]
    return [(int(a), int(b) + limit_ns * held) for a, b in zip(starts, ends, strict=True)]


def _intersection(some: Runs, others: Runs) -> Runs:
    """The stretches that lie in both, rising; a single moment counts."""
    cut = [(max(a, c), min(b, d)) for a, b in some for c, d in others]
    return sorted((start, end) for start, end in cut if start <= end)


def _why_nothing(timing: BagTiming, mapping: RosbagMapping) -> str:
    if mapping.episodes is not None and not any(True for _ in _windows(timing, mapping)):
        return (
            f"{timing.path}: none of the {len(timing.events['episodes'])} messages of "
            f"'{mapping.episodes.topic}' is the start value {mapping.episodes.start!r}; correct "
            "'episodes' in the mapping, or leave this bag out"
        )
    spans = {str(entry.stream): timing.times_ns(entry)[[0, -1]] for entry in mapping.sampled}
    told = "".join(
        f"\n  {name}  {timing.seconds(int(a)):.3f} to {timing.seconds(int(b)):.3f} s"
        for name, (a, b) in spans.items()
    )
    return (
        f"{timing.path}: at no time are all mapped topics there for a control step of "
        f"{1 / mapping.control_hz:g} s; they reach from{told}\nLeave this bag out, or unmap the "
        "topic that is too short"
    )


def _require_no_gap(
    timing: BagTiming, mapping: RosbagMapping, episode: EpisodeRange, entry: SignalMap | CameraMap
) -> None:
    times = timing.times_ns(entry)
    first = max(int(np.searchsorted(times, episode.start_ns, side="right")) - 1, 0)
    last = int(np.searchsorted(times, episode.end_ns, side="left"))
    inside = times[first : last + 1]
    if last == len(times):  # held to the end
        inside = np.append(inside, np.int64(episode.end_ns))
    gaps = np.diff(inside)
    limit = mapping.gap_limit_s(entry)
    if len(gaps) and gaps.max() > limit * NANOSECONDS:
        place, count = int(gaps.argmax()), int(np.sum(gaps > limit * NANOSECONDS))
        raise DataError(
            f"{timing.path}: '{entry.stream}' has no message for "
            f"{gaps[place] / NANOSECONDS:.3f} s, from {timing.seconds(int(inside[place])):.3f} s "
            f"on, longer than 'max_gap_s' {limit:g} s ({count} such gaps); set 'on_gap: split' to "
            "make an episode of each side, raise 'max_gap_s', or leave this bag out"
        )
