"""Observations and prefix actions as tokens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY
from softflow.data.statistics import DatasetStatistics
from softflow.errors import ConfigError
from softflow.models.encoder import ObservationEncoder
from softflow.models.encoders.state_mlp import StateMlp, StateMlpConfig
from softflow.models.inputs import ModelInputs

MakeStatistics = Callable[..., DatasetStatistics]
CONFIG = StateMlpConfig(token_dim=8, hidden_dim=7, state_tokens=3)


@pytest.fixture
def make_encoder(
    make_inputs: Callable[..., ModelInputs], randomize: Callable[[nn.Module, int], None]
) -> Callable[..., ObservationEncoder]:
    def make(history_length: int = 1, prefix_length: int = 0) -> ObservationEncoder:
        encoder = ObservationEncoder(
            make_inputs(ChunkSpec(1, 1, prefix_length, history_length)), CONFIG
        )
        randomize(encoder, 0)
        return encoder.double()

    return make


def state_mlp_of(encoder: ObservationEncoder) -> StateMlp:
    assert isinstance(encoder.observation, StateMlp)
    return encoder.observation


def state_of(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("history_length", [1, 4])
@pytest.mark.parametrize("prefix_length", [0, 1, 3])
def test_tokens_of_state_then_one_a_prefix_action(
    make_encoder: Callable[..., ObservationEncoder], history_length: int, prefix_length: int
) -> None:
    encoder = make_encoder(history_length, prefix_length)
    state, prefix = state_of(5, history_length, 3), state_of(5, prefix_length, 2, seed=1)
    tokens = encoder({STATE_KEY: state}, prefix)
    assert tokens.shape == (5, 3 + prefix_length, 8)
    assert tokens.dtype == torch.float64
    for step in range(prefix_length):
        moved = prefix.clone()
        moved[:, step] += 1
        changed = (encoder({STATE_KEY: state}, moved) != tokens).any(-1)
        expected = torch.zeros(3 + prefix_length, dtype=torch.bool)
        expected[3 + step] = True
        assert (changed == expected).all(), "a prefix action must have a token of its own"
    for step in range(history_length):
        moved = state.clone()
        moved[:, step] += 1
        changed = (encoder({STATE_KEY: moved}, prefix) != tokens).any(-1)
        assert changed[:, :3].all()
        assert not changed[:, 3:].any()


def test_the_order_of_history_and_of_the_prefix_matters(
    make_encoder: Callable[..., ObservationEncoder],
) -> None:
    encoder = make_encoder(2, 2)
    state, prefix = state_of(1, 2, 3), state_of(1, 2, 2, seed=1)
    tokens = encoder({STATE_KEY: state}, prefix)
    assert (encoder({STATE_KEY: state.flip(1)}, prefix) - tokens).abs().max() > 1e-3
    flipped = encoder({STATE_KEY: state}, prefix.flip(1))
    assert (flipped.flip(1)[:, :2] - tokens[:, 3:]).abs().max() > 1e-3


def test_tokens_by_hand(
    make_encoder: Callable[..., ObservationEncoder], make_statistics: MakeStatistics
) -> None:
    """Normalise with the data's statistics, two linear layers, positions, LayerNorm."""
    encoder = make_encoder(2, 1)
    state, prefix = state_of(2, 2, 3), state_of(2, 1, 2, seed=1)
    statistics = make_statistics(2).observations[STATE_KEY]
    normalised = (state - torch.from_numpy(statistics.mean)) / torch.from_numpy(statistics.std)
    first, second = state_mlp_of(encoder).mlp[0], state_mlp_of(encoder).mlp[2]
    hidden = nn.functional.gelu(first(torch.cat([normalised[:, 0], normalised[:, 1]], dim=-1)))
    tokens = torch.stack(second(hidden).split(8, dim=-1), dim=1)
    assert encoder.prefix_embed is not None
    tokens = torch.cat([tokens, encoder.prefix_embed(prefix)], dim=1) + encoder.token_position
    centred = tokens - tokens.mean(-1, keepdim=True)
    centred = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    expected = centred * encoder.norm.weight + encoder.norm.bias
    torch.testing.assert_close(encoder({STATE_KEY: state}, prefix), expected)


def test_other_observations_are_not_needed(
    make_encoder: Callable[..., ObservationEncoder],
) -> None:
    encoder = make_encoder()
    state, empty = state_of(1, 1, 3), torch.zeros(1, 0, 2, dtype=torch.float64)
    alone = encoder({STATE_KEY: state}, empty)
    frames = torch.zeros(1, 1, 8, 8, 3, dtype=torch.uint8)
    with_camera = encoder({STATE_KEY: state, "observation.images.front": frames}, empty)
    torch.testing.assert_close(alone, with_camera, rtol=0, atol=0)


def test_weights_alone_reproduce_the_normalisation(
    make_encoder: Callable[..., ObservationEncoder],
) -> None:
    encoder, other = make_encoder(), make_encoder()
    state_mlp_of(other).normalizer.mean.add_(1)
    other.load_state_dict(encoder.state_dict())
    state, empty = state_of(1, 1, 3), torch.zeros(1, 0, 2, dtype=torch.float64)
    torch.testing.assert_close(
        encoder({STATE_KEY: state}, empty), other({STATE_KEY: state}, empty), rtol=0, atol=0
    )


def test_a_dataset_without_state_is_refused(make_statistics: MakeStatistics) -> None:
    whole = make_statistics(2)
    other = {"observation.joints": whole.observations[STATE_KEY]}
    statistics = DatasetStatistics(other, whole.action, 1, 1)
    with pytest.raises(ConfigError, match=r'no "observation\.state" \(it has .*joints') as caught:
        ObservationEncoder(ModelInputs(ChunkSpec(1, 1), statistics, {}), CONFIG)
    assert "record the robot's state under that key" in str(caught.value)


@pytest.mark.parametrize("name", ["token_dim", "hidden_dim", "state_tokens"])
@pytest.mark.parametrize("value", [0, -1])
def test_sizes_below_one_are_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"encoder\.{name} is {value}; it must be at least 1"):
        StateMlpConfig(**{name: value})
