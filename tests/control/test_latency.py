"""Latencies in milliseconds, drawn per decision, as delays in whole control steps."""

from __future__ import annotations

import pytest

from softflow.control.latency import Latency
from softflow.errors import ConfigError


@pytest.mark.parametrize(
    ("latency_ms", "hz", "steps"),
    [(0, 10, 0), (1, 10, 1), (100, 10, 1), (100.1, 10, 2), (149, 20, 3), (150, 20, 3), (30, 50, 2)],
)
def test_a_command_is_given_once_a_control_step(latency_ms: float, hz: float, steps: int) -> None:
    draw = Latency(latency_ms, latency_ms).draws(hz, seed=3)
    assert {draw() for _ in range(5)} == {steps}


def test_a_range_is_drawn_from_and_the_same_for_the_same_seed() -> None:
    latency = Latency(0, 400)
    draws = [latency.draws(10, seed) for seed in (1, 1, 2)]
    drawn = [[draw() for _ in range(200)] for draw in draws]
    assert drawn[0] == drawn[1] != drawn[2]
    assert set(drawn[0]) == {1, 2, 3, 4}
    assert (str(latency), str(Latency(250, 250)), bool(latency), bool(Latency())) == (
        "0-400ms",
        "250ms",
        True,
        False,
    )


def test_a_robot_that_stops_to_think_has_another_name() -> None:
    assert str(Latency(50, 50, stops_to_think=True)) == "50ms-stopping"


@pytest.mark.parametrize("ends", [(2, 1), (-1, 1), (0, 1e6), (float("nan"), 1.0)])
def test_what_is_no_range_is_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match=r"one or two numbers, the lower first"):
        Latency(*ends)
