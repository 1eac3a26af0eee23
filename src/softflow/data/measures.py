"""What a task's profile says about a set of episodes, from the episodes as they are stored.

Every measure is a sum over the episodes divided by another one: successes by episodes, turns by
minutes, turns by drops. `parts` gives both sums' terms, an episode each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Protocol

import msgspec
import numpy as np

from softflow.data.metadata import metadata_value
from softflow.data.task_profile import Measure, TaskProfile
from softflow.errors import DataError
from softflow.utils.documents import misfit
from softflow.utils.intervals import Interval, bootstrap_ratio, wilson_interval

EVENTS_KEY = "events"
"""Metadata of an episode whose task declares events: [[control step, name], …], in order."""
METRIC_PREFIX = "measures/"
"""In front of the names of measures in metrics.csv: no metric of training is called so."""


class EpisodeLike(Protocol):
    """What an `Episode` and an `EpisodeSummary` have in common."""

    @property
    def success(self) -> bool:
        """Whether the episode reached its goal."""
        ...

    @property
    def terminated(self) -> bool:
        """Whether the task itself ended it."""
        ...

    @property
    def length(self) -> int:
        """Control steps."""
        ...

    @property
    def metadata(self) -> dict[str, Any]:
        """JSON-able facts, the events among them."""
        ...


@dataclass(frozen=True)
class EpisodeFacts:
    """What measures need to know of an episode.

    Args:
        success: whether it succeeded; failure: whether an event ended it as a failure.
        length: control steps.
        events: names of its events, in order, each as often as it happened.
    """

    success: bool
    failure: bool
    length: int
    events: tuple[str, ...]

    @classmethod
    def of(cls, episode: EpisodeLike) -> EpisodeFacts:
        """The facts of an episode, or of its summary.

        A label may have cut the episode since; what was recorded behind its end does not count.
        """
        told = metadata_value(episode.metadata, EVENTS_KEY, list[tuple[int, str]], [], "an episode")
        names = tuple(name for step, name in told if step < episode.length)
        failure = bool(episode.terminated) and not episode.success
        return cls(bool(episode.success), failure, episode.length, names)


MAX_NUMBER = 1e15
"""Larger ones are no result of anything, and leave every chart."""
Number = Annotated[float, msgspec.Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)]
Count = Annotated[int, msgspec.Meta(ge=0, le=10**15)]


class _Numbers(msgspec.Struct):
    value: Number | None
    low: Number | None
    high: Number | None
    num_episodes: Count


class _Rate(msgspec.Struct):
    success_rate: Number
    interval_low: Number
    interval_high: Number
    num_episodes: Count


@dataclass(frozen=True)
class Measured:
    """A measure of a set of episodes.

    Args:
        measure: what was measured.
        value: None where it is not known (turns per drop without a drop).
        low, high: ends of the 95 % interval, None where nothing bounds it.
        num_episodes: how many episodes it comes from.
    """

    measure: Measure
    value: float | None
    low: float | None
    high: float | None
    num_episodes: int

    def to_json(self) -> dict[str, Any]:
        """The form on disk: the fields of the measure, then its numbers."""
        numbers = {name: getattr(self, name) for name in ("value", "low", "high", "num_episodes")}
        return asdict(self.measure) | numbers

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Measured:
        """The inverse of `to_json`.

        Raises:
            DataError, EnvironmentContractError: it is damaged.
        """
        try:
            numbers = msgspec.convert(value, _Numbers)
            measure = msgspec.convert(value, Measure)
        except msgspec.ValidationError as error:
            raise DataError(f"a measure is damaged: {misfit(error, value)}") from error
        return cls(measure, numbers.value, numbers.low, numbers.high, numbers.num_episodes)

    def metrics(self) -> dict[str, float]:
        """What metrics.csv records of it: value and interval, as far as they are known."""
        names = ("success_rate", "interval_low", "interval_high")
        if self.measure.kind != "success_rate":
            name = METRIC_PREFIX + self.measure.name
            names = (name, f"{name}_low", f"{name}_high")
        numbers = zip(names, (self.value, self.low, self.high), strict=True)
        return {name: number for name, number in numbers if number is not None}


def measure_episodes(
    profile: TaskProfile, episodes: Sequence[EpisodeFacts], control_hz: float
) -> tuple[Measured, ...]:
    """Every measure of a profile over some episodes, in the profile's order."""
    return tuple(_measured(measure, episodes, control_hz) for measure in profile.measures)


def measures_of(result: Mapping[str, Any]) -> tuple[Measured, ...]:
    """The measures of an evaluation's JSON; of an older one, which has none, the success rate.

    Raises:
        DataError, EnvironmentContractError: it is damaged.
    """
    if "measures" in result:
        if not isinstance(result["measures"], list) or not result["measures"]:
            raise DataError(f"measures is {result['measures']!r:.60}, expected a list of measures")
        return tuple(map(Measured.from_json, result["measures"]))
    try:
        rate = msgspec.convert(result, _Rate)
    except msgspec.ValidationError as error:
        raise DataError(f"the success rate is damaged: {misfit(error, result)}") from error
    numbers = (rate.success_rate, rate.interval_low, rate.interval_high, rate.num_episodes)
    return (Measured(Measure("success_rate"), *numbers),)


def parts(
    measure: Measure, episodes: Sequence[EpisodeFacts], control_hz: float
) -> tuple[np.ndarray, np.ndarray]:
    """Numerators and denominators [N] whose sums' ratio the measure is, an episode each."""
    if measure.kind == "success_rate":
        above = [float(episode.success) for episode in episodes]
    elif measure.kind == "event_rate":
        above = [float(measure.event in episode.events) for episode in episodes]
    else:
        above = [measure.per_event * episode.events.count(measure.event) for episode in episodes]
    below = np.ones(len(episodes))
    if measure.kind == "per_minute":
        below = np.array([episode.length / control_hz / 60 for episode in episodes])
    elif measure.kind == "before_failure":
        below = np.array([float(episode.failure) for episode in episodes])
    return np.array(above), below


def _measured(measure: Measure, episodes: Sequence[EpisodeFacts], control_hz: float) -> Measured:
    above, below = parts(measure, episodes, control_hz)
    value = float(above.sum()) / float(below.sum()) if below.sum() > 0 else None
    if measure.is_rate:
        interval = wilson_interval(round(float(above.sum())), len(episodes))
    else:
        interval = bootstrap_ratio(above.tolist(), below.tolist())
    return Measured(measure, value, *_known(interval), len(episodes))


def _known(interval: Interval) -> tuple[float | None, float | None]:
    low, high = (end if math.isfinite(end) else None for end in interval)
    return low, high
