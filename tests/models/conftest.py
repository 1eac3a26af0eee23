"""Small networks with random weights everywhere, shared by the tests of the models."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY
from softflow.data.statistics import ArrayStatistics, DatasetStatistics
from softflow.models.critic import CriticEnsemble
from softflow.models.critics.transformer_critic import TransformerCriticConfig
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.models.inputs import ModelInputs
from softflow.models.policies.coupling import FlowConfig
from softflow.models.policies.flow_policy import ActionFlow, FlowPolicy
from softflow.models.value_distribution import ValueSupport

TOKEN_DIM = 6
STATE_DIM = 3


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks lose more than they gain by threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fill_randomly(module: nn.Module, seed: int) -> None:
    """Give every parameter random values: heads and modulations start at zero and hide errors."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            is_gain = name.endswith(("norm.weight", "norm1.weight", "norm2.weight"))
            if is_gain:
                noise = 1 + 0.3 * noise
            elif parameter.dim() > 1:
                noise = noise / parameter.shape[-1] ** 0.5
            else:
                noise = 0.3 * noise
            parameter.copy_(noise)


@pytest.fixture(scope="session")
def randomize() -> Callable[[nn.Module, int], None]:
    return fill_randomly


@pytest.fixture(scope="session")
def make_flow() -> Callable[..., ActionFlow]:
    """`make_flow(H, A, layers, seed)`: a float64 flow in evaluation mode, all weights random."""

    def make(
        chunk_length: int, action_dim: int, num_layers: int, seed: int = 0, split_seed: int = 0
    ) -> ActionFlow:
        config = FlowConfig(num_layers, 8, 2, 12, 10, split_seed)
        flow = ActionFlow(chunk_length, action_dim, TOKEN_DIM, config)
        fill_randomly(flow, seed)
        return flow.double().eval()

    return make


@pytest.fixture(scope="session")
def make_tokens() -> Callable[..., Tensor]:
    """`make_tokens(B, S, seed)`: observation tokens of the width that `make_flow` expects."""

    def make(batch: int, length: int, seed: int = 0, dim: int = TOKEN_DIM) -> Tensor:
        generator = torch.Generator().manual_seed(1000 + seed)
        return torch.randn(batch, length, dim, generator=generator, dtype=torch.float64)

    return make


@pytest.fixture(scope="session")
def make_actions() -> Callable[..., Tensor]:
    """`make_actions(shape, seed)`: normalised actions, at most 0.95 in size."""

    def make(shape: tuple[int, ...], seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(2000 + seed)
        return 1.9 * torch.rand(shape, generator=generator, dtype=torch.float64) - 0.95

    return make


@pytest.fixture(scope="session")
def make_statistics() -> Callable[..., DatasetStatistics]:
    """`make_statistics(A)`: data whose action k spans [-1 - k, 2 + k]."""

    def make(action_dim: int) -> DatasetStatistics:
        state = ArrayStatistics(
            np.arange(STATE_DIM) * 1.0,
            np.arange(STATE_DIM) + 0.5,
            np.full(STATE_DIM, -5.0),
            np.full(STATE_DIM, 5.0),
        )
        low, high = -1.0 - np.arange(action_dim), 2.0 + np.arange(action_dim)
        action = ArrayStatistics((low + high) / 2, (high - low) / 4, low, high)
        return DatasetStatistics({STATE_KEY: state}, action, num_episodes=3, num_steps=30)

    return make


@pytest.fixture(scope="session")
def make_inputs(
    make_statistics: Callable[..., DatasetStatistics],
) -> Callable[..., ModelInputs]:
    """`make_inputs(chunk, A)`: what networks are told of data with a state of `STATE_DIM`."""

    def make(chunk: ChunkSpec, action_dim: int = 2) -> ModelInputs:
        return ModelInputs(chunk, make_statistics(action_dim), {STATE_KEY: (STATE_DIM,)})

    return make


@pytest.fixture(scope="session")
def make_policy(
    make_inputs: Callable[..., ModelInputs],
) -> Callable[..., FlowPolicy]:
    """`make_policy(chunk, A)`: a float64 policy in evaluation mode, all weights random."""

    def make(
        chunk: ChunkSpec, action_dim: int = 2, seed: int = 0, num_layers: int = 4, tokens: int = 2
    ) -> FlowPolicy:
        flow = FlowConfig(num_layers, 8, 2, 12, 10)
        encoder = StateMlpConfig(token_dim=8, hidden_dim=7, state_tokens=tokens)
        policy = FlowPolicy(make_inputs(chunk, action_dim), flow, encoder)
        fill_randomly(policy, seed)
        return policy.double().eval()

    return make


@pytest.fixture(scope="session")
def make_critic(
    make_inputs: Callable[..., ModelInputs],
) -> Callable[..., CriticEnsemble]:
    """`make_critic(chunk, A)`: a float64 ensemble in evaluation mode, all weights random."""

    def make(
        chunk: ChunkSpec, action_dim: int = 2, seed: int = 0, num_critics: int = 2, tokens: int = 2
    ) -> CriticEnsemble:
        config = TransformerCriticConfig(
            dim=8,
            num_heads=2,
            num_layers=3,
            mlp_dim=12,
            dropout=0.1,
            num_critics=num_critics,
            num_bins=13,
        )
        encoder = StateMlpConfig(token_dim=8, hidden_dim=7, state_tokens=tokens)
        support = ValueSupport(-1.0, 2.0, num_bins=13)
        critic = CriticEnsemble(make_inputs(chunk, action_dim), support, config, encoder)
        fill_randomly(critic, 500 + seed)
        return critic.double().eval()

    return make


@pytest.fixture(scope="session")
def make_observation() -> Callable[..., tuple[dict[str, Tensor], Tensor]]:
    """`make_observation(chunk, B, A)`: a raw observation and raw prefix actions."""

    def make(
        chunk: ChunkSpec, batch: int, action_dim: int = 2, seed: int = 0
    ) -> tuple[dict[str, Tensor], Tensor]:
        generator = torch.Generator().manual_seed(3000 + seed)
        state = torch.randn(
            batch, chunk.history_length, STATE_DIM, generator=generator, dtype=torch.float64
        )
        prefix = torch.rand(
            batch, chunk.prefix_length, action_dim, generator=generator, dtype=torch.float64
        )
        return {STATE_KEY: state}, prefix

    return make
