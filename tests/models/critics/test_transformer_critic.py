"""The critic is PyTorch's own transformer encoder, evaluated more cheaply; and its ensemble."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from softflow.data.chunk_spec import ChunkSpec
from softflow.errors import ConfigError
from softflow.models.critic import CriticEnsemble
from softflow.models.critics.transformer_critic import TransformerCritic, TransformerCriticConfig
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.models.inputs import ModelInputs
from softflow.models.value_distribution import ValueSupport, support_from_returns

Randomize = Callable[[nn.Module, int], None]
MakeTensor = Callable[..., Tensor]


def reference_logits(
    critic: TransformerCritic, config: TransformerCriticConfig, obs_tokens: Tensor, actions: Tensor
) -> Tensor:
    """The paper's critic from PyTorch's parts: every candidate its own full sequence."""
    layer = nn.TransformerEncoderLayer(
        config.dim,
        config.num_heads,
        config.mlp_dim,
        config.dropout,
        activation="gelu",
        batch_first=True,
    )
    encoder = nn.TransformerEncoder(layer, config.num_layers, enable_nested_tensor=False).double()
    for ours, theirs in zip(critic.layers, encoder.layers, strict=True):
        theirs.load_state_dict(ours.state_dict())
    encoder.eval()
    rows: list[Tensor] = []
    for n in range(actions.shape[1]):
        embedded = nn.functional.elu(
            actions[:, n] @ critic.action_embed[0].weight.T + critic.action_embed[0].bias  # type: ignore[operator, union-attr]
        )
        readout = critic.readout.expand(len(actions), 1, -1)
        sequence = torch.cat([obs_tokens, embedded + critic.action_position, readout], dim=1)
        rows.append(critic.head(encoder(sequence)[:, -1]))
    return torch.stack(rows, dim=1)


@settings(max_examples=25)
@given(
    H=st.integers(1, 6),
    A=st.integers(1, 4),
    S=st.integers(1, 5),
    N=st.integers(1, 4),
    B=st.integers(1, 3),
    num_layers=st.integers(1, 3),
    num_heads=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 1000),
)
def test_equals_pytorchs_encoder_on_the_concatenated_tokens(
    randomize: Randomize,
    make_tokens: MakeTensor,
    make_actions: MakeTensor,
    H: int,
    A: int,
    S: int,
    N: int,
    B: int,
    num_layers: int,
    num_heads: int,
    seed: int,
) -> None:
    config = TransformerCriticConfig(
        dim=8, num_heads=num_heads, num_layers=num_layers, mlp_dim=12, dropout=0.3, num_bins=13
    )
    critic = TransformerCritic(H, A, 8, config).double().eval()
    randomize(critic, seed)
    obs_tokens, actions = make_tokens(B, S, seed, dim=8), make_actions((B, N, H, A), seed)
    logits = critic(obs_tokens, actions)
    assert logits.shape == (B, N, 13)
    expected = reference_logits(critic, config, obs_tokens, actions)
    torch.testing.assert_close(logits, expected, rtol=1e-10, atol=1e-10)


def test_dropout_acts_in_training_only(
    randomize: Randomize, make_tokens: MakeTensor, make_actions: MakeTensor
) -> None:
    obs_tokens, actions = make_tokens(2, 3, dim=8), make_actions((2, 3, 4, 2))
    for dropout in (0.0, 0.5):
        critic = TransformerCritic(
            4,
            2,
            8,
            TransformerCriticConfig(dim=8, num_heads=2, num_layers=2, mlp_dim=12, dropout=dropout),
        ).double()
        randomize(critic, 0)
        evaluated = critic.eval()(obs_tokens, actions)
        critic.train()
        first, second = critic(obs_tokens, actions), critic(obs_tokens, actions)
        assert torch.equal(first, second) == (dropout == 0)
        assert torch.equal(first, evaluated) == (dropout == 0)


def test_candidates_are_scored_as_if_alone(
    make_critic: Callable[..., CriticEnsemble], make_tokens: MakeTensor, make_actions: MakeTensor
) -> None:
    critic = make_critic(ChunkSpec(4, 4))
    tokens, actions = make_tokens(2, 3, dim=8), make_actions((2, 5, 4, 2))
    values = critic.values(tokens, actions)
    for n in range(5):
        alone = critic.values(tokens, actions[:, n : n + 1])[:, :, 0]
        torch.testing.assert_close(alone, values[:, :, n], rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("num_critics", [1, 2, 3])
def test_the_ensemble_takes_the_minimum_or_the_mean_of_independent_members(
    make_critic: Callable[..., CriticEnsemble],
    make_tokens: MakeTensor,
    make_actions: MakeTensor,
    num_critics: int,
) -> None:
    critic = make_critic(ChunkSpec(4, 4), seed=1, num_critics=num_critics)
    with torch.no_grad():
        for name, parameter in critic.named_parameters():
            if name.endswith("head.bias"):
                parameter.zero_()  # It would separate the members once and for all.
    tokens, actions = make_tokens(9, 3, dim=8), make_actions((9, 6, 4, 2))
    logits = critic(tokens, actions)
    assert logits.shape == (num_critics, 9, 6, 13)
    by_hand = torch.empty(num_critics, 9, 6, dtype=torch.float64)
    centers = torch.linspace(-1, 2, 13, dtype=torch.float64)
    for index, member in enumerate(critic.members):
        torch.testing.assert_close(member(tokens, actions), logits[index], rtol=0, atol=0)
        by_hand[index] = logits[index].softmax(-1) @ centers
    torch.testing.assert_close(critic.values(tokens, actions), by_hand, rtol=1e-6, atol=1e-6)
    lowest, who = by_hand.min(dim=0)
    torch.testing.assert_close(critic.value(tokens, actions), lowest, rtol=1e-6, atol=1e-6)
    assert len(who.unique()) == num_critics, "members that agree everywhere prove nothing"
    critic.config = replace(critic.config, combine="mean")
    average = by_hand.mean(dim=0)
    torch.testing.assert_close(critic.value(tokens, actions), average, rtol=1e-6, atol=1e-6)


def test_a_fresh_critic_expects_the_lowest_return_and_can_learn_otherwise(
    make_inputs: Callable[..., ModelInputs], make_actions: MakeTensor
) -> None:
    """Before training, no chunk is promising: the histogram stands at the worst of the data."""
    torch.manual_seed(0)
    support = support_from_returns(-2.0, 5.0)
    config, encoder = (
        TransformerCriticConfig(dim=64, num_heads=2, num_layers=2, mlp_dim=64),
        StateMlpConfig(64, 8, 2),
    )
    critic = CriticEnsemble(make_inputs(ChunkSpec(4, 4)), support, config, encoder).eval()
    tokens, actions = torch.randn(8, 3, 64), make_actions((8, 4, 4, 2)).float()
    values = critic.values(tokens, actions)
    assert (values.mean() + 2.0).abs() < 0.01 * 7
    assert (values + 2.0).abs().max() < 0.03 * 7
    assert values.std() > 0, "with a head of zeros no gradient would reach the layers below"
    assert not torch.equal(values[0], values[1]), "members must start apart"


@pytest.mark.parametrize(("action_dim", "chunk_length"), [(7, 10), (17, 6), (24, 10), (24, 1)])
def test_has_the_papers_number_of_parameters(action_dim: int, chunk_length: int) -> None:
    """3,999,077 + 512 (A + H + 1) each (App. C1)."""
    with torch.device("meta"):
        critic = TransformerCritic(chunk_length, action_dim, 512, TransformerCriticConfig())
    count = sum(p.numel() for p in critic.parameters())
    assert count == 3_999_077 + 512 * (action_dim + chunk_length + 1)


@pytest.mark.parametrize("name", ["dim", "num_heads", "num_layers", "mlp_dim", "num_critics"])
def test_sizes_below_one_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"critic\.{name} is 0; it must be at least 1"):
        replace(TransformerCriticConfig(), **{name: 0})


def test_impossible_configurations_are_refused(
    make_inputs: Callable[..., ModelInputs],
) -> None:
    with pytest.raises(ConfigError, match=r"critic\.dim 10 must be a multiple of .*num_heads 4"):
        TransformerCriticConfig(dim=10, num_heads=4)
    for dropout in (-0.1, 1.0):
        with pytest.raises(ConfigError, match=rf"critic\.dropout is {dropout}; it must lie in"):
            TransformerCriticConfig(dropout=dropout)
    with pytest.raises(ConfigError, match=r"token_dim 16 must equal critic\.dim 8"):
        CriticEnsemble(
            make_inputs(ChunkSpec(4, 4)),
            ValueSupport(0.0, 1.0),
            TransformerCriticConfig(dim=8, num_heads=2, num_layers=1, mlp_dim=8),
            StateMlpConfig(16, 8, 2),
        )


def test_a_support_of_other_bins_is_refused(
    make_inputs: Callable[..., ModelInputs],
) -> None:
    with pytest.raises(ConfigError, match="51"):
        CriticEnsemble(
            make_inputs(ChunkSpec(4, 4)),
            ValueSupport(0.0, 1.0, num_bins=51),
            TransformerCriticConfig(dim=8, num_heads=2, num_layers=1, mlp_dim=8, num_bins=101),
            StateMlpConfig(8, 8, 2),
        )


@pytest.mark.parametrize("num_bins", [0, 11])
def test_too_few_bins_are_refused(num_bins: int) -> None:
    """Five of margin a side, and two between them."""
    with pytest.raises(ConfigError, match=rf"critic\.num_bins is {num_bins}; .* at least 12"):
        TransformerCriticConfig(num_bins=num_bins)
