"""Success over seeds and episodes, with 95 % intervals.

Seeds differ more than episodes do, so both are drawn again: first seeds, with replacement, then as
many episodes of each (a two-stage, stratified bootstrap). Where no episode failed, or all did, a
bootstrap has no width; so an interval is never narrower than Wilson's of all episodes, which is
also the interval of a single seed, whose scatter nothing shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import trim_mean

from benchmarks.peers.rows import Row
from softflow.utils.intervals import Interval, wilson_interval

RESAMPLES = 10_000
_TAILS = (0.025, 0.975)
_SEED = 0


@dataclass(frozen=True)
class Estimate:
    """A share of successes, its 95 % interval, and how many seeds it is of."""

    rate: float
    interval: Interval
    seeds: int

    def overlaps(self, other: Estimate) -> bool:
        """Whether the two intervals have a value in common."""
        return self.interval.low <= other.interval.high and other.interval.low <= self.interval.high


def pooled(rows: Sequence[Row]) -> Estimate:
    """Success of one evaluation of every seed: successes of all episodes.

    Args:
        rows: one a seed, at least one.
    """
    successes, episodes = sum(r.successes for r in rows), sum(r.eval_episodes for r in rows)
    wilson = wilson_interval(successes, episodes)
    if len(rows) == 1:
        return Estimate(successes / episodes, wilson, 1)
    low, high = np.quantile(_redrawn(rows, np.random.default_rng(_SEED)).mean(axis=1), _TAILS)
    interval = Interval(min(wilson.low, float(low)), max(wilson.high, float(high)))
    return Estimate(successes / episodes, interval, len(rows))


def joined(tasks: Sequence[Sequence[Row]]) -> Estimate:
    """Interquartile mean over tasks × seeds: of all seeds' success rates, the middle half.

    The seeds of every task are drawn again among themselves. `seeds` is the fewest of a task.

    Args:
        tasks: the rows of every task, one a seed.
    """
    scores = [row.successes / row.eval_episodes for rows in tasks for row in rows]
    rng = np.random.default_rng(_SEED)
    redrawn = np.concatenate([_redrawn(rows, rng) for rows in tasks], axis=1)
    low, high = np.quantile(trim_mean(redrawn, 0.25, axis=1), _TAILS)
    interval = Interval(float(low), float(high))
    return Estimate(float(trim_mean(scores, 0.25)), interval, min(map(len, tasks)))


def _redrawn(rows: Sequence[Row], rng: np.random.Generator) -> NDArray[np.float64]:
    """Success rates [RESAMPLES, seeds] of seeds drawn again, and of their episodes."""
    episodes = np.array([row.eval_episodes for row in rows])
    rates = np.array([row.successes for row in rows]) / episodes
    drawn = rng.integers(len(rows), size=(RESAMPLES, len(rows)))
    return rng.binomial(episodes[drawn], rates[drawn]) / episodes[drawn]
