"""The flow's likelihood is exact: against autograd's Jacobian, by inversion, and by integration.

All parameters are random (heads and modulations start at zero: a fresh flow is the identity and
would prove nothing), everything in float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from softflow.models.policies.bijections import SUPPORT_MARGIN, standard_normal_log_prob
from softflow.models.policies.flow_policy import ActionFlow, FlowCondition

MakeFlow = Callable[..., ActionFlow]
MakeTensor = Callable[..., Tensor]


@dataclass(frozen=True)
class Case:
    """Sizes of one random example."""

    H: int
    A: int
    S: int
    layers: int
    N: int
    seed: int


CASES = st.builds(
    Case,
    H=st.integers(1, 7),
    A=st.integers(1, 4),
    S=st.integers(1, 5),
    layers=st.integers(1, 6),
    N=st.integers(1, 3),
    seed=st.integers(0, 10_000),
)


def blocks_of(jacobian: Tensor, candidates: int, width: int) -> Tensor:
    """The Jacobian [N * D, N * D] as [N, D, N, D]."""
    return jacobian.reshape(candidates, width, candidates, width)


def jacobian_log_dets(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """log|det| of each candidate's own Jacobian [N]; fails if candidates influence each other."""
    candidates, width = x.shape[1], x[0, 0].numel()
    jacobian = torch.autograd.functional.jacobian(function, x, vectorize=True)
    assert isinstance(jacobian, Tensor)
    blocks = blocks_of(jacobian, candidates, width)
    for row in range(candidates):
        for column in range(candidates):
            if row != column:
                assert not blocks[row, :, column].any()
    return torch.stack([torch.linalg.slogdet(blocks[i, :, i]).logabsdet for i in range(candidates)])


@pytest.mark.slow
@settings(max_examples=25)
@given(case=CASES)
def test_log_det_is_that_of_the_jacobian_in_both_directions(
    make_flow: MakeFlow, make_tokens: MakeTensor, make_actions: MakeTensor, case: Case
) -> None:
    flow = make_flow(case.H, case.A, case.layers, case.seed, split_seed=case.seed)
    condition = flow.condition(make_tokens(1, case.S, case.seed))
    actions = make_actions((1, case.N, case.H, case.A), case.seed)

    latents, log_det = flow.to_latents(actions, condition)
    expected = jacobian_log_dets(lambda a: flow.to_latents(a, condition)[0], actions)
    assert log_det.dtype == torch.float64
    torch.testing.assert_close(log_det[0], expected, rtol=1e-9, atol=1e-9)

    back, back_log_det = flow.to_actions(latents, condition)
    expected = jacobian_log_dets(lambda z: flow.to_actions(z, condition)[0], latents)
    torch.testing.assert_close(back_log_det[0], expected, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(back, actions, rtol=0, atol=1e-9)
    torch.testing.assert_close(log_det + back_log_det, torch.zeros_like(log_det), atol=1e-8, rtol=0)


def test_random_weights_make_the_flow_far_from_the_identity(
    make_flow: MakeFlow, make_tokens: MakeTensor, make_actions: MakeTensor
) -> None:
    """The premise of this file: the couplings really act, and really depend on everything."""
    flow = make_flow(4, 2, 4)
    actions, tokens = make_actions((1, 1, 4, 2)), make_tokens(1, 3)
    latents, log_det = flow.to_latents(actions, flow.condition(tokens))
    assert (latents - torch.atanh(actions)).abs().min() > 1e-3
    others = flow.to_latents(actions, flow.condition(make_tokens(1, 3, seed=1)))
    assert (latents - others[0]).abs().max() > 0.05
    assert (log_det - others[1]).abs().max() > 0.05


@settings(max_examples=20)
@given(case=CASES)
def test_log_prob_is_the_base_density_plus_the_log_det(
    make_flow: MakeFlow, make_tokens: MakeTensor, make_actions: MakeTensor, case: Case
) -> None:
    flow = make_flow(case.H, case.A, case.layers, case.seed, split_seed=case.seed)
    condition = flow.condition(make_tokens(2, case.S, case.seed))
    actions = make_actions((2, case.N, case.H, case.A), case.seed)
    latents, log_det = flow.to_latents(actions, condition)
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0)
    expected = normal.log_prob(latents).sum((-1, -2)) + log_det
    torch.testing.assert_close(flow.log_prob(actions, condition), expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=20)
@given(case=CASES, std=st.sampled_from([0.3, 0.7, 1.0]))
def test_the_likelihood_told_when_sampling_is_that_of_the_actions(
    make_flow: MakeFlow, make_tokens: MakeTensor, case: Case, std: float
) -> None:
    flow = make_flow(case.H, case.A, case.layers, case.seed, split_seed=case.seed)
    condition = flow.condition(make_tokens(2, case.S, case.seed))
    generator = torch.Generator().manual_seed(case.seed)
    actions, told = flow.sample(case.N, std, condition, generator)
    assert (actions.abs() < 1).all()
    inside = actions.abs().amax((-1, -2)) < 1 - SUPPORT_MARGIN
    measured = flow.log_prob(actions, condition)
    torch.testing.assert_close(told[inside], measured[inside], rtol=1e-7, atol=1e-7)


def test_a_sample_at_the_border_of_the_support_is_likely_by_its_latent_only(
    make_flow: MakeFlow, make_tokens: MakeTensor
) -> None:
    """log_prob clamps actions to 1 - margin, so beyond it the two likelihoods differ, finitely."""
    flow = make_flow(1, 1, 1)
    condition = flow.condition(make_tokens(1, 1))
    border, beyond = torch.tensor([1 - SUPPORT_MARGIN, 1.0]).double().view(2, 1, 1, 1, 1)
    torch.testing.assert_close(flow.log_prob(border, condition), flow.log_prob(beyond, condition))
    assert flow.log_prob(beyond, condition).isfinite().all()


def valid_log_prob(
    flow: ActionFlow, actions: Tensor, condition: FlowCondition, step_valid: Tensor
) -> Tensor:
    """Density of the valid steps alone [N], by autograd: the others are held fixed."""
    densities: list[Tensor] = []
    for chunk in actions[0]:
        whole = chunk[None, None]

        def latents_of(kept: Tensor, whole: Tensor = whole) -> Tensor:
            filled = whole.clone()
            filled[:, :, step_valid] = kept
            return flow.to_latents(filled, condition, step_valid[None])[0][:, :, step_valid]

        kept = whole[:, :, step_valid]
        latents = latents_of(kept)
        log_det = jacobian_log_dets(latents_of, kept)
        densities.append(standard_normal_log_prob(latents).sum() + log_det[0])
    return torch.stack(densities)


@pytest.mark.slow
@settings(max_examples=20)
@given(case=CASES, data=st.data())
def test_a_cut_chunk_has_the_exact_density_of_its_valid_steps(
    make_flow: MakeFlow,
    make_tokens: MakeTensor,
    make_actions: MakeTensor,
    case: Case,
    data: st.DataObject,
) -> None:
    flow = make_flow(case.H, case.A, case.layers, case.seed, split_seed=case.seed)
    condition = flow.condition(make_tokens(1, case.S, case.seed))
    actions = make_actions((1, case.N, case.H, case.A), case.seed)
    num_valid = data.draw(st.integers(1, case.H))
    step_valid = torch.arange(case.H) < num_valid
    log_prob = flow.log_prob(actions, condition, step_valid[None])
    expected = valid_log_prob(flow, actions, condition, step_valid)
    torch.testing.assert_close(log_prob[0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@settings(max_examples=20)
@given(case=CASES, data=st.data())
def test_padding_has_no_influence_at_all(
    make_flow: MakeFlow,
    make_tokens: MakeTensor,
    make_actions: MakeTensor,
    case: Case,
    data: st.DataObject,
) -> None:
    """Bit for bit the same whatever the padding holds, and no gradient reaches it."""
    flow = make_flow(case.H, case.A, case.layers, case.seed, split_seed=case.seed)
    condition = flow.condition(make_tokens(2, case.S, case.seed))
    lengths = torch.tensor(data.draw(st.lists(st.integers(0, case.H), min_size=2, max_size=2)))
    step_valid = torch.arange(case.H) < lengths[:, None]
    actions = make_actions((2, case.N, case.H, case.A), case.seed).requires_grad_()
    log_prob = flow.log_prob(actions, condition, step_valid)
    (gradient,) = torch.autograd.grad(log_prob.sum(), actions)
    padded = ~step_valid[:, None, :, None].expand_as(actions)
    assert not gradient[padded].any()
    assert gradient[~padded].all()

    for filling in (0.0, -0.99, 1.0, 50.0, math.inf):
        refilled = torch.where(padded, filling, actions.detach())
        torch.testing.assert_close(
            flow.log_prob(refilled, condition, step_valid), log_prob.detach(), rtol=0, atol=0
        )
    empty = lengths == 0
    assert not log_prob[empty].any()


def test_all_steps_valid_is_the_same_as_no_mask(
    make_flow: MakeFlow, make_tokens: MakeTensor, make_actions: MakeTensor
) -> None:
    flow = make_flow(5, 2, 4)
    condition = flow.condition(make_tokens(2, 3))
    actions = make_actions((2, 3, 5, 2))
    mask = torch.ones(2, 5, dtype=torch.bool)
    torch.testing.assert_close(
        flow.log_prob(actions, condition, mask), flow.log_prob(actions, condition), rtol=0, atol=0
    )


def square_rule(points: int) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes [points^2, 2] and weights of the open square (-1, 1)^2."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    grid = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2)
    return torch.from_numpy(grid), torch.from_numpy(np.outer(weights, weights).reshape(-1))


def concentrated(flow: ActionFlow) -> ActionFlow:
    """Shrink the policy towards the middle, so that no mass lies in the clamped margin."""
    with torch.no_grad():
        for name, parameter in flow.named_parameters():
            if ".scale_head.3." in name or ".shift_head.3." in name:
                parameter *= 0.4
            if name.endswith(".scale_head.3.bias"):
                parameter += 0.6
    return flow


# (H, A, valid steps): two free dimensions each, the rest is padding.
TOYS = [(1, 2, 1), (2, 1, 2), (3, 1, 2), (5, 1, 2), (2, 2, 1)]


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("chunk_length", "action_dim", "num_valid"), TOYS)
@torch.no_grad()
def test_probability_mass_is_one(
    make_flow: MakeFlow,
    make_tokens: MakeTensor,
    chunk_length: int,
    action_dim: int,
    num_valid: int,
    seed: int,
) -> None:
    """Over the whole square (-1, 1)^2, for whole chunks and for chunks cut by an episode's end."""
    flow = concentrated(make_flow(chunk_length, action_dim, 4, seed))
    condition = flow.condition(make_tokens(1, 3, seed))
    points, weights = square_rule(160)
    chunks = torch.full((1, len(points), chunk_length, action_dim), 0.7, dtype=torch.float64)
    chunks[0, :, :num_valid] = points.view(-1, num_valid, action_dim)
    step_valid = torch.arange(chunk_length) < num_valid
    density = flow.log_prob(chunks, condition, step_valid[None])[0].exp()
    assert density.std() > 0.05, "a flat density proves nothing"
    assert math.isclose((density * weights).sum().item(), 1.0, abs_tol=1e-3)


@torch.no_grad()
def test_the_density_is_the_one_samples_follow(
    make_flow: MakeFlow, make_tokens: MakeTensor
) -> None:
    """Share of samples in a box against the integral of exp(log_prob) over it."""
    flow = concentrated(make_flow(2, 1, 4, seed=3))
    condition = flow.condition(make_tokens(1, 3, seed=3))
    samples, _ = flow.sample(40_000, 1.0, condition, torch.Generator().manual_seed(0))
    middle = samples[0].median(dim=0).values.flatten()
    points, weights = square_rule(60)
    for corner in ((-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)):
        end = torch.tensor(corner, dtype=torch.float64)
        half = (end - middle) / 2
        inside = middle + half + points * half
        density = flow.log_prob(inside.view(1, -1, 2, 1), condition)[0].exp()
        expected = (density * weights).sum() * half.prod().abs()
        in_box = ((samples[0, :, :, 0] - middle) * (end - middle) > 0).all(dim=1)
        share = in_box.double().mean()
        assert abs(share - expected) < 5 * (0.25 / len(samples[0])) ** 0.5
