"""Events from curves of probabilities, and the threshold for them: worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from softflow.labelling.classifier.detection import Seeing, best_threshold, sum_quality
from softflow.labelling.quality import Quality

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


def test_the_best_threshold_lies_between_false_and_true_peaks() -> None:
    false, true = np.array([0, 0.42, 0, 0]), np.array([0, 0, 0, 0.78])
    curves = [(false, ()), (true, (2,))]
    threshold = best_threshold(curves, ONCE, within=1)
    assert threshold == 0.6  # the middle of 0.45 … 0.75, which are equally good
    assert sum_quality(curves, ONCE, threshold, 1) == Quality(1, 1, 1, (0,))
    assert sum_quality(curves, ONCE, 0.4, 1) == Quality(1, 2, 1, (0,))
