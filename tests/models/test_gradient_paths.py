"""Every loss reaches all the parameters it should, by name, and no other.

Weights are random: at their zero initialisation heads and modulations cut the paths behind them.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from softflow.data.chunk_spec import ChunkSpec
from softflow.models.critic import CriticEnsemble
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.models.inputs import ModelInputs
from softflow.models.policies.coupling import FlowConfig
from softflow.models.policies.flow_policy import FlowPolicy
from softflow.training.losses import critic_loss

MakePolicy = Callable[..., FlowPolicy]
MakeObservation = Callable[..., tuple[dict[str, Tensor], Tensor]]
MakeTensor = Callable[..., Tensor]

QUERY_KEY = ("query_norm.weight", "key_norm.weight")


def without_gradient(module: nn.Module) -> set[str]:
    """Names of the parameters whose gradient is absent or (up to rounding) zero everywhere."""
    return {
        name
        for name, p in module.named_parameters()
        if p.grad is None or p.grad.abs().max().item() < 1e-14
    }


def after_log_prob(
    make_policy: MakePolicy,
    make_observation: MakeObservation,
    make_actions: MakeTensor,
    chunk: ChunkSpec,
    tokens: int = 2,
) -> FlowPolicy:
    """A policy of two couplings with the gradient of its log_prob."""
    policy = make_policy(chunk, num_layers=2, tokens=tokens)
    observation, prefix = make_observation(chunk, batch=3)
    actions = make_actions((3, 1, chunk.chunk_length, 2))
    policy.flow.log_prob(actions, policy.condition(observation, prefix)).sum().backward()
    return policy


@pytest.mark.parametrize("chunk_length", [4, 5, 6])
@pytest.mark.parametrize("prefix_length", [0, 2])
def test_log_prob_reaches_every_parameter_of_the_policy(
    make_policy: MakePolicy,
    make_observation: MakeObservation,
    make_actions: MakeTensor,
    chunk_length: int,
    prefix_length: int,
) -> None:
    chunk = ChunkSpec(chunk_length, chunk_length, prefix_length)
    policy = after_log_prob(make_policy, make_observation, make_actions, chunk)
    assert without_gradient(policy) == set()


def self_attention_scores(layer: int) -> set[str]:
    """What only decides whom a stream attends to; a stream of one token has no choice."""
    return {
        f"flow.couplings.{layer}.network.blocks.{block}.self_attention.{name}"
        for block in (0, 1)
        for name in QUERY_KEY
    }


def test_two_tokens_leave_self_attention_without_a_choice(
    make_policy: MakePolicy, make_observation: MakeObservation, make_actions: MakeTensor
) -> None:
    """H = 2: each layer keeps one token, which attends to itself alone."""
    policy = after_log_prob(make_policy, make_observation, make_actions, ChunkSpec(2, 2))
    assert without_gradient(policy) == self_attention_scores(0) | self_attention_scores(1)


def test_three_tokens_leave_every_other_layer_without_a_choice(
    make_policy: MakePolicy, make_observation: MakeObservation, make_actions: MakeTensor
) -> None:
    """H = 3: layer 0 moves one token by the first kept one; layer 1 has two streams."""
    policy = after_log_prob(make_policy, make_observation, make_actions, ChunkSpec(3, 3))
    assert without_gradient(policy) == self_attention_scores(0)


def test_one_token_is_not_looked_at_either(
    make_policy: MakePolicy, make_observation: MakeObservation, make_actions: MakeTensor
) -> None:
    """H = 1: nothing is kept, the empty token is zero: only the embedding's bias counts."""
    policy = after_log_prob(make_policy, make_observation, make_actions, ChunkSpec(1, 1))
    embeddings = {f"flow.couplings.{layer}.network.embed.weight" for layer in (0, 1)}
    expected = self_attention_scores(0) | self_attention_scores(1) | embeddings
    assert without_gradient(policy) == expected


def test_one_observation_token_leaves_cross_attention_without_a_choice(
    make_policy: MakePolicy, make_observation: MakeObservation, make_actions: MakeTensor
) -> None:
    chunk = ChunkSpec(4, 4)
    policy = after_log_prob(make_policy, make_observation, make_actions, chunk, tokens=1)
    expected = {
        f"flow.couplings.{layer}.network.blocks.1.{name}"
        for layer in (0, 1)
        for name in (
            "cross_norm.weight",
            "cross_attention.query.weight",
            *(f"cross_attention.{name}" for name in QUERY_KEY),
        )
    }
    assert without_gradient(policy) == expected


def test_a_cut_chunk_still_teaches_all_but_what_the_padding_hides(
    make_policy: MakePolicy, make_observation: MakeObservation, make_actions: MakeTensor
) -> None:
    """One row cut, one whole: together they reach everything."""
    chunk = ChunkSpec(6, 6)
    policy = make_policy(chunk, num_layers=2)
    observation, prefix = make_observation(chunk, batch=2)
    step_valid = torch.arange(6) < torch.tensor([[2], [6]])
    condition = policy.condition(observation, prefix)
    policy.flow.log_prob(make_actions((2, 1, 6, 2)), condition, step_valid).sum().backward()
    assert without_gradient(policy) == set()


def test_a_fresh_policy_learns_its_last_linear_layers_first(
    make_inputs: Callable[..., ModelInputs],
    make_observation: MakeObservation,
    make_actions: MakeTensor,
) -> None:
    """The zero initialisation in one picture, and the reason why these tests fill weights."""
    chunk = ChunkSpec(4, 4)
    policy = FlowPolicy(
        make_inputs(chunk), FlowConfig(2, 8, 2, 12, 10), StateMlpConfig(8, 7, 2)
    ).double()
    observation, prefix = make_observation(chunk, batch=3)
    condition = policy.condition(observation, prefix)
    policy.flow.log_prob(make_actions((3, 1, 4, 2)), condition).sum().backward()
    reached = {name for name, _ in policy.named_parameters()} - without_gradient(policy)
    assert reached == {
        f"flow.couplings.{layer}.network.{head}.3.{kind}"
        for layer in (0, 1)
        for head in ("scale_head", "shift_head")
        for kind in ("weight", "bias")
    }


@pytest.mark.parametrize("chunk_length", [1, 4])
@pytest.mark.parametrize("prefix_length", [0, 2])
def test_the_critic_loss_reaches_every_parameter_of_the_critic(
    make_critic: Callable[..., CriticEnsemble],
    make_observation: MakeObservation,
    make_actions: MakeTensor,
    chunk_length: int,
    prefix_length: int,
) -> None:
    chunk = ChunkSpec(chunk_length, 1, prefix_length)
    critic = make_critic(chunk)
    observation, prefix = make_observation(chunk, batch=3)
    tokens = critic.encoder(observation, prefix)
    logits = critic(tokens, make_actions((3, 1, chunk_length, 2))).squeeze(2)
    ones = torch.ones(3, dtype=torch.float64)
    loss, _ = critic_loss(
        logits,
        rewards=ones[:, None] * 0.3,
        num_steps=torch.ones(3, dtype=torch.int64),
        bootstrap_mask=ones,
        next_value=ones * torch.tensor([-0.2, 0.1, 0.9]),
        discount=0.9,
        output=critic.output,
    )
    loss.backward()
    assert without_gradient(critic) == set()


def test_only_the_keys_bias_is_idle_in_the_critic(
    make_critic: Callable[..., CriticEnsemble], make_actions: MakeTensor, make_tokens: MakeTensor
) -> None:
    """The one slice that gets none: a constant added to all keys leaves a softmax as it is."""
    critic = make_critic(ChunkSpec(4, 4))
    critic(make_tokens(3, 2, dim=8), make_actions((3, 1, 4, 2)))[..., 0].sum().backward()
    for name, parameter in critic.named_parameters():
        if name.endswith("in_proj_bias"):
            assert parameter.grad is not None
            query, key, value = parameter.grad.chunk(3)
            assert key.abs().max() < 1e-14
            assert (query.abs() > 1e-12).all()
            assert (value.abs() > 1e-12).all()


def test_one_critic_teaches_no_other(
    make_critic: Callable[..., CriticEnsemble], make_actions: MakeTensor, make_tokens: MakeTensor
) -> None:
    critic = make_critic(ChunkSpec(4, 4))
    logits = critic(make_tokens(3, 2, dim=8), make_actions((3, 1, 4, 2)))
    logits[0].square().sum().backward()
    assert without_gradient(critic.members[0]) == set()
    assert all(p.grad is None or not p.grad.any() for p in critic.members[1].parameters())
