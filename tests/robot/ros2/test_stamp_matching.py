"""The newest set of stamps within a tolerance, against all sets there are."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softflow.robot.ros2.stamp_matching import newest_match

RISING = st.lists(st.integers(0, 60), max_size=7, unique=True).map(sorted)


def of_all_sets(stamps: list[list[int]], tolerance: int) -> tuple[int, ...] | None:
    fitting = [one for one in product(*stamps) if max(one) - min(one) <= tolerance]
    return max(fitting, default=None, key=sum)


@given(st.lists(RISING, min_size=1, max_size=4), st.integers(0, 20))
def test_it_is_the_newest_in_every_topic_of_all_that_fit(
    stamps: list[list[int]], tolerance: int
) -> None:
    found = newest_match(stamps, tolerance)
    assert found == of_all_sets(stamps, tolerance)
    if found is not None:
        fitting = [one for one in product(*stamps) if max(one) - min(one) <= tolerance]
        assert all(a >= b for one in fitting for a, b in zip(found, one, strict=True))


@pytest.mark.parametrize(
    ("stamps", "found"),
    [
        ([[10, 20, 30], [9, 19]], (20, 19)),  # the fast one waits for the slow one
        ([[10], [30]], None),
        ([[10, 20], []], None),
        ([], None),
        ([[10, 20, 30], [11, 31], [12, 22]], (10, 11, 12)),
    ],
)
def test_examples(stamps: list[list[int]], found: tuple[int, ...] | None) -> None:
    assert newest_match(stamps, 5) == found
