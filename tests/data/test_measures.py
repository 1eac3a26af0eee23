"""Measures of stored episodes, worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from softflow.data.episode import Episode
from softflow.data.measures import EpisodeFacts, Measured, measure_episodes, measures_of
from softflow.data.task_profile import SUCCESS_PROFILE, Measure, TaskEvent, TaskProfile
from softflow.utils.intervals import bootstrap_ratio, wilson_interval

CUBE = TaskProfile(
    (TaskEvent("turned", 1.0), TaskEvent("dropped", 0.0, "failure")),
    measures=(
        Measure("count", "turned", "turns", "turns", per_event=0.25),
        Measure("per_minute", "turned", "turns_per_minute", "turns/min", per_event=0.25),
        Measure("before_failure", "turned", "turns_before_drop", "turns", per_event=0.25),
        Measure("event_rate", "dropped"),
    ),
)
CONTROL_HZ = 10.0

# Half a minute with 8 quarter turns and a drop; a minute and a half with 4, cut by the time limit.
DROPPING = EpisodeFacts(False, True, 300, ("turned",) * 8 + ("dropped",))
LASTING = EpisodeFacts(False, False, 900, ("turned",) * 4)


def test_every_measure_by_hand() -> None:
    turns, rate, before, drops = measure_episodes(CUBE, [DROPPING, LASTING], CONTROL_HZ)
    # 2 turns and 1 turn, in two episodes.
    assert (turns.value, turns.low, turns.high) == (1.5, 1.0, 2.0)
    # 3 turns in 2 minutes; not the mean of 4 and 2/3 turns a minute.
    assert rate.value == 1.5
    assert (rate.low, rate.high) == pytest.approx((2 / 3, 4.0))
    # 3 turns by one drop: the turns of the episode that was not dropped count, its end does not.
    # A quarter of the draws holds no drop, so nothing bounds it from above.
    assert (before.value, before.low, before.high) == (3.0, 2.0, None)
    assert (drops.value, drops.num_episodes) == (0.5, 2)
    assert (drops.low, drops.high) == wilson_interval(1, 2)


def test_where_every_episode_fails_the_count_before_it_is_the_mean() -> None:
    facts = [EpisodeFacts(False, True, 100, ("turned",) * n + ("dropped",)) for n in (1, 2, 6, 3)]
    turns, _, before, _ = measure_episodes(CUBE, facts, CONTROL_HZ)
    assert (before.value, before.low, before.high) == (turns.value, turns.low, turns.high)
    assert before.value == 0.75
    assert (turns.low, turns.high) == bootstrap_ratio([0.25, 0.5, 1.5, 0.75], [1.0] * 4)


def test_without_a_failure_the_count_before_it_is_not_known() -> None:
    _, _, before, _ = measure_episodes(CUBE, [LASTING, LASTING], CONTROL_HZ)
    assert (before.value, before.low, before.high) == (None, None, None)
    assert before.metrics() == {}


def test_an_event_twice_in_an_episode_is_one_episode_of_the_rate_and_two_of_the_count() -> None:
    profile = TaskProfile(
        (TaskEvent("cut", 1.0),),
        measures=(Measure("event_rate", "cut"), Measure("count", "cut")),
    )
    facts = [EpisodeFacts(False, False, 9, ("cut", "cut")), EpisodeFacts(False, False, 9, ())]
    rate, count = measure_episodes(profile, facts, CONTROL_HZ)
    assert (rate.value, count.value) == (0.5, 1.0)


def test_the_success_rate_is_what_it_always_was() -> None:
    facts = [EpisodeFacts(number < 3, False, 5, ()) for number in range(7)]
    (rate,) = measure_episodes(SUCCESS_PROFILE, facts, CONTROL_HZ)
    assert (rate.value, rate.low, rate.high) == (3 / 7, *wilson_interval(3, 7))
    expected = {"success_rate": 3 / 7, "interval_low": rate.low, "interval_high": rate.high}
    assert rate.metrics() == expected


def test_names_in_metrics_cannot_meet_those_of_training() -> None:
    found = Measured(Measure("count", "turned", "nll"), 2.0, 1.0, None, 3)
    assert found.metrics() == {"measures/nll": 2.0, "measures/nll_low": 1.0}


def test_measures_survive_json() -> None:
    measured = measure_episodes(CUBE, [DROPPING, LASTING], CONTROL_HZ)
    value = json.loads(json.dumps([found.to_json() for found in measured]))
    assert measures_of({"measures": value}) == measured
    assert (
        value[2].items()
        >= {
            "name": "turns_before_drop",
            "value": 3.0,
            "low": 2.0,
            "high": None,
            "kind": "before_failure",
            "unit": "turns",
            "num_episodes": 2,
        }.items()
    )


def test_an_older_result_measures_success() -> None:
    older = {"success_rate": 0.5, "interval_low": 0.2, "interval_high": 0.8, "num_episodes": 6}
    assert measures_of(older) == (Measured(Measure("success_rate"), 0.5, 0.2, 0.8, 6),)


def test_facts_of_an_episode_leave_out_what_a_label_cut_off() -> None:
    episode = Episode(
        {"observation.state": np.zeros((4, 1), np.float32)},
        np.zeros((3, 1), np.float32),
        np.zeros(3, np.float32),
        terminated=True,
        truncated=False,
        success=False,
        metadata={"events": [[0, "turned"], [2, "turned"], [3, "dropped"]]},
    )
    assert EpisodeFacts.of(episode) == EpisodeFacts(False, True, 3, ("turned", "turned"))
