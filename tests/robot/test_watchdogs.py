"""What is missing is noticed in time, and a clock that is set back hides nothing."""

from __future__ import annotations

import numpy as np

from softflow.robot.safety.interventions import MOST_TOLD, Interventions
from softflow.robot.safety.limits import Patience
from softflow.robot.safety.watchdogs import FrozenWatch, Watchdog


def test_first_hold_then_stop() -> None:
    dog = Watchdog(Patience(0.5, 2.0), now_s=10.0)
    assert [dog.verdict(now) for now in (10.0, 10.5, 10.6, 12.0, 12.1)] == [
        "go on",
        "go on",
        "hold",
        "hold",
        "stop",
    ]
    dog.seen(12.0)
    assert dog.verdict(12.4) == "go on"
    dog.seen(3.0)  # an old sign of life is none
    assert dog.verdict(12.6) == "hold"
    assert dog.missing_s(11.0) == 0


def test_an_observation_that_repeats_itself_is_named() -> None:
    watch = FrozenWatch(1.0)
    moving, fixed = np.arange(3.0), np.ones(2)
    for tick in range(4):
        seen = {"observation.a": moving + tick, "observation.b": fixed}
        told = watch.frozen(seen, tick * 0.5)
        assert told == ("observation.b" if tick == 3 else "")
    assert FrozenWatch(0).frozen({"observation.b": fixed}, 1e9) == ""


def test_interventions_are_counted_and_the_first_ones_told() -> None:
    done = Interventions()
    for step in (3, 4, 5, 8):
        done.add(step, "clipped", "x")
    done.add(9, "held", "no decision")
    assert done.metadata() == {
        "counts": {"clipped": 4, "held": 1},
        "told": [[3, 5, "clipped", "x"], [8, 8, "clipped", "x"], [9, 9, "held", "no decision"]],
    }
    for step in range(1000):
        done.add(2 * step, "refused", str(step))
    assert len(done.metadata()["told"]) == MOST_TOLD
    assert done.metadata()["counts"]["refused"] == 1000
