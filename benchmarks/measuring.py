"""How everything here is measured: alternating repetitions, medians, quartiles.

A busy machine slows neighbouring repetitions alike. So the variants of a comparison take turns
(A B A B ...), a ratio is formed inside each turn, and the median of the turns is reported.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Spread:
    """A median with its quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: np.ndarray) -> Spread:
        """The median and quartiles of `values` [repetitions]."""
        low, median, high = np.percentile(values, [25, 50, 75])
        return cls(float(median), float(low), float(high))


@dataclass(frozen=True)
class Timings:
    """Wall times of the variants of one comparison: name -> [turns] in milliseconds."""

    turns_ms: dict[str, np.ndarray]

    def ms(self, name: str) -> Spread:
        """Milliseconds of one variant."""
        return Spread.of(self.turns_ms[name])

    def divided(self, by: Mapping[str, float]) -> Timings:
        """The same with the times of some variants divided, where one run did several pieces."""
        return Timings({name: times / by.get(name, 1) for name, times in self.turns_ms.items()})

    def ratio(self, numerator: str, denominator: str) -> Spread:
        """How many times longer `numerator` takes than `denominator`, turn by turn."""
        return Spread.of(self.turns_ms[numerator] / self.turns_ms[denominator])


@dataclass(frozen=True)
class Row:
    """One line of a section.

    Attributes:
        name: what was measured.
        ms: its time in milliseconds; None where the line states something else.
        ratio: in the section's meaning; None where there is nothing to compare with.
        aim: the ratio aimed for, empty where there is none.
        note: what a reader should know.
    """

    name: str
    ms: Spread | None = None
    ratio: Spread | None = None
    aim: str = ""
    note: str = ""


@dataclass(frozen=True)
class Section:
    """One comparison: its title, what its ratios mean, its rows."""

    title: str
    ratio_heading: str
    rows: list[Row]


def synchronize(device: str) -> None:
    """Wait until the device has done everything asked of it."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def measure(
    variants: Mapping[str, Callable[[], object]],
    turns: int,
    device: str = "cpu",
    loops: Mapping[str, int] | None = None,
) -> Timings:
    """Time all variants in alternation, after one untimed turn.

    Args:
        variants: name -> what to run.
        turns: timed turns.
        device: synchronised before and after each measurement.
        loops: name -> runs a measurement (1 by default), for what takes less than a millisecond;
            the reported time is that of one run.
    """
    for run in variants.values():
        run()
    times = {name: np.zeros(turns) for name in variants}
    for turn in range(turns):
        for name, run in variants.items():
            count = (loops or {}).get(name, 1)
            synchronize(device)
            start = time.perf_counter()
            for _ in range(count):
                run()
            synchronize(device)
            times[name][turn] = (time.perf_counter() - start) * 1e3 / count
    return Timings(times)


def loops_for(run: Callable[[], object], target_ms: float = 20.0) -> int:
    """How many runs last about `target_ms`, from one trial after a warm-up."""
    run()
    start = time.perf_counter()
    run()
    return max(1, round(target_ms / 1e3 / max(time.perf_counter() - start, 1e-7)))
