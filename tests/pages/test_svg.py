import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softflow.pages.svg import (
    Chart,
    Frame,
    Scale,
    binned,
    compact,
    scale_of,
    scale_of_bands,
    time_ticks,
)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.0, 1.0, [0, 0.25, 0.5, 0.75, 1]),
        (-23.0, 22.0, [-20, 0, 20]),
        (0.0, 12800.0, [0, 5000, 10000]),
        (3e-6, 9e-6, [4e-6, 6e-6, 8e-6]),
    ],
)
def test_ticks_are_round_and_within(low: float, high: float, ticks: list[float]) -> None:
    assert Scale(low, high).ticks() == pytest.approx(ticks)


@pytest.mark.parametrize(
    ("last_s", "texts"),
    [
        (110.0, ["0 s", "30 s", "60 s", "90 s"]),
        (150.0, ["0 min", "1 min", "2 min"]),
        (5000.0, ["0 min", "30 min", "60 min"]),
        (4 * 3600.0, ["0 h", "1 h", "2 h", "3 h", "4 h"]),
        (9 * 86400.0, ["0 h", "72 h", "144 h", "216 h"]),
        (0.5, ["0 s"]),
    ],
)
def test_ticks_of_time_are_round_in_one_unit(last_s: float, texts: list[str]) -> None:
    ticks, unit = time_ticks(last_s)
    assert [unit(tick) for tick in ticks] == texts


def test_a_band_lies_within_the_scale_of_its_chart() -> None:
    x = np.arange(600.0)
    y = np.random.default_rng(0).normal(0, 1, 600)
    line = binned(x, y)
    scale = scale_of_bands([line])
    assert scale.low < line.low.min()
    assert scale.high > line.high.max()


def test_logarithmic_ticks_are_powers_of_ten() -> None:
    assert Scale(3e-7, 0.2, log=True).ticks() == pytest.approx([1e-6, 1e-4, 1e-2])


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=50))
def test_a_scale_can_be_made_of_any_values(values: list[float]) -> None:
    scale = scale_of(values)
    assert scale.low <= np.median(values) <= scale.high
    assert 1 <= len(scale.ticks()) <= 8


def test_a_few_extreme_values_do_not_flatten_the_rest() -> None:
    scale = scale_of([1e6] + [float(v) for v in np.linspace(0, 1, 200)])
    assert scale.low < 0
    assert 1 < scale.high < 2


def test_an_empty_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="no scale from 1"):
        Scale(1, 1)


def test_binned_keeps_mean_and_range_and_leaves_out_what_is_not_finite() -> None:
    x = np.arange(7.0)
    y = np.array([0.0, 4.0, np.nan, 6.0, 2.0, 1.0, 9.0])
    line = binned(x, y, bins=3)
    np.testing.assert_allclose(line.x, [0.5, 3.5, 5.5])
    np.testing.assert_allclose(line.mean, [2.0, 4.0, 5.0])
    np.testing.assert_allclose(line.low, [0.0, 2.0, 1.0])
    np.testing.assert_allclose(line.high, [4.0, 6.0, 9.0])


def test_binned_keeps_the_points_of_one_place_together() -> None:
    line = binned(np.array([5, 5, 5, 9, 9]), np.array([1.0, 2.0, 6.0, 4.0, 8.0]))
    np.testing.assert_allclose(line.x, [5.0, 9.0])
    np.testing.assert_allclose(line.mean, [3.0, 6.0])
    np.testing.assert_allclose(line.low, [1.0, 4.0])
    np.testing.assert_allclose(line.high, [6.0, 8.0])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1200, "1.2k"), (2_500_000, "2.5M"), (-20, "−20"), (0.25, "0.25"), (2e-6, "2e−06")],
)
def test_compact(value: float, text: str) -> None:
    assert compact(value) == text


def test_marks_stand_where_the_data_say() -> None:
    frame = Frame(width=120, height=70, left=10, right=10, top=10, bottom=10)
    chart = Chart(Scale(0, 10), Scale(0, 1), frame)
    chart.dot(5, 1, "imitation", title="a < b")
    chart.line([0, 10], [0, 0.5], "online_rl")
    svg = chart.svg('said "aloud"')
    assert 'class="dot imitation" cx="60.0" cy="10.0"' in svg
    assert "<title>a &lt; b</title>" in svg
    assert 'class="line online_rl" points="10.0,60.0 110.0,35.0"' in svg
    assert 'aria-label="said &quot;aloud&quot;"' in svg


def test_a_box_covers_its_values() -> None:
    chart = Chart(Scale(0, 10), Scale(0, 1), Frame(100, 100, left=0, right=0, top=0, bottom=0))
    chart.box((2, 5), (0.25, 0.75), "data", opacity=0.5, title="a < b")
    svg = chart.svg("a box")
    assert 'x="20.0" y="25.0" width="30.0" height="50.0" fill-opacity="0.50"' in svg
    assert "<title>a &lt; b</title>" in svg
