"""Targets between actions never jump and never leave what lies between the actions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softflow.robot.ros2.ramp import Ramp

STEP_S = 0.1
ACTIONS = st.lists(
    st.tuples(st.floats(-1, 1), st.floats(0.05, 0.3)), min_size=1, max_size=20
)  # target, and how long after the one before it comes


@given(ACTIONS)
def test_between_the_actions_and_no_faster_than_they_are(
    actions: list[tuple[float, float]],
) -> None:
    ramp, now_s = Ramp(STEP_S), 0.0
    ramp.begin(np.zeros(1), now_s)
    targets = [0.0]
    for target, wait_s in actions:
        largest = max(abs(target - old) for old in targets)
        before = ramp.at(now_s)
        ramp.go_to(np.array([target]), now_s)
        targets.append(target)
        assert ramp.at(now_s) == pytest.approx(before)
        places = [float(ramp.at(now_s + at)[0]) for at in np.linspace(0, wait_s, 30)]
        assert min(targets) - 1e-9 <= min(places) <= max(places) <= max(targets) + 1e-9
        assert np.abs(np.diff(places)).max() <= largest / STEP_S * wait_s / 29 + 1e-9
        now_s += wait_s
    assert ramp.at(now_s + STEP_S) == pytest.approx(targets[-1:])


@given(st.floats(0.02, 0.2), st.floats(0.01, 1))
def test_even_actions_give_no_faster_targets_whatever_the_ticks(tick_s: float, by: float) -> None:
    ramp = Ramp(STEP_S)
    ramp.begin(np.zeros(1), 0.0)
    for number in range(1, 40):
        ramp.go_to(np.array([number * by]), number * tick_s)
        ways = np.diff([ramp.at((number + part) * tick_s)[0] for part in np.linspace(0, 1, 9)])
        # Targets lag a step behind, and catch up if actions come faster than that.
        assert ways.max() * 8 / tick_s <= by / min(tick_s, STEP_S) + 1e-6


def test_it_stands_still_where_it_began() -> None:
    ramp = Ramp(STEP_S)
    ramp.begin(np.array([0.3, -0.2]), 5.0)
    assert ramp.at(4.0).tolist() == ramp.at(9.0).tolist() == [0.3, -0.2]
