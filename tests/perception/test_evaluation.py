"""The table of errors, against numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from softflow.perception.evaluation import Judged, summarised
from softflow.perception.evaluation_page import rows_of

INF = float("inf")


def judged(
    visible: int, mm: float, deg: float, *, sure: float | None = 0.9, present: bool = True
) -> Judged:
    return Judged(0, present, visible, sure, mm / 1000, np.deg2rad(deg), 0.05, 0.04)


def test_lines_by_visible_corners() -> None:
    seen = [judged(7, 1, 1), judged(7, 2, 3), judged(7, 3, 2), judged(5, 4, 60), judged(1, 50, 90)]
    missed = judged(7, INF, INF, sure=None)
    empty = [judged(0, INF, INF, sure=s, present=False) for s in (0.5, None, None, None)]
    result = summarised([*seen, missed, *empty])
    lines = {line.name: line for line in result.lines}
    assert list(lines) == ["3 or more", "7", "6", "5", "4", "3", "0 to 2"]
    seven = lines["7"]
    assert (seven.pictures, seven.found) == (4, 0.75)
    # Of 1, 2, 3 and infinity mm the second is the median; 95 % are not within any distance.
    assert (seven.median_mm, seven.high_mm) == (pytest.approx(2), None)
    assert (seven.median_deg, seven.high_deg) == (pytest.approx(2), None)
    assert lines["3 or more"].pictures == 5
    assert lines["3 or more"].flipped == 0.25
    assert lines["0 to 2"].median_mm == pytest.approx(50)
    assert lines["6"].median_mm is None
    assert result.false_alarms == 0.25
    assert (result.hz, result.busy_ms) == (pytest.approx(20), pytest.approx(40))
    assert rows_of(result.lines)[1] == ["7", "4", "75.0%", "2.0 mm", "–", "2.0 °", "–", "0.0%"]


def test_sure_poses_are_judged_by_themselves() -> None:
    seven = [judged(7, 1, 1), judged(7, 3, 2, sure=0.8), judged(7, 90, 90, sure=0.79)]
    missed = judged(7, INF, INF, sure=None)
    empty = [judged(0, INF, INF, sure=s, present=False) for s in (0.85, 0.5, None, None)]
    result = summarised([*seven, missed, *empty], 0.8)
    line = next(line for line in result.sure if line.name == "7")
    assert (line.pictures, line.found, line.flipped) == (4, 0.5, 0.0)
    assert (line.median_mm, line.high_mm) == (pytest.approx(1), pytest.approx(3))
    assert (line.median_deg, line.high_deg) == (pytest.approx(1), pytest.approx(2))
    assert result.lines[1].flipped == pytest.approx(1 / 3)
    assert (result.false_alarms, result.sure_alarms) == (0.5, 0.25)
    every = summarised([*seven, missed], 0.0).sure[1]
    assert (every.found, every.high_mm) == (0.75, pytest.approx(90))
    none = summarised([judged(7, 1, 1, sure=0.1)], 0.8).sure[0]
    assert (none.pictures, none.found, none.median_mm, none.high_mm) == (1, 0.0, None, None)


def test_what_counts_as_failed() -> None:
    assert [judged(7, 9, 14).failed, judged(7, 11, 1).failed, judged(3, 1, 16).failed] == [0, 1, 1]
    assert not judged(2, INF, INF, sure=None).failed
    assert judged(4, INF, INF, sure=None).failed
