"""Intervals against known values and against distributions worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softflow.errors import DataError
from softflow.utils.intervals import bootstrap_ratio, wilson_interval


@pytest.mark.parametrize(
    ("successes", "n", "confidence", "low", "high"),
    [
        # scipy.stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
        (41, 100, 0.95, 0.3186731, 0.5079857),
        (92, 100, 0.95, 0.8500189, 0.9589065),
        (0, 10, 0.95, 0.0, 0.2775328),
        (10, 10, 0.95, 0.7224672, 1.0),
        (1, 3, 0.95, 0.0614919, 0.7923404),
        (50, 100, 0.99, 0.3752796, 0.6247204),
    ],
)
def test_wilson_interval_known_values(
    successes: int, n: int, confidence: float, low: float, high: float
) -> None:
    interval = wilson_interval(successes, n, confidence)
    assert interval.low == pytest.approx(low, abs=2e-7)
    assert interval.high == pytest.approx(high, abs=2e-7)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_interval_holds_the_rate_and_is_symmetric(case: tuple[int, int]) -> None:
    successes, n = case
    low, high = wilson_interval(successes, n)
    assert 0.0 <= low <= successes / n <= high <= 1.0
    mirrored = wilson_interval(n - successes, n)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((low, high), abs=1e-12)


def test_wilson_interval_without_episodes_knows_nothing() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "n", "confidence"), [(3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1)])
def test_wilson_interval_refuses_nonsense(successes: int, n: int, confidence: float) -> None:
    with pytest.raises(DataError, match=r"successes|confidence"):
        wilson_interval(successes, n, confidence)


def binomial_quantile(n: int, quantile: float) -> int:
    """The smallest k with P(Binomial(n, 1/2) <= k) >= quantile."""
    below, k = 0.0, -1
    while below < quantile:
        k += 1
        below += math.comb(n, k) / 2**n
    return k


def test_bootstrap_of_a_mean_is_the_binomial_it_draws_from() -> None:
    """Half of 40 episodes with one count: a draw's sum is Binomial(40, 1/2)."""
    low, high = bootstrap_ratio([0.0, 1.0] * 20, [1.0] * 40)
    assert low == pytest.approx(binomial_quantile(40, 0.025) / 40, abs=0.011)
    assert high == pytest.approx(binomial_quantile(40, 0.975) / 40, abs=0.011)


def test_bootstrap_of_two_episodes_by_hand() -> None:
    """Draws give 0, 1, 1 or 2 with 1/4 each: both ends are extremes at 95 %, the mean at 40 %."""
    assert bootstrap_ratio([0.0, 2.0], [1.0, 1.0]) == (0.0, 2.0)
    assert bootstrap_ratio([0.0, 2.0], [1.0, 1.0], confidence=0.4) == (1.0, 1.0)


def test_a_ratio_divides_sums_and_does_not_average_ratios() -> None:
    """3 counts in 1 min and 1 in 9 min: 4 / 10 min in half of the draws, never (3 + 1/9) / 2."""
    counts, minutes = [3.0, 1.0], [1.0, 9.0]
    assert bootstrap_ratio(counts, minutes, confidence=0.4) == pytest.approx((0.4, 0.4))
    assert bootstrap_ratio(counts, minutes) == pytest.approx((1 / 9, 3.0))


def test_an_end_that_nothing_bounds_is_infinite() -> None:
    """A quarter of the draws of two episodes holds no failure at all."""
    assert bootstrap_ratio([4.0, 2.0], [0.0, 1.0]) == (2.0, math.inf)
    assert bootstrap_ratio([4.0], [1.0]) == (-math.inf, math.inf)
    assert bootstrap_ratio([], []) == (-math.inf, math.inf)


@pytest.mark.slow
@settings(max_examples=20)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=12))
def test_bootstrap_is_repeatable_and_within_the_data(counts: list[int]) -> None:
    ones = [1.0] * len(counts)
    low, high = bootstrap_ratio(counts, ones)
    assert (low, high) == bootstrap_ratio(counts, ones)
    assert min(counts) <= low <= sum(counts) / len(counts) <= high <= max(counts)


@pytest.mark.parametrize(
    ("numerators", "denominators", "confidence"),
    [([1.0], [1.0, 2.0], 0.95), ([1.0], [-1.0], 0.95), ([math.nan], [1.0], 0.95), ([], [], 1.0)],
)
def test_bootstrap_refuses_nonsense(
    numerators: list[float], denominators: list[float], confidence: float
) -> None:
    with pytest.raises(DataError, match=r"numerators|confidence"):
        bootstrap_ratio(numerators, denominators, confidence)
