"""A fixed rate: late ticks are counted, never made up for in a burst."""

from __future__ import annotations

import time
from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from toy_robot import FakeClock

from softflow.robot.timing.histograms import EDGES_MS, Histogram
from softflow.robot.timing.ticks import MonotonicClock, Ticker

PERIOD_S = 0.05


@given(
    st.sampled_from([PERIOD_S, 0.4]).flatmap(
        lambda most_s: st.lists(st.floats(0, most_s), min_size=1, max_size=40)
    )
)
@example([0.0625, 0.0625, 0.0])  # each a quarter late: two of them are half a period
def test_ticks_are_never_closer_than_half_a_period(busy: list[float]) -> None:
    clock = FakeClock()
    ticker = Ticker(clock, PERIOD_S)
    begun_s = clock.time_s
    times, missed = [], 0
    for duration_s in busy:
        tick = ticker.wait()
        times.append(tick.at_s)
        missed += tick.missed
        assert abs(tick.late_s / PERIOD_S - tick.missed) <= 0.5 + 1e-9
        clock.time_s += duration_s
    gaps = [after - before for before, after in pairwise(times)]
    assert all(gap >= PERIOD_S / 2 - 1e-9 for gap in gaps)
    # Every control step of the time that went by was either ticked or counted as missed.
    assert abs(len(times) - 1 + missed - (times[-1] - begun_s) / PERIOD_S) <= 0.5 * len(times)
    if max(busy) <= PERIOD_S:
        assert missed == 0


def test_in_time_it_keeps_the_phase() -> None:
    clock = FakeClock(late=iter([0.0, 0.01, 0.02, 0.0, 0.2, 0.0]).__next__)
    ticker = Ticker(clock, PERIOD_S)
    ticks = [ticker.wait() for _ in range(6)]
    assert [round(tick.at_s - 100, 3) for tick in ticks] == [0, 0.06, 0.12, 0.15, 0.4, 0.45]
    assert [tick.missed for tick in ticks] == [0, 0, 0, 0, 4, 0]


def test_on_the_real_clock() -> None:
    clock = MonotonicClock()
    begun_s = time.monotonic()
    ticker = Ticker(clock, 0.01)
    ticks = [ticker.wait() for _ in range(6)]
    assert ticks[-1].at_s - begun_s >= 0.05
    assert ticks[0].late_s >= 0


def test_histograms_count_every_duration() -> None:
    histogram = Histogram()
    for duration_s in (0, 0.0001, 0.00011, 0.02, 99):
        histogram.add(duration_s)
    told = histogram.metadata()
    assert len(told["counts"]) == len(EDGES_MS) + 1
    assert (told["number"], told["max_ms"]) == (5, 99000)
    assert told["counts"][:2] == [2, 1]
    assert told["counts"][EDGES_MS.index(20)] == 1
    assert told["counts"][-1] == 1
