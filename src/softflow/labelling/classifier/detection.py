"""From a probability a frame to events, and the threshold with which these are best.

Frame k shows what action k - 1 brought about, so an event seen first in frame k has step k - 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from softflow.labelling.quality import Quality, quality_of

THRESHOLDS = (*(round(0.05 * i, 2) for i in range(2, 20)), 0.97, 0.98, 0.99)


class Found(NamedTuple):
    """An event that was seen: its control step and the probability there."""

    step: int
    probability: float


@dataclass(frozen=True)
class Seeing:
    """How events are read off a curve of probabilities.

    Attributes:
        repeats: whether it may happen more than once.
        hold: frames over which probabilities are averaged, the frame itself first.
        apart: frames that two events are apart at least.
    """

    repeats: bool
    hold: int
    apart: int

    def events(self, probabilities: np.ndarray, threshold: float) -> list[Found]:
        """Where the averaged curve [T+1] first is at least the threshold; its peaks, if it repeats.

        A repeated event is where the curve is highest between passing the threshold and falling
        below it, and `apart` from the one before.
        """
        curve = _averaged(probabilities, self.hold)
        curve[0] = 0.0  # nothing was done yet
        if not self.repeats:
            above = np.flatnonzero(curve >= threshold)
            return [Found(int(above[0]) - 1, float(curve[above[0]]))] if len(above) else []
        found: list[Found] = []
        for start, end in _runs(curve >= threshold):
            peak = start + int(np.argmax(curve[start:end]))
            if not found or peak - 1 - found[-1].step >= self.apart:
                found.append(Found(peak - 1, float(curve[peak])))
        return found


def best_threshold(
    curves: Iterable[tuple[np.ndarray, Sequence[int]]], seeing: Seeing, within: float
) -> float:
    """The threshold with the best F1 on (probabilities, true steps).

    Of equally good ones it is that in the middle, as far as possible from what would be wrong.
    """
    curves = list(curves)
    f1 = [sum_quality(curves, seeing, threshold, within).f1 for threshold in THRESHOLDS]
    best = [threshold for threshold, value in zip(THRESHOLDS, f1, strict=True) if value == max(f1)]
    return best[len(best) // 2]


def sum_quality(
    curves: Iterable[tuple[np.ndarray, Sequence[int]]],
    seeing: Seeing,
    threshold: float,
    within: float,
) -> Quality:
    """Of several episodes together."""
    parts = (
        quality_of([one.step for one in seeing.events(curve, threshold)], true, within)
        for curve, true in curves
    )
    return sum(parts, Quality())


def _averaged(values: np.ndarray, frames: int) -> np.ndarray:
    """The mean over each value and those behind it; behind the end the last one goes on."""
    padded = np.concatenate([values, np.full(frames - 1, values[-1])]).astype(np.float64)
    return np.lib.stride_tricks.sliding_window_view(padded, frames).mean(axis=1)


def _runs(true: np.ndarray) -> list[tuple[int, int]]:
    """Where it is true: first and behind-the-last index of each run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], true.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
