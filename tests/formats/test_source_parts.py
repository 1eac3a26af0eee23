"""Arrays side by side and cut apart again: `joined`, `split`, `named_parts`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softflow.errors import DataError
from softflow.formats.source import joined, named_parts, split

# Few letters, dots and digits: keys that nearly collide, such as "a", "a.0" and "a.0.1".
KEYS = st.text("ab01._/é", min_size=1, max_size=6)
NAMES = st.lists(
    st.one_of(
        KEYS, st.tuples(st.sampled_from("ab"), st.integers(0, 3)).map(lambda p: f"{p[0]}.{p[1]}")
    ),
    min_size=1,
    max_size=12,
    unique=True,
)


@given(st.dictionaries(KEYS, st.integers(1, 12), min_size=1, max_size=6), st.integers(0, 5))
def test_split_undoes_joined(widths: dict[str, int], steps: int) -> None:
    rng = np.random.default_rng(0)
    arrays = {key: rng.normal(size=(steps, n)).astype(np.float32) for key, n in widths.items()}
    state, names = joined(arrays)
    assert len(set(names)) == len(names) == state.shape[1]
    parts = split(state, names)
    assert list(parts) == list(arrays)
    for key, values in arrays.items():
        np.testing.assert_array_equal(parts[key], values)


@given(NAMES)
def test_parts_side_by_side_are_the_whole_whatever_the_names(names: list[str]) -> None:
    state = np.arange(3 * len(names), dtype=np.float32).reshape(3, len(names))
    parts = named_parts(names)
    assert [index for columns in parts.values() for index in columns] == list(range(len(names)))
    again, _ = joined(split(state, names))
    np.testing.assert_array_equal(again, state)


@pytest.mark.parametrize(
    ("names", "parts"),
    [
        (["eef.0", "eef.1", "grip"], {"eef": [0, 1], "grip": [2]}),
        (["eef.1", "eef.0"], {"eef.1": [0], "eef": [1]}),
        (["eef", "eef.0", "eef.1"], {"eef": [0], "eef.0": [1], "eef.1": [2]}),
        (["eef", "eef.1"], {"eef": [0], "eef.1": [1]}),
        (["a.0", "b", "a.1"], {"a": [0], "b": [1], "a.1": [2]}),
    ],
)
def test_which_components_belong_together(names: list[str], parts: dict[str, list[int]]) -> None:
    assert named_parts(names) == parts


def test_arrays_of_any_shape_are_laid_flat() -> None:
    scalar, grid = np.arange(2), np.arange(12).reshape(2, 2, 3)
    state, names = joined({"time": scalar, "touch": grid})
    assert state.dtype == np.float32
    assert names == ("time", *(f"touch.{n}" for n in range(6)))
    np.testing.assert_array_equal(state[1], [1, 6, 7, 8, 9, 10, 11])


def test_a_name_given_twice_is_refused() -> None:
    with pytest.raises(DataError, match="'x' names more than one component"):
        named_parts(["x", "y", "x"])
