"""All members in one product are the members one by one."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from softflow.errors import ConfigError
from softflow.models.critic import CriticEnsemble
from softflow.models.critics.mlp_critic import MlpCriticConfig, MlpCritics
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.models.network_kit import check_critic, example_inputs
from softflow.models.value_distribution import ValueSupport

CONFIG = MlpCriticConfig(num_critics=3, num_bins=21, hidden_dim=16, depth=3)


def member(critics: MlpCritics, number: int, tokens: Tensor, actions: Tensor) -> Tensor:
    """One member written out for one candidate: [B, D], [B, H * A] -> [B, bins]."""

    def linear(layer: torch.nn.Module, x: Tensor) -> Tensor:
        weight, bias = (
            dict(layer.named_parameters())["weight"],
            dict(layer.named_parameters())["bias"],
        )
        return x @ weight[number] + bias[number]

    x = linear(critics.from_tokens, tokens) + linear(critics.from_actions, actions)
    layers = [*critics.hidden, critics.stacked_head]
    for norm, layer in zip(critics.norms, layers, strict=True):
        gain, offset = (p[number, 0] for p in norm.parameters())
        x = linear(layer, F.silu(F.layer_norm(x, (16,), gain, offset)))
    return x


def test_the_product_of_all_is_each_by_itself() -> None:
    torch.manual_seed(0)
    critics = MlpCritics(4, 2, 6, CONFIG, num_tokens=2).double().eval()
    with torch.no_grad():
        for parameter in critics.parameters():
            parameter.normal_(0, 0.4)
    tokens = torch.randn(5, 2, 6, dtype=torch.float64)
    actions = torch.randn(5, 7, 4, 2, dtype=torch.float64)
    logits = critics(tokens, actions)
    assert logits.shape == (3, 5, 7, 21)
    for number in range(3):
        for candidate in range(7):
            expected = member(critics, number, tokens.flatten(1), actions[:, candidate].flatten(1))
            torch.testing.assert_close(logits[number, :, candidate], expected)


def test_members_that_are_named_are_asked_alone() -> None:
    torch.manual_seed(0)
    critics = MlpCritics(4, 2, 6, CONFIG, num_tokens=2).double().eval()
    tokens = torch.randn(5, 2, 6, dtype=torch.float64)
    actions = torch.randn(5, 7, 4, 2, dtype=torch.float64)
    every = critics(tokens, actions)
    torch.testing.assert_close(critics(tokens, actions, torch.tensor([2, 0])), every[[2, 0]])


def test_judges_are_drawn_anew_and_the_smallest_of_them_counts() -> None:
    torch.manual_seed(0)
    inputs, support = example_inputs(), ValueSupport(0.0, 1.0, 21)
    ensemble = CriticEnsemble(inputs, support, CONFIG, StateMlpConfig(token_dim=16))
    with torch.no_grad():
        for parameter in ensemble.parameters():
            parameter.normal_(0, 0.4)
    tokens = torch.randn(4, ensemble.encoder.num_tokens, 16)
    actions = torch.rand(4, 2, inputs.chunk.chunk_length, inputs.action_dim)
    values = ensemble.values(tokens, actions)
    torch.testing.assert_close(ensemble.value(tokens, actions), values.amin(dim=0))
    ensemble.num_judges = 2
    pairs = {pair: values[list(pair)].amin(dim=0) for pair in ((0, 1), (0, 2), (1, 2))}
    met = set()
    for seed in range(30):
        torch.manual_seed(seed)
        found = ensemble.value(tokens, actions)
        met |= {pair for pair, smallest in pairs.items() if torch.allclose(found, smallest)}
    assert met == set(pairs)


@pytest.mark.parametrize("number", [-1, 4])
def test_more_judges_than_members_are_refused(number: int) -> None:
    with pytest.raises(ConfigError, match="target_members"):
        MlpCriticConfig(num_critics=3, target_members=number)


def test_members_begin_apart_and_at_the_lowest_returns() -> None:
    torch.manual_seed(0)
    inputs = example_inputs()
    support = ValueSupport(0.0, 1.0, 21)
    ensemble = CriticEnsemble(inputs, support, CONFIG, StateMlpConfig(token_dim=16))
    tokens = torch.randn(4, ensemble.encoder.num_tokens, 16)
    actions = torch.rand(4, 2, inputs.chunk.chunk_length, inputs.action_dim)
    values = ensemble.values(tokens, actions)
    assert values.shape == (3, 4, 2)
    assert values.max() < 0.2
    assert len(values[:, 0, 0].unique()) == 3


def test_it_keeps_what_critics_promise() -> None:
    inputs = example_inputs()
    ensemble = CriticEnsemble(
        inputs, ValueSupport(0.0, 1.0, 21), CONFIG, StateMlpConfig(token_dim=16)
    )
    check_critic(ensemble, inputs)
    assert ensemble.architecture is MlpCritics


def test_dropout_is_off_where_the_critic_judges() -> None:
    critics = MlpCritics(4, 2, 6, MlpCriticConfig(num_bins=21, hidden_dim=16, dropout=0.5))
    tokens, actions = torch.randn(2, 1, 6), torch.randn(2, 1, 4, 2)
    critics.eval()
    torch.testing.assert_close(critics(tokens, actions), critics(tokens, actions))
    critics.train()
    assert not torch.equal(critics(tokens, actions), critics(tokens, actions))


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"hidden_dim": 0}, "critic.hidden_dim is 0"),
        ({"depth": 0}, "critic.depth is 0"),
        ({"dropout": 1.0}, r"critic.dropout is 1.0; it must lie in \[0, 1\)"),
        ({"num_critics": 0}, "critic.num_critics is 0"),
    ],
)
def test_sizes_that_cannot_be(sizes: dict[str, float], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        MlpCriticConfig(**sizes)  # type: ignore[arg-type]
