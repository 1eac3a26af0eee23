"""HL-Gauss: hand-worked histograms, the round trip, clipping, and the choice of a support."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from softflow.errors import ConfigError
from softflow.models.value_distribution import (
    HLGauss,
    ScalarValue,
    ValueOutput,
    ValueSupport,
    support_from_returns,
)


def normal_cdf(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def test_three_bins_by_hand() -> None:
    """Centres 0, 1, 2; edges -0.5, 0.5, 1.5, 2.5; sigma 0.75; the value 0.6."""
    distribution = HLGauss(ValueSupport(0.0, 2.0, num_bins=3)).double()
    edges = [normal_cdf((edge - 0.6) / 0.75) for edge in (-0.5, 0.5, 1.5, 2.5)]
    total = edges[3] - edges[0]
    expected = [(edges[i + 1] - edges[i]) / total for i in range(3)]
    histogram = distribution.probabilities(torch.tensor(0.6, dtype=torch.float64))
    assert histogram.tolist() == pytest.approx(expected, rel=1e-12)
    value = distribution.value(histogram.log())
    assert value.item() == pytest.approx(expected[1] + 2 * expected[2], rel=1e-12)


@pytest.mark.parametrize("kind", [HLGauss, ScalarValue])
def test_outputs_say_the_values_they_were_made_of(kind: type[ValueOutput]) -> None:
    """And nothing else costs as little."""
    output = kind(support_from_returns(-3.0, 5.0))
    values = torch.tensor([[-3.0, 0.1], [2.0, 5.0]])
    said = output.outputs_of(values)
    torch.testing.assert_close(output.value(said), values, rtol=0, atol=0.06)
    assert (output.loss(said, values) < output.loss(said, values + 0.5)).all()
    assert (output.loss(said, values) < output.loss(said, values - 0.5)).all()


def test_a_number_is_learned_beyond_the_expected_range() -> None:
    output = ScalarValue(ValueSupport(0.0, 1.0))
    assert output.value(output.outputs_of(torch.tensor(7.0))).item() == 7.0
    assert output.clipped_fraction(torch.tensor([7.0])).item() == 0.0


def test_logits_become_their_expected_value() -> None:
    """Probabilities 1/6, 2/6, 3/6 on 0, 1, 2, whatever constant is added to the logits."""
    distribution = HLGauss(ValueSupport(0.0, 2.0, num_bins=3)).double()
    logits = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64).log()
    assert distribution.value(logits).item() == pytest.approx(4 / 3)
    assert distribution.value(logits + 17).item() == pytest.approx(4 / 3)


@given(
    low=st.floats(-10, 10),
    span=st.floats(0.01, 100),
    share=st.floats(0, 1),
    num_bins=st.sampled_from([21, 51, 101]),
)
def test_round_trip_of_every_return_of_the_data(
    low: float, span: float, share: float, num_bins: int
) -> None:
    """Returns in the data's range survive to a 10,000th of a bin: the margin keeps them whole."""
    support = support_from_returns(low, low + span, num_bins)
    distribution = HLGauss(support).double()
    value = torch.tensor(low + share * span, dtype=torch.float64)
    histogram = distribution.probabilities(value)
    width = (support.high - support.low) / (num_bins - 1)
    # Buffers are float32 first: their rounding is relative to the size of the support's ends.
    rounding = 4e-7 * max(abs(support.low), abs(support.high))
    assert abs(distribution.value(histogram.log()) - value) < 1e-4 * width + rounding
    assert histogram.sum().item() == pytest.approx(1, abs=1e-12)
    assert (histogram >= 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_of_the_usual_support(dtype: torch.dtype) -> None:
    """Sparse success: returns in [0, 1]."""
    distribution = HLGauss(support_from_returns(0.0, 1.0)).to(dtype)
    values = torch.linspace(0, 1, 1001, dtype=dtype)
    histograms = distribution.probabilities(values)
    assert histograms.shape == (1001, 101)
    assert histograms.dtype == dtype
    back = distribution.value(histograms.clamp_min(1e-30).log())
    torch.testing.assert_close(back, values, rtol=0, atol=2e-6)
    torch.testing.assert_close(histograms.sum(-1), torch.ones_like(values))


def test_the_mode_is_the_bin_of_the_value() -> None:
    distribution = HLGauss(ValueSupport(0.0, 1.0, num_bins=11)).double()
    values = torch.linspace(0, 1, 11, dtype=torch.float64)
    assert distribution.probabilities(values).argmax(-1).tolist() == list(range(11))


def test_what_lies_outside_is_clamped_and_counted() -> None:
    distribution = HLGauss(ValueSupport(0.0, 1.0)).double()
    values = torch.tensor([[-3.0, 0.0, 0.4], [1.0, 1.0001, 99.0]], dtype=torch.float64)
    clamped = distribution.probabilities(values.clamp(0.0, 1.0))
    torch.testing.assert_close(distribution.probabilities(values), clamped, rtol=0, atol=0)
    assert distribution.clipped_fraction(values).item() == pytest.approx(3 / 6)
    assert distribution.clipped_fraction(values[:, 1:2]).item() == pytest.approx(1 / 2)
    assert distribution.clipped_fraction(torch.tensor([0.0, 1.0])).item() == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_value_that_is_no_number_does_not_pass_silently(bad: float) -> None:
    distribution = HLGauss(ValueSupport(0.0, 1.0))
    values = torch.tensor([bad])
    histogram = distribution.probabilities(values)
    assert not histogram.isfinite().all() or distribution.clipped_fraction(values) == 1


@given(low=st.floats(-100, 100), span=st.floats(1e-3, 100))
def test_the_support_holds_the_returns_with_five_bins_to_spare(low: float, span: float) -> None:
    support = support_from_returns(low, low + span)
    assert support.num_bins == 101
    width = (support.high - support.low) / 100
    assert low - support.low == pytest.approx(5 * width, rel=1e-6)
    assert support.high - (low + span) == pytest.approx(5 * width, rel=1e-6)


@pytest.mark.parametrize("constant", [0.0, 1.0, -3.0, 7.5])
def test_a_single_return_leaves_room_for_a_first_success(constant: float) -> None:
    support = support_from_returns(constant, constant)
    assert support.low < min(constant, 0.0)
    assert support.high > constant + 1


@pytest.mark.parametrize(
    ("low", "high"), [(1.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (0.0, math.inf)]
)
def test_impossible_ranges_are_refused(low: float, high: float) -> None:
    with pytest.raises(ConfigError, match=r"value support \[.*\] must be finite, low < high"):
        ValueSupport(low, high)


@pytest.mark.parametrize(("num_bins", "smoothing"), [(1, 0.75), (101, 0.0), (101, -1.0)])
def test_impossible_resolutions_are_refused(num_bins: int, smoothing: float) -> None:
    with pytest.raises(ConfigError, match=f"not {num_bins} and {smoothing}"):
        ValueSupport(0.0, 1.0, num_bins, smoothing)


@pytest.mark.parametrize("num_bins", [2, 5, 11])
def test_too_few_bins_for_the_margin_are_refused(num_bins: int) -> None:
    with pytest.raises(ConfigError, match="bins"):
        support_from_returns(0.0, 1.0, num_bins)


def test_nan_smoothing_is_refused() -> None:
    with pytest.raises(ConfigError):
        ValueSupport(0.0, 1.0, 101, math.nan)
