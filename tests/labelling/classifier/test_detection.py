"""Events from curves of probabilities, and how good they are: worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from softflow.labelling.classifier.detection import (
    Quality,
    Seeing,
    best_threshold,
    quality_of,
    sum_quality,
)

ONCE = Seeing(repeats=False, hold=1, apart=3)
AGAIN = Seeing(repeats=True, hold=1, apart=3)


def steps(seeing: Seeing, *curve: float, threshold: float = 0.5) -> list[int]:
    return [found.step for found in seeing.events(np.array(curve), threshold)]


def test_an_event_is_at_the_action_before_the_frame_that_first_shows_it() -> None:
    assert steps(ONCE, 0, 0, 0.4, 0.6, 0.9, 0.2, 0.9) == [2]
    assert steps(ONCE, 0, 0.1, 0.4) == []
    assert steps(ONCE, 0, 0, 0.5) == [1]


def test_the_first_frame_shows_no_event_nothing_was_done_yet() -> None:
    assert steps(ONCE, 1.0, 0, 0, 0.8) == [2]


def test_the_probability_is_that_of_the_frame() -> None:
    (found,) = ONCE.events(np.array([0, 0.2, 0.7, 0.9]), 0.5)
    assert found.probability == pytest.approx(0.7)


def test_what_shows_for_a_frame_alone_is_averaged_away() -> None:
    held = Seeing(repeats=False, hold=3, apart=3)
    assert steps(held, 0, 0, 1, 0, 0, 0, 0) == []
    # The mean of 0.3, 0.9, 0.9 passes before the frame itself does; behind the end the last stays.
    assert steps(held, 0, 0, 0.3, 0.9, 0.9, 0.9, threshold=0.6) == [1]
    assert steps(held, 0, 0, 0, 0, 0, 0.9, threshold=0.8) == [4]


def test_a_repeated_event_is_each_peak() -> None:
    assert steps(AGAIN, 0, 0.6, 0.8, 0.7, 0, 0, 0.9, 0) == [1, 5]
    # Peaks in frames 2 and 4 are too close to be two.
    assert steps(AGAIN, 0, 0, 0.8, 0, 0.9, 0, 0, 0.7) == [1, 6]


def test_quality_counts_each_true_event_once() -> None:
    quality = quality_of([9, 11, 40], [10, 60], within=2)
    assert (quality.hits, quality.proposed, quality.true) == (1, 3, 2)
    assert quality.precision == pytest.approx(1 / 3)
    assert quality.recall == 0.5
    assert quality.f1 == pytest.approx(0.4)
    assert quality_of([12], [10], within=2).differences == (2,)
    assert quality_of([7], [10], within=2).hits == 0


def test_quality_of_nothing() -> None:
    nothing = quality_of([], [], within=2)
    assert math.isnan(nothing.precision)
    assert nothing.f1 == 0.0
    assert "0 of 0" in nothing.told()
    assert sum([Quality(1, 2, 3, (4,)), Quality(1, 1, 1, (0,))], Quality()) == Quality(
        2, 3, 4, (4, 0)
    )


def test_quality_is_told_with_wilsons_intervals() -> None:
    # 8 of 10 and 8 of 16: (0.490, 0.943) and (0.280, 0.720)
    told = Quality(8, 10, 16).told()
    assert told == "precision 0.80 (0.49–0.94, 8 of 10), recall 0.50 (0.28–0.72, 8 of 16)"


def test_the_best_threshold_lies_between_false_and_true_peaks() -> None:
    false, true = np.array([0, 0.42, 0, 0]), np.array([0, 0, 0, 0.78])
    curves = [(false, ()), (true, (2,))]
    threshold = best_threshold(curves, ONCE, within=1)
    assert threshold == 0.75  # the highest of those that are equally good
    assert sum_quality(curves, ONCE, threshold, 1) == Quality(1, 1, 1, (0,))
    assert sum_quality(curves, ONCE, 0.4, 1) == Quality(1, 2, 1, (0,))
