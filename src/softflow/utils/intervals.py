"""Confidence intervals of what is measured over episodes: proportions, means and rates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from softflow.errors import DataError

BOOTSTRAP_RESAMPLES = 4000
_BOOTSTRAP_SEED = 0


class Interval(NamedTuple):
    """A confidence interval, in the unit of its value; a proportion's lies within [0, 1]."""

    low: float
    high: float


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Wilson score interval of a success rate of `successes` out of `n` episodes.

    Unlike the textbook ± interval it stays within [0, 1] and keeps its coverage at 0 % and 100 %.
    With n = 0 nothing is known: (0, 1).

    Raises:
        DataError: if not 0 <= successes <= n, or the confidence is not within (0, 1).
    """
    if not 0 <= successes <= n:
        raise DataError(f"{successes} successes out of {n} episodes: need 0 <= successes <= n")
    _require_confidence(confidence)
    if n == 0:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate, shrink = successes / n, 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / shrink
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / shrink
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return Interval(low, high)


def bootstrap_ratio(
    numerators: Sequence[float], denominators: Sequence[float], confidence: float = 0.95
) -> Interval:
    """Percentile bootstrap interval of sum(numerators) / sum(denominators), one entry an episode.

    Whole episodes are drawn with replacement, from a fixed seed: the same episodes give the same
    interval. The sums are divided, not the episodes: a mean of per-episode rates would give an
    episode that was over after a second the weight of one that lasted a minute. With denominators
    of 1 it is the interval of a mean.

    A draw whose denominators sum to 0 counts as infinity, for nothing bounds its ratio; an end that
    is not known is infinite: -inf to inf with fewer than two episodes, which cannot show how far
    episodes differ. (Where all episodes are equal the interval has no width: take more of them.)

    Raises:
        DataError: not one numerator per denominator, a negative denominator, a number that is not
            finite, or a confidence that is not within (0, 1).
    """
    _require_confidence(confidence)
    above, below = np.asarray(numerators, dtype=float), np.asarray(denominators, dtype=float)
    if above.shape != below.shape or above.ndim != 1:
        raise DataError(f"{above.shape} numerators for {below.shape} denominators; give one each")
    if not (np.isfinite(above).all() and np.isfinite(below).all() and (below >= 0).all()):
        raise DataError("numerators must be finite, denominators finite and >= 0")
    if len(above) < 2:
        return Interval(-math.inf, math.inf)
    rng = np.random.default_rng(_BOOTSTRAP_SEED)
    draws = (rng.integers(len(above), size=len(above)) for _ in range(BOOTSTRAP_RESAMPLES))
    ratios = sorted(_ratio(float(above[draw].sum()), float(below[draw].sum())) for draw in draws)
    tail = (1 - confidence) / 2 * len(ratios)
    return Interval(ratios[math.floor(tail)], ratios[math.ceil(len(ratios) - tail) - 1])


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else math.inf


def _require_confidence(confidence: float) -> None:
    if not 0.0 < confidence < 1.0:
        raise DataError(f"confidence {confidence} is not between 0 and 1; 0.95 is usual")
