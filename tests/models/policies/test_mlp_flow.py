"""The flow of MLPs: likelihood against autograd's Jacobian, inversion, padding, the test kit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from softflow.errors import ConfigError
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.models.network_kit import check_policy, example_inputs
from softflow.models.policies.flow_policy import ActionFlow
from softflow.models.policies.mlp_flow import MlpCoupling, MlpFlowConfig, MlpFlowPolicy

TOKENS, WIDTH = 2, 6
Randomize = Callable[[nn.Module, int], None]
MakeTensor = Callable[..., Tensor]


def flow_of(
    randomize: Randomize, chunk_length: int, action_dim: int, layers: int, seed: int = 0
) -> ActionFlow:
    """A float64 flow with random weights everywhere."""
    config = MlpFlowConfig(layers, hidden_dim=10, depth=2, split_seed=seed)
    flow = ActionFlow(chunk_length, action_dim, WIDTH, config, num_tokens=TOKENS)
    randomize(flow, seed)
    return flow.double().eval()


@pytest.mark.slow
@settings(max_examples=15)
@given(
    chunk_length=st.integers(1, 4),
    action_dim=st.integers(1, 3),
    layers=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_likelihood_and_inverse(
    randomize: Randomize,
    make_tokens: MakeTensor,
    make_actions: MakeTensor,
    chunk_length: int,
    action_dim: int,
    layers: int,
    seed: int,
) -> None:
    flow = flow_of(randomize, chunk_length, action_dim, layers, seed)
    condition = flow.condition(make_tokens(1, TOKENS, seed))
    actions = make_actions((1, 1, chunk_length, action_dim), seed)
    latents, log_det = flow.to_latents(actions, condition)
    width = chunk_length * action_dim
    jacobian = torch.autograd.functional.jacobian(
        lambda flat: flow.to_latents(flat.view_as(actions), condition)[0].flatten(),
        actions.flatten(),
    )
    expected = torch.linalg.slogdet(jacobian.view(width, width)).logabsdet
    torch.testing.assert_close(log_det[0, 0], expected, rtol=1e-9, atol=1e-9)
    back, back_log_det = flow.to_actions(latents, condition)
    torch.testing.assert_close(back, actions, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(back_log_det, -log_det, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("valid_steps", [0, 1, 3])
def test_steps_past_the_end_neither_count_nor_are_looked_at(
    randomize: Randomize, make_tokens: MakeTensor, make_actions: MakeTensor, valid_steps: int
) -> None:
    flow = flow_of(randomize, 4, 3, 6)
    condition = flow.condition(make_tokens(2, TOKENS))
    actions = make_actions((2, 1, 4, 3))
    valid = (torch.arange(4) < valid_steps).expand(2, 4)
    other = torch.where(valid[:, None, :, None], actions, make_actions((2, 1, 4, 3), 5))
    ours, theirs = (flow.log_prob(a, condition, valid) for a in (actions, other))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    if valid_steps == 0:
        assert not ours.any()


def test_every_number_is_moved_by_others(randomize: Randomize) -> None:
    flow = flow_of(randomize, 5, 5, 6)
    layers = [layer for layer in flow.couplings if isinstance(layer, MlpCoupling)]
    for layer in layers:
        assert sorted([*layer.moved.tolist(), *layer.kept.tolist()]) == list(range(25))
    moved = {int(place) for layer in layers for place in layer.moved}
    assert moved == set(range(25))


def test_candidates_are_alone(randomize: Randomize, make_tokens: MakeTensor) -> None:
    flow = flow_of(randomize, 3, 2, 4)
    condition = flow.condition(make_tokens(2, TOKENS))
    latents = torch.randn(2, 5, 3, 2, dtype=torch.float64)
    together, _ = flow.to_actions(latents, condition)
    alone = torch.cat([flow.to_actions(latents[:, n : n + 1], condition)[0] for n in range(5)], 1)
    torch.testing.assert_close(together, alone)


def test_it_keeps_what_policies_promise() -> None:
    policy = MlpFlowPolicy(
        example_inputs(), MlpFlowConfig(num_layers=4, hidden_dim=32), StateMlpConfig(token_dim=16)
    )
    check_policy(policy)


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"hidden_dim": 0}, "mlp_flow.hidden_dim is 0; it must be at least 1"),
        ({"num_layers": 10**6}, "mlp_flow.num_layers is 1000000; it must be at most"),
        ({"depth": 0}, "mlp_flow.depth is 0"),
        ({"split_seed": -1}, "split_seed is -1"),
    ],
)
def test_sizes_that_cannot_be(sizes: dict[str, int], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        MlpFlowConfig(**sizes)
