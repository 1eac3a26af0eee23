"""What a task rewards, how its episodes end, and what is measured of them: its profile.

Three profiles follow from what a task declares:

    success   nothing: one reward of 1 per episode, in the step that succeeds and ends it
    events    kinds of events, each with its reward; some end the episode
    count     the same, but the first of its measures is a count, not a rate of episodes

The scissors of the paper (V-B), then its cube (V-C), where 90 degrees are a quarter of a turn:

    TaskProfile((
        TaskEvent("retrieved", 1.0),
        TaskEvent("cut", 1.0, "success"),
        TaskEvent("dropped", 0.0, "failure"),
    ))
    TaskProfile(
        (TaskEvent("rotated", 1.0), TaskEvent("dropped", 0.0, "failure")),
        measures=(
            Measure("per_minute", "rotated", "turns_per_minute", "turns/min", per_event=0.25),
            Measure("before_failure", "rotated", "turns_before_drop", "turns", per_event=0.25),
        ),
    )
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from softflow.errors import EnvironmentContractError

EventKind = Literal["success", "failure", "reward"]
"""As in labels: "success" and "failure" end the episode, "reward" does not."""
MeasureKind = Literal["success_rate", "event_rate", "count", "per_minute", "before_failure"]
ProfileKind = Literal["success", "events", "count"]
RATES: tuple[MeasureKind, ...] = ("success_rate", "event_rate")
"""The measures that are shares of episodes, within [0, 1]; the others count events."""

_PLAIN_NAME = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True)
class TaskEvent:
    """A kind of event that a task knows.

    Args:
        name: lower case, digits and underscores.
        value: reward each time it happens.
        kind: "success" and "failure" end the episode in that step; "reward" does not.

    Raises:
        EnvironmentContractError: a field is unusable.
    """

    name: str
    value: float
    kind: EventKind = "reward"

    def __post_init__(self) -> None:
        _require_plain(self.name, "an event")
        if self.kind not in get_args(EventKind):
            raise _broken(
                f"event {self.name!r} has kind {self.kind!r}; choose one of "
                f"{', '.join(get_args(EventKind))}"
            )
        if not isinstance(self.value, int | float) or not math.isfinite(self.value):
            raise _broken(f"event {self.name!r} has value {self.value!r}; give a finite number")


@dataclass(frozen=True)
class Measure:
    """A number that evaluation shows, over a set of episodes.

    Args:
        kind: "success_rate", share of episodes that succeeded; "event_rate", share in which an
            event happened; "count", events per episode; "per_minute", all events by all minutes;
            "before_failure", all events by the number of episodes that ended with failure (where
            every episode does, the mean count before it).
        event: what is counted; empty for "success_rate".
        name: how it is called in files; the default says kind and event.
        unit: of a count, as shown to people; the default is the event (and "/min").
        per_event: how much one event counts, in `unit`: 0.25 turns for 90 degrees.

    Raises:
        EnvironmentContractError: a field is unusable.
    """

    kind: MeasureKind
    event: str = ""
    name: str = ""
    unit: str = ""
    per_event: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(MeasureKind):
            raise _broken(
                f"measure of kind {self.kind!r}; choose one of {', '.join(get_args(MeasureKind))}"
            )
        if bool(self.event) != (self.kind != "success_rate"):
            raise _broken(
                f"measure {self.kind!r} of event {self.event!r}; every kind but success_rate needs "
                "the name of an event"
            )
        object.__setattr__(self, "name", self.name or self._default_name())
        _require_plain(self.name, "a measure")
        if not self.is_rate and not self.unit:
            unit = self.event.replace("_", " ") + "/min" * (self.kind == "per_minute")
            object.__setattr__(self, "unit", unit)
        if not (math.isfinite(self.per_event) and self.per_event > 0):
            raise _broken(f"measure {self.name!r}: per_event is {self.per_event}; make it > 0")

    def _default_name(self) -> str:
        if self.kind == "success_rate":
            return "success_rate"
        ending = {"event_rate": "rate", "count": "per_episode"}.get(self.kind, self.kind)
        return f"{self.event}_{ending}"

    @property
    def is_rate(self) -> bool:
        """Whether it is a share of episodes, within [0, 1]."""
        return self.kind in RATES

    @property
    def short_title(self) -> str:
        """How charts and consoles call it: success, turns per minute."""
        return "success" if self.kind == "success_rate" else self.title

    @property
    def title(self) -> str:
        """Its name as people read it: turns per minute."""
        return self.name.replace("_", " ")


@dataclass(frozen=True)
class TaskProfile:
    """What an environment declares as `task_profile`; see the module's docstring.

    An episode succeeds if it ends with an event of kind "success", or if every event of
    `success_when` happened in it and it does not end with a failure.

    Args:
        events: the kinds of events; none: the success profile.
        success_when: names of events that together are a success, without ending the episode.
        measures: what evaluation shows, the most important first; the default is the success rate
            (if the task can succeed) and the rate of every kind of event.

    Raises:
        EnvironmentContractError: names that are not declared or are declared twice, or a measure
            that says nothing about this task.
    """

    events: tuple[TaskEvent, ...] = ()
    success_when: tuple[str, ...] = ()
    measures: tuple[Measure, ...] = ()

    def __post_init__(self) -> None:
        for name in ("events", "success_when", "measures"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        _require_all(TaskEvent, self.events, "events")
        _require_all(Measure, self.measures, "measures")
        _require_unique((event.name for event in self.events), "event")
        self._check_success_when()
        object.__setattr__(self, "measures", self.measures or self._default_measures())
        _require_unique((measure.name for measure in self.measures), "measure")
        for measure in self.measures:
            self._check_measure(measure)

    def _check_success_when(self) -> None:
        for name in self.success_when:
            if self.event(name, "success_when").kind == "failure":
                raise _broken(f"success_when holds {name!r}, which is a failure; leave it out")

    def _default_measures(self) -> tuple[Measure, ...]:
        success = (Measure("success_rate"),) if self.can_succeed else ()
        return success + tuple(Measure("event_rate", event.name) for event in self.events)

    def _check_measure(self, measure: Measure) -> None:
        if measure.kind == "success_rate" and not self.can_succeed:
            raise _broken(
                "the success rate would always be 0: declare an event of kind 'success', or "
                "success_when"
            )
        if measure.event:
            self.event(measure.event, f"measure {measure.name!r}")
        if measure.kind == "before_failure" and not self.can_fail:
            raise _broken(
                f"measure {measure.name!r} counts before a failure; declare an event of kind "
                "'failure'"
            )

    @property
    def kind(self) -> ProfileKind:
        """Which of the three profiles this is."""
        if not self.events:
            return "success"
        return "events" if self.measures[0].is_rate else "count"

    @property
    def can_succeed(self) -> bool:
        """Whether an episode can be a success."""
        ends = any(event.kind == "success" for event in self.events)
        return not self.events or ends or bool(self.success_when)

    @property
    def can_fail(self) -> bool:
        """Whether an event can end an episode as a failure."""
        return any(event.kind == "failure" for event in self.events)

    def event(self, name: str, where: str) -> TaskEvent:
        """The declared kind of event of that name; `where` says in messages who asks for it.

        Raises:
            EnvironmentContractError: none is declared; names the nearest ones.
        """
        for event in self.events:
            if event.name == name:
                return event
        known = [event.name for event in self.events]
        near = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"declared: {', '.join(known) or 'none'}"
        raise _broken(f"{where}: event {name!r} is not declared in task_profile; {hint}")

    def reward(self, names: Iterable[str]) -> float:
        """What a step earns in which these events happened."""
        return float(sum(self.event(name, "reward").value for name in names))

    def endings(self, names: Iterable[str]) -> list[TaskEvent]:
        """Those of the events that end an episode."""
        events = (self.event(name, "endings") for name in names)
        return [event for event in events if event.kind != "reward"]

    def succeeded(self, names: Sequence[str]) -> bool:
        """Whether an episode in which these events happened is a success, were it over now."""
        kinds = {event.kind for event in self.endings(names)}
        together = bool(self.success_when) and set(self.success_when) <= set(names)
        return "success" in kinds or (together and "failure" not in kinds)


def _broken(message: str) -> EnvironmentContractError:
    return EnvironmentContractError(f"task_profile: {message}")


def is_plain_name(name: str) -> bool:
    """Whether something may be called so: lower case, digits, underscores, a letter in front."""
    return bool(_PLAIN_NAME.fullmatch(name))


def _require_plain(name: Any, what: str) -> None:
    if not isinstance(name, str) or not is_plain_name(name):
        raise _broken(
            f"{what} is called {name!r}; use lower-case letters, digits and underscores, starting "
            "with a letter (the name becomes a field of metrics.csv)"
        )


def _require_all(kind: type, values: Iterable[Any], what: str) -> None:
    for value in values:
        if not isinstance(value, kind):
            raise _broken(f"{what} holds {value!r}; make it a {kind.__name__}")


def _require_unique(names: Iterable[str], what: str) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise _broken(f"two {what}s are called {name!r}; give each its own name")
        seen.add(name)


SUCCESS_PROFILE = TaskProfile()
"""Of a task that declares nothing: reward 1 in the step that succeeds and ends the episode."""
