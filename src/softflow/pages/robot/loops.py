"""What episodes that a robot's loop recorded say of it, all of them together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from softflow.data.episode_store import EpisodeSummary
from softflow.data.labels import outcome_known
from softflow.data.measures import Count, Number
from softflow.data.taken_over import taken_over
from softflow.errors import DataError

TIMES: dict[str, tuple[str, str]] = {
    "lateness": ("Lateness of ticks", "after the time at which a control step was due"),
    "jitter": (
        "Jitter of ticks",
        "by which a control step was too long or too short",
    ),
    "busy": ("Time spent in a tick", "to look, ask and command"),
    "latency": ("Latency of decisions", "from the observation to the arrival of its chunk"),
    "deciding": ("… of it in the networks", "the rest is the way there and back"),
}
"""The histograms of a loop, with what people call them."""
_MOST_EDGES = 100
_MOST_LETTERS = 120
"""Of a reason or a policy's name: both may be anybody's."""


class _Histogram(msgspec.Struct):
    number: Count
    mean_ms: Number
    max_ms: Number
    edges_ms: list[Number]
    counts: list[Count]


class _Loop(msgspec.Struct):
    """`loop` in the metadata of an episode; jitter is missing in older ones."""

    lateness: _Histogram
    busy: _Histogram
    latency: _Histogram
    deciding: _Histogram
    jitter: _Histogram | None = None
    missed_ticks: Count = 0
    held_steps: Count = 0
    skipped_actions: Count = 0
    decisions: dict[str, Count] = {}


class _Interventions(msgspec.Struct):
    """`interventions`: all of them by kind; the first ones with steps, kind and reason."""

    counts: dict[str, Count] = {}
    told: list[tuple[Count, Count, str, str]] = []


@dataclass
class Times:
    """Durations, counted in bins.

    Attributes:
        edges_ms: [N] upper ends of the bins; one more holds what is longer.
        counts: [N + 1].
        sum_ms: of all durations; max_ms: the longest.
    """

    edges_ms: np.ndarray
    counts: np.ndarray
    sum_ms: float = 0.0
    max_ms: float = 0.0

    @property
    def number(self) -> int:
        """How many durations there are."""
        return int(self.counts.sum())


@dataclass
class Version:
    """Episodes of one policy, and how many of those whose outcome is known succeeded."""

    episodes: int = 0
    judged: int = 0
    successes: int = 0


@dataclass
class Loops:
    """All episodes of a loop together.

    Attributes:
        episodes: how many say something of their loop; steps: their control steps.
        unreadable: how many say something else there.
        missed_ticks, held_steps, skipped_actions: see docs/robot.md.
        times: name in `TIMES` -> its durations.
        decisions: what became of them, and how often.
        interventions: of the safety layer, by kind; reasons: of those that episodes list, with how
            many control steps each.
        person_steps: commanded by a person, in `person_episodes` of the episodes.
        versions: policy -> its episodes, in the order in which they acted.
    """

    episodes: int = 0
    steps: int = 0
    unreadable: int = 0
    missed_ticks: int = 0
    held_steps: int = 0
    skipped_actions: int = 0
    person_steps: int = 0
    person_episodes: int = 0
    times: dict[str, Times] = field(default_factory=dict)
    decisions: Counter[str] = field(default_factory=Counter)
    interventions: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    versions: dict[str, Version] = field(default_factory=dict)


def loops_of(summaries: Iterable[EpisodeSummary]) -> Loops | None:
    """What the episodes of a store say of the loop that recorded them; None if none does.

    Metadata may be anybody's: what is not as a loop writes it is counted as unreadable.
    """
    found = Loops()
    for summary in summaries:
        if "loop" not in summary.metadata:
            continue
        try:
            loop = msgspec.convert(summary.metadata["loop"], _Loop)
            told = msgspec.convert(summary.metadata.get("interventions", {}), _Interventions)
            times = {name: _times(getattr(loop, name)) for name in TIMES if getattr(loop, name)}
            person = taken_over(summary.metadata, "the episode")
        except (msgspec.ValidationError, DataError):
            found.unreadable += 1
            continue
        _add(found, summary, loop, told, times)
        by_person = sum(last - first + 1 for first, last in person)
        found.person_steps += by_person
        found.person_episodes += by_person > 0
    return found if found.episodes or found.unreadable else None


def _times(told: _Histogram) -> Times:
    """The histogram of one episode.

    Raises:
        DataError: its bins are none.
    """
    edges = np.array(told.edges_ms, np.float64)
    fits = 0 < len(edges) <= _MOST_EDGES and len(told.counts) == len(edges) + 1
    if not fits or not (np.diff(edges) > 0).all() or edges[0] <= 0:
        raise DataError("a histogram whose counts do not fit its edges")
    counts = np.array(told.counts, np.int64)
    return Times(edges, counts, told.mean_ms * int(counts.sum()), told.max_ms)


def _add(
    found: Loops,
    summary: EpisodeSummary,
    loop: _Loop,
    told: _Interventions,
    times: Mapping[str, Times],
) -> None:
    found.episodes += 1
    found.steps += summary.length
    found.missed_ticks += loop.missed_ticks
    found.held_steps += loop.held_steps
    found.skipped_actions += loop.skipped_actions
    found.decisions.update(loop.decisions)
    found.interventions.update(told.counts)
    for first, last, kind, why in told.told:
        found.reasons[f"{kind}: {why}"[:_MOST_LETTERS]] += max(last - first + 1, 0)
    for name, own in times.items():
        _pool(found.times, name, own)
    version = found.versions.setdefault(_version(summary.metadata), Version())
    version.episodes += 1
    if outcome_known(summary.metadata):
        version.judged += 1
        version.successes += summary.success


def _pool(times: dict[str, Times], name: str, own: Times) -> None:
    """Add an episode's durations to the others'; other bins than theirs are left out."""
    there = times.get(name)
    if there is None:
        times[name] = own
    elif np.array_equal(there.edges_ms, own.edges_ms):
        there.counts = there.counts + own.counts
        there.sum_ms += own.sum_ms
        there.max_ms = max(there.max_ms, own.max_ms)


def _version(metadata: Mapping[str, Any]) -> str:
    return str(metadata.get("policy_version") or "unknown")[:_MOST_LETTERS]
