"""Cells of the table of what differs."""

from __future__ import annotations

import json

from softflow.pages.comparing.values import LONGEST, side_by_side


def test_short_values_stay() -> None:
    assert side_by_side(["0.1", "[1, 2]", "–"]) == ["0.1", "[1, 2]", "–"]


def test_of_long_lists_the_components_that_differ() -> None:
    one = [0.123456789] * 26
    other = [*one[:3], 1.5, *one[4:]]
    assert side_by_side([json.dumps(one), json.dumps(other)]) == [
        "[3] 0.1235 (1 of 26 differ)",
        "[3] 1.5 (1 of 26 differ)",
    ]
    far = [value + 1 for value in one]
    cells = side_by_side([json.dumps(one), json.dumps(far)])
    assert cells[1].startswith("[0] 1.123, [1] 1.123")
    assert cells[1].endswith(", … (26 of 26 differ)")


def test_lists_of_other_lengths_are_cut() -> None:
    cells = side_by_side([json.dumps(list(range(26))), json.dumps([1, 2]), "x" * 500])
    assert cells[:2] == ["0, 1, 2, 3, … (26 values)", "[1, 2]"]
    assert len(cells[2]) == LONGEST


def test_text_that_looks_like_a_list() -> None:
    assert side_by_side(["[broken", '["a", "b"]']) == ["[broken", '["a", "b"]']
    assert max(map(len, side_by_side([json.dumps(["x" * 99] * 9)]))) < LONGEST + 40
