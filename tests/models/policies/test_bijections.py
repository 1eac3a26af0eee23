"""The elementwise bijections at their borders, and the token splits."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from softflow.models.policies.bijections import (
    SUPPORT_MARGIN,
    bound,
    draw_splits,
    scale_and_shift,
    standard_normal_log_prob,
    unbound,
    undo_scale_and_shift,
)
from softflow.models.policies.coupling import FlowConfig
from softflow.models.policies.flow_policy import ActionFlow


def test_arctanh_by_hand() -> None:
    """atanh(0.6) = ln 2, and its slope is 1 / (1 - 0.36) = 1 / 0.64."""
    values, log_det = unbound(torch.tensor([[0.6, -0.6]], dtype=torch.float64))
    torch.testing.assert_close(values, torch.tensor([[1, -1]]) * torch.tensor(2.0).double().log())
    assert math.isclose(log_det.item(), -2 * math.log(0.64), rel_tol=1e-12)


@given(value=st.floats(-40, 40))
def test_tanh_log_det_is_exact_far_out(value: float) -> None:
    """log(1 - tanh^2) computed naively is -inf beyond 19; here it stays right.

    Not to the last digit: torch's softplus is linear beyond 20, which costs 4e-9 at most.
    """
    _, log_det = bound(torch.tensor([value], dtype=torch.float64))
    expected = math.log(4) - 2 * abs(value) - 2 * math.log1p(math.exp(-2 * abs(value)))
    assert math.isclose(log_det.item(), expected, abs_tol=1e-8)


@given(st.lists(st.floats(-0.998, 0.998), min_size=1, max_size=4))
def test_tanh_undoes_arctanh(actions: list[float]) -> None:
    original = torch.tensor(actions, dtype=torch.float64)
    values, log_det = unbound(original)
    back, back_log_det = bound(values)
    torch.testing.assert_close(back, original, rtol=0, atol=1e-13)
    assert math.isclose(log_det.item(), -back_log_det.item(), rel_tol=1e-9, abs_tol=1e-9)


@pytest.mark.parametrize("action", [1.0, -1.0, 1.5, -7.0, math.inf])
def test_actions_outside_the_support_cost_six_nats(action: float) -> None:
    values, log_det = unbound(torch.tensor([action], dtype=torch.float64))
    assert abs(values.item()) == pytest.approx(math.atanh(1 - SUPPORT_MARGIN), rel=1e-12)
    assert log_det.item() == pytest.approx(6.215, abs=1e-3)
    assert math.copysign(1, values.item()) == math.copysign(1, action)


@pytest.mark.parametrize("raw_scale", [-1e6, -2.0, 0.0, 2.0, 1e6])
def test_scaling_is_bounded_by_e_and_undone_exactly(raw_scale: float) -> None:
    x = torch.tensor([[0.3, -2.0]], dtype=torch.float64)
    raw, shift = torch.full_like(x, raw_scale), torch.tensor([[5.0, -1.0]], dtype=torch.float64)
    y, log_det = scale_and_shift(x, raw, shift)
    factor = math.exp(math.tanh(raw_scale))
    torch.testing.assert_close(y, factor * x + shift)
    assert log_det.item() == pytest.approx(2 * math.tanh(raw_scale), abs=1e-12)
    back, back_log_det = undo_scale_and_shift(y, raw, shift)
    torch.testing.assert_close(back, x, rtol=1e-13, atol=1e-13)
    assert back_log_det.item() == pytest.approx(-log_det.item(), abs=1e-12)


def test_standard_normal_by_hand() -> None:
    latents = torch.tensor([[0.0, 1.0, -2.0]], dtype=torch.float64)
    expected = -0.5 * (0 + 1 + 4) - 1.5 * math.log(2 * math.pi)
    assert standard_normal_log_prob(latents).item() == pytest.approx(expected, rel=1e-14)


@given(
    num_layers=st.integers(1, 16),
    chunk_length=st.integers(2, 16),
    seed=st.integers(0, 2**31),
)
def test_splits_are_equal_complementary_pairs(
    num_layers: int, chunk_length: int, seed: int
) -> None:
    splits = draw_splits(num_layers, chunk_length, seed)
    assert splits.shape == (num_layers, chunk_length)
    assert splits.dtype == torch.bool
    moved = splits.sum(dim=1)
    assert (moved[0::2] == chunk_length // 2).all()
    assert (moved[1::2] == chunk_length - chunk_length // 2).all()
    for layer in range(0, num_layers - 1, 2):
        assert (splits[layer] ^ splits[layer + 1]).all()
    if num_layers >= 2:
        assert splits.any(dim=0).all(), "a token that is never transformed"


@pytest.mark.parametrize("num_layers", [1, 2, 5])
def test_a_single_token_is_transformed_by_every_layer(num_layers: int) -> None:
    assert draw_splits(num_layers, 1, 0).tolist() == [[True]] * num_layers


def test_splits_are_fixed_by_the_seed_and_by_nothing_else() -> None:
    torch.manual_seed(1)
    first = draw_splits(16, 10, 7)
    torch.manual_seed(2)
    torch.testing.assert_close(draw_splits(16, 10, 7), first)
    assert not torch.equal(draw_splits(16, 10, 8), first)
    pairs = {tuple(row.tolist()) for row in first[::2]}
    assert len(pairs) >= 7, "every pair must draw its own split"


def test_drawing_splits_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    draw_splits(16, 10, 7)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


@pytest.mark.parametrize("chunk_length", [1, 2, 5, 6])
def test_every_token_is_transformed_and_kept_tokens_pass(
    make_flow: Callable[..., ActionFlow],
    make_tokens: Callable[..., Tensor],
    make_actions: Callable[..., Tensor],
    chunk_length: int,
) -> None:
    """What the layers do, not what their buffers say."""
    flow = make_flow(chunk_length, 2, 6)
    condition = flow.condition(make_tokens(1, 3))
    tokens = make_actions((1, 1, chunk_length, 2))
    splits = draw_splits(6, chunk_length, 0)
    for layer, moved, layer_condition in zip(flow.couplings, splits, condition, strict=True):
        after, _ = layer.to_latents(tokens, layer_condition, None)  # type: ignore[operator]
        changed = (after != tokens)[0, 0]
        assert (changed.all(dim=-1) == moved).all()
        assert (changed.any(dim=-1) == moved).all()


@pytest.mark.parametrize("chunk_length", [1, 2, 5, 6])
def test_splits_travel_with_the_weights(
    make_flow: Callable[..., ActionFlow],
    make_tokens: Callable[..., Tensor],
    make_actions: Callable[..., Tensor],
    chunk_length: int,
) -> None:
    """Weights loaded into a policy drawn with another split seed give the same policy."""
    original = make_flow(chunk_length, 2, 6, seed=1, split_seed=0)
    other = make_flow(chunk_length, 2, 6, seed=2, split_seed=1)
    tokens, actions = make_tokens(2, 3), make_actions((2, 3, chunk_length, 2))
    expected = original.log_prob(actions, original.condition(tokens))
    before = other.log_prob(actions, other.condition(tokens))
    assert (before - expected).abs().min() > 1e-3
    other.load_state_dict(original.state_dict())
    after = other.log_prob(actions, other.condition(tokens))
    torch.testing.assert_close(after, expected, rtol=0, atol=0)
    latents = torch.randn(2, 3, chunk_length, 2, dtype=torch.float64)
    torch.testing.assert_close(
        other.to_actions(latents, other.condition(tokens)),
        original.to_actions(latents, original.condition(tokens)),
        rtol=0,
        atol=0,
    )


def test_a_fresh_flow_is_the_identity() -> None:
    """Both heads end in zeros: latents are plain arctanh, whatever the observation."""
    flow = ActionFlow(5, 2, 6, FlowConfig(4, 8, 2, 12, 10)).double()
    actions = torch.linspace(-0.9, 0.9, 10, dtype=torch.float64).view(1, 1, 5, 2)
    latents, log_det = flow.to_latents(actions, flow.condition(torch.randn(1, 3, 6).double()))
    torch.testing.assert_close(latents, torch.atanh(actions), rtol=0, atol=0)
    torch.testing.assert_close(log_det, -torch.log1p(-(actions**2)).sum((-1, -2)))
