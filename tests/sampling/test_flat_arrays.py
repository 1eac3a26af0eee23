from __future__ import annotations

import numpy as np
from flat_stores import SPEC
from hypothesis import given
from hypothesis import strategies as st

from softflow.sampling.flat_arrays import TABLE, FlatEpisodes, array_shapes, laid_out


def episodes_of(lengths: list[int]) -> FlatEpisodes:
    """Episodes of these lengths, whose arrays nobody asks for."""
    table = np.zeros(len(lengths), TABLE)
    table["length"] = lengths
    arrays = {name: np.empty(shape) for name, shape in array_shapes(SPEC, 0).items()}
    return FlatEpisodes(arrays, laid_out(table))


def assert_every_window_is_found(lengths: list[int]) -> None:
    flat = episodes_of(lengths)
    assert flat.num_windows == sum(lengths)
    places = flat.places(np.arange(flat.num_windows))
    np.testing.assert_array_equal(places.episode, np.repeat(np.arange(len(lengths)), lengths))
    np.testing.assert_array_equal(places.length, np.repeat(lengths, lengths))
    np.testing.assert_array_equal(places.step, np.concatenate([np.arange(n) for n in lengths]))


@given(lengths=st.lists(st.integers(1, 9) | st.integers(1, 3000), min_size=1, max_size=60))
def test_every_window_is_found_in_its_episode(lengths: list[int]) -> None:
    assert_every_window_is_found(lengths)


def test_many_short_episodes_beside_a_long_one() -> None:
    assert_every_window_is_found([1] * 50 + [100_000] + [1] * 50)


def test_what_finds_windows_does_not_grow_with_them() -> None:
    for length in (10, 100_000):
        assert len(episodes_of([length] * 100)._begins_in) <= 200


def test_no_episodes() -> None:
    flat = FlatEpisodes.empty(SPEC)
    assert (len(flat), flat.num_windows) == (0, 0)
    assert flat.places(np.empty(0, np.int64)).episode.tolist() == []
