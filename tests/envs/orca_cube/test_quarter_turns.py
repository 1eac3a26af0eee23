"""Quarter turns are counted once each, whatever the cube does in between."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softflow.envs.orca_cube.quarter_turns import QuarterTurns, quarter_change

QUARTER = np.pi / 2


def _counted(turns: list[float], direction: float = 1.0) -> list[int]:
    counter = QuarterTurns(1)
    asked = np.array([direction])
    return [int(counter.update(np.array([turn]), asked)[0]) for turn in turns]


def test_each_quarter_counts_in_the_step_that_finishes_it() -> None:
    assert _counted([1.0, 0.5, 0.08, 1.5, 0.1]) == [0, 0, 1, 0, 1]


def test_two_quarters_in_one_step_are_two() -> None:
    assert _counted([2.1 * QUARTER]) == [2]


def test_the_other_direction_counts_only_where_it_is_asked_for() -> None:
    assert _counted([-2.0, -2.0]) == [0, 0]
    assert _counted([-2.0, -2.0], direction=-1.0) == [1, 1]


@given(st.lists(st.floats(-1.4, 1.4), max_size=40))
def test_rocking_earns_nothing(swings: list[float]) -> None:
    there_and_back = [turn for swing in swings for turn in (swing, -swing)]
    assert sum(_counted(there_and_back)) == 0


@given(st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=60))
def test_never_more_than_the_farthest_the_cube_ever_was(turns: list[float]) -> None:
    farthest = max(0.0, float(np.cumsum(turns).max()))
    assert sum(_counted(turns)) == np.floor(farthest / QUARTER + 1e-9)


def test_a_new_direction_counts_from_where_the_cube_is() -> None:
    counter = QuarterTurns(1)
    forward, back = np.array([1.0]), np.array([-1.0])
    assert counter.update(np.array([1.9 * QUARTER]), forward)[0] == 1
    assert counter.update(np.array([-0.5]), back)[0] == 0
    assert counter.update(np.array([-QUARTER]), back)[0] == 1
    assert counter.progress_rad[0] == pytest.approx(QUARTER + 0.5)


def test_only_the_cubes_that_begin_anew_are_reset() -> None:
    counter = QuarterTurns(2)
    asked = np.ones(2)
    counter.update(np.full(2, 1.5), asked)
    counter.reset(np.array([0]))
    assert list(counter.update(np.full(2, 0.1), asked)) == [0, 1]


@given(st.floats(-0.7, 0.7), st.floats(-0.7, 0.7), st.integers(-3, 3))
def test_the_change_of_a_yaw_known_up_to_quarters(
    before: float, change: float, quarters: int
) -> None:
    after = before + change + quarters * QUARTER
    found = quarter_change(np.array([before]), np.array([after]))
    assert found[0] == pytest.approx(change, abs=1e-9)
