"""What a profile declares, what follows from it, and every way of declaring nonsense."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytest

from softflow.data.task_profile import SUCCESS_PROFILE, Measure, TaskEvent, TaskProfile
from softflow.errors import EnvironmentContractError

RETRIEVED = TaskEvent("retrieved", 1.0)
CUT = TaskEvent("cut", 1.0, "success")
DROPPED = TaskEvent("dropped", -0.5, "failure")
SCISSORS = TaskProfile((RETRIEVED, CUT, DROPPED))
ALL_OF = TaskProfile((RETRIEVED, TaskEvent("cut", 1.0), DROPPED), success_when=("retrieved", "cut"))
TURNS = Measure("per_minute", "turned", "turns_per_minute", "turns/min", per_event=0.25)
CUBE = TaskProfile((TaskEvent("turned", 1.0), DROPPED), measures=(TURNS,))


def test_a_task_that_declares_nothing_has_a_success_rate() -> None:
    assert TaskProfile() == SUCCESS_PROFILE
    assert SUCCESS_PROFILE.kind == "success"
    assert SUCCESS_PROFILE.can_succeed
    assert [measure.name for measure in SUCCESS_PROFILE.measures] == ["success_rate"]


def test_the_default_measures_of_events() -> None:
    names = [measure.name for measure in SCISSORS.measures]
    assert names == ["success_rate", "retrieved_rate", "cut_rate", "dropped_rate"]
    only_failures = TaskProfile((TaskEvent("turned", 1.0), DROPPED))
    assert [measure.name for measure in only_failures.measures] == ["turned_rate", "dropped_rate"]


def test_the_first_measure_decides_between_events_and_count() -> None:
    assert (SCISSORS.kind, CUBE.kind) == ("events", "count")


def test_a_step_earns_the_sum_of_its_events() -> None:
    assert SCISSORS.reward([]) == 0.0
    assert SCISSORS.reward(["cut", "cut"]) == 2.0
    assert SCISSORS.reward(["retrieved", "dropped"]) == 0.5


@pytest.mark.parametrize(
    ("profile", "names", "success"),
    [
        (SCISSORS, [], False),
        (SCISSORS, ["retrieved"], False),
        (SCISSORS, ["cut"], True),
        (SCISSORS, ["retrieved", "dropped"], False),
        (ALL_OF, ["cut", "cut"], False),
        (ALL_OF, ["cut", "retrieved"], True),
        (ALL_OF, ["cut", "retrieved", "dropped"], False),
        (CUBE, ["turned"], False),
    ],
)
def test_which_events_are_a_success(profile: TaskProfile, names: list[str], success: bool) -> None:
    assert profile.succeeded(names) is success


def test_names_and_units_that_are_not_given() -> None:
    assert Measure("count", "turned").name == "turned_per_episode"
    assert Measure("before_failure", "turned").name == "turned_before_failure"
    assert Measure("per_minute", "full_turn").unit == "full turn/min"
    assert Measure("event_rate", "turned").unit == ""
    assert TURNS.title == "turns per minute"


def test_a_profile_has_a_json_form() -> None:
    value = json.loads(json.dumps(asdict(CUBE)))
    again = TaskProfile(
        tuple(TaskEvent(**event) for event in value["events"]),
        tuple(value["success_when"]),
        tuple(Measure(**measure) for measure in value["measures"]),
    )
    assert again == CUBE


# As somebody writes them who does not check types.
EVENT: Any = TaskEvent
MEASURE: Any = Measure
PROFILE: Any = TaskProfile


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: EVENT("Cut!", 1.0), r"an event is called 'Cut!'; use lower-case"),
        (lambda: EVENT("cut", 1.0, "win"), r"'cut' has kind 'win'; choose one of success"),
        (lambda: EVENT("cut", float("nan")), r"'cut' has value nan; give a finite number"),
        (lambda: EVENT("cut", "1"), r"'cut' has value '1'; give a finite number"),
        (lambda: MEASURE("median"), r"measure of kind 'median'; choose one of success_rate"),
        (lambda: MEASURE("count"), r"'count' of event ''; every kind but success_rate needs"),
        (lambda: MEASURE("success_rate", "cut"), r"'success_rate' of event 'cut'"),
        (lambda: MEASURE("count", "cut", "per min"), r"a measure is called 'per min'"),
        (lambda: MEASURE("count", "cut", per_event=0), r"per_event is 0; make it > 0"),
        (lambda: PROFILE((CUT, CUT)), r"two events are called 'cut'"),
        (lambda: PROFILE(("cut",)), r"events holds 'cut'; make it a TaskEvent"),
        (lambda: PROFILE(measures=(CUT,)), r"measures holds .*; make it a Measure"),
        (lambda: PROFILE((CUT,), ("cutt",)), r"success_when: event 'cutt' is .*mean 'cut'\?"),
        (lambda: PROFILE((DROPPED,), ("dropped",)), r"'dropped', which is a failure"),
        (lambda: PROFILE((), ("cut",)), r"'cut' is not declared in .*; declared: none"),
        (
            lambda: PROFILE((CUT,), (), (MEASURE("count", "turn"),)),
            r"measure 'turn_per_episode': event 'turn' is not declared",
        ),
        (
            lambda: PROFILE((DROPPED,), (), (MEASURE("success_rate"),)),
            r"the success rate would always be 0",
        ),
        (
            lambda: PROFILE((CUT,), (), (MEASURE("before_failure", "cut"),)),
            r"'cut_before_failure' counts before a failure; declare an event of kind 'failure'",
        ),
        (
            lambda: PROFILE((CUT,), (), (MEASURE("count", "cut"), MEASURE("count", "cut"))),
            r"two measures are called 'cut_per_episode'",
        ),
    ],
)
def test_nonsense_is_refused(declare: Callable[[], Any], message: str) -> None:
    with pytest.raises(EnvironmentContractError, match=message):
        declare()
