from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from softflow.sampling.window_index import WindowIndex


@given(lengths=st.lists(st.integers(1, 9) | st.integers(1, 3000), min_size=1, max_size=60))
def test_every_window_is_found_in_its_episode(lengths: list[int]) -> None:
    index = WindowIndex(np.array(lengths))
    assert len(index) == sum(lengths)
    expected = np.repeat(np.arange(len(lengths)), lengths)
    np.testing.assert_array_equal(index.episodes(np.arange(len(index))), expected)


def test_many_short_episodes_in_one_block() -> None:
    lengths = np.array([1] * 50 + [100_000] + [1] * 50)
    index = WindowIndex(lengths)
    expected = np.repeat(np.arange(101), lengths)
    np.testing.assert_array_equal(index.episodes(np.arange(len(index))), expected)


def test_table_does_not_grow_with_the_windows() -> None:
    small, large = (WindowIndex(np.full(100, length)) for length in (10, 100_000))
    assert len(large._begins_in) <= 200
    assert len(small._begins_in) <= 200


def test_no_episodes() -> None:
    index = WindowIndex(np.empty(0, np.int64))
    assert len(index) == 0
    assert index.episodes(np.empty(0, np.int64)).tolist() == []
