"""The kits accept what ships and what a user would write, and name each broken promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from colour_encoder import ColourConfig
from gaussian_policy import GaussianConfig, GaussianPolicy
from pooled_critic import PooledConfig, PooledCritic
from torch import Tensor

from softflow.data.chunk_spec import ChunkSpec
from softflow.errors import NetworkContractError
from softflow.models.critic import CriticConfig, CriticEnsemble
from softflow.models.critics.mlp_critic import MlpCriticConfig
from softflow.models.critics.transformer_critic import TransformerCriticConfig
from softflow.models.encoder import EncoderConfig
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.models.inputs import ModelInputs
from softflow.models.network_kit import check_critic, check_policy, example_inputs
from softflow.models.policies.coupling import FlowConfig
from softflow.models.policy import POLICIES, PolicyConfig
from softflow.models.value_distribution import ValueSupport

MakeInputs = Callable[..., ModelInputs]
CHUNKS = (ChunkSpec(4, 4), ChunkSpec(5, 3, prefix_length=2, history_length=3), ChunkSpec(1, 1))
STATE = StateMlpConfig(token_dim=8, hidden_dim=7, state_tokens=2)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("encoder", [STATE, ColourConfig(token_dim=8)])
@pytest.mark.parametrize("config", [FlowConfig(2, 8, 2, 12, 10), GaussianConfig()])
def test_policies_keep_their_promises(
    make_inputs: MakeInputs, chunk: ChunkSpec, encoder: EncoderConfig, config: PolicyConfig
) -> None:
    inputs = with_camera(make_inputs(chunk))
    policy = POLICIES.find(config.kind)(inputs, config, encoder)
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    check_policy(policy)
    assert all(torch.equal(before[name], value) for name, value in policy.state_dict().items())


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize(
    "config",
    [
        TransformerCriticConfig(dim=8, num_heads=2, num_layers=2, mlp_dim=12, num_bins=13),
        PooledConfig(num_critics=3, num_bins=13),
        PooledConfig(num_critics=3, num_bins=13, learns="squared_error"),
        MlpCriticConfig(num_bins=13, hidden_dim=8, learns="squared_error"),
    ],
)
def test_critics_keep_their_promises(
    make_inputs: MakeInputs, chunk: ChunkSpec, config: CriticConfig
) -> None:
    inputs = make_inputs(chunk)
    critic = CriticEnsemble(inputs, ValueSupport(0.0, 1.0, num_bins=13), config, STATE)
    check_critic(critic, inputs)


def with_camera(inputs: ModelInputs) -> ModelInputs:
    shapes = {**inputs.observation_shapes, "observation.images.top": (6, 4, 3)}
    return ModelInputs(inputs.chunk, inputs.statistics, shapes)


class PaddedSteps(GaussianPolicy):
    def imitation_cost(
        self, condition: Any, actions: Tensor, step_valid: Tensor, noise_std: float
    ) -> Tensor:
        return super().imitation_cost(condition, actions, torch.ones_like(step_valid), noise_std)


class SummedCost(GaussianPolicy):
    def imitation_cost(
        self, condition: Any, actions: Tensor, step_valid: Tensor, noise_std: float
    ) -> Tensor:
        return super().imitation_cost(condition, actions, step_valid, noise_std).sum()


class OwnRandomness(GaussianPolicy):
    def draw_latents(self, batch: int, num: int, std: float, generator: Any = None) -> Tensor:
        return super().draw_latents(batch, num, std, None)


class MixedCandidates(GaussianPolicy):
    def to_chunks(self, latents: Tensor, condition: Any) -> Tensor:
        return super().to_chunks(latents - latents.mean(dim=1, keepdim=True), condition)


class BatchStatistics(GaussianPolicy):
    def condition(self, observation: Any, prefix_actions: Tensor) -> list[Tensor]:
        mean, log_std = super().condition(observation, prefix_actions)
        return [mean - mean.mean(dim=0, keepdim=True), log_std]


class NoGradient(GaussianPolicy):
    def to_chunks(self, latents: Tensor, condition: Any) -> Tensor:
        return super().to_chunks(latents, condition).detach()


class IdleWeights(GaussianPolicy):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.idle = torch.nn.Parameter(torch.zeros(1))


class ForgottenState(GaussianPolicy):
    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.shift = float(torch.randn(()))

    def to_chunks(self, latents: Tensor, condition: Any) -> Tensor:
        return super().to_chunks(latents, condition) + self.shift


class NoisyCost(GaussianPolicy):
    """As diffusion, flow matching and variational autoencoders have it."""

    def imitation_cost(
        self, condition: Any, actions: Tensor, step_valid: Tensor, noise_std: float
    ) -> Tensor:
        noise = torch.rand(len(actions))
        return super().imitation_cost(condition, actions, step_valid, noise_std) * noise


class SwappedAxes(GaussianPolicy):
    def to_chunks(self, latents: Tensor, condition: Any) -> Tensor:
        return super().to_chunks(latents, condition).transpose(1, 2)


class DoublePrecision(GaussianPolicy):
    def to_chunks(self, latents: Tensor, condition: Any) -> Tensor:
        return super().to_chunks(latents, condition).double()


class LongChunks(GaussianPolicy):
    def to_chunks(self, latents: Tensor, condition: Any) -> Tensor:
        return super().to_chunks(latents, condition).repeat(1, 1, 2, 1)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (PaddedSteps, "steps past the episode's end; mask them with step_valid"),
        (SummedCost, r"imitation_cost has shape \(\); return \(3,\)"),
        (OwnRandomness, "the same generator gives other chunks"),
        (MixedCandidates, "a candidate depends on the others"),
        (BatchStatistics, "chunks of a row depend on the other rows"),
        (NoGradient, "no gradient passes from chunks into the policy"),
        (IdleWeights, "imitation_cost does not reach the weights idle"),
        (ForgottenState, "a policy loaded from its weights chooses other chunks"),
        (LongChunks, r"to_chunks has shape \(3, 7, 8, 2\); return \(3, 7, 4, 2\)"),
        (SwappedAxes, r"to_chunks has shape \(3, 4, 7, 2\); return \(3, 7, 4, 2\)"),
        (DoublePrecision, "to_chunks has dtype torch.float64; return torch.float32"),
    ],
)
def test_a_broken_policy_is_told_what_to_mend(
    make_inputs: MakeInputs,
    broken: type[GaussianPolicy],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gaussian_policy.GaussianPolicy", broken)
    torch.manual_seed(0)
    policy = broken(make_inputs(ChunkSpec(4, 4)), GaussianConfig(), STATE)
    with pytest.raises(NetworkContractError, match=message):
        check_policy(policy)


def test_an_imitation_cost_may_be_random(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gaussian_policy.GaussianPolicy", NoisyCost)
    check_policy(NoisyCost(example_inputs(), GaussianConfig(), STATE))


def test_the_example_holds_what_an_encoder_may_read() -> None:
    inputs = example_inputs(image_shapes={"observation.images.top": (6, 4, 3)}, action_dim=3)
    check_policy(GaussianPolicy(inputs, GaussianConfig(), ColourConfig(token_dim=8)))


def test_a_policy_that_a_checkpoint_would_not_find_is_refused(make_inputs: MakeInputs) -> None:
    policy = IdleWeights(make_inputs(ChunkSpec(4, 4)), GaussianConfig(), STATE)
    with pytest.raises(NetworkContractError, match="which is GaussianPolicy, not IdleWeights"):
        check_policy(policy)


class FewBins(PooledCritic):
    def forward(self, obs_tokens: Tensor, actions: Tensor) -> Tensor:
        return super().forward(obs_tokens, actions)[..., 1:]


class Ranked(PooledCritic):
    def forward(self, obs_tokens: Tensor, actions: Tensor) -> Tensor:
        return super().forward(obs_tokens, actions - actions.mean(dim=1, keepdim=True))


class DeafCritic(PooledCritic):
    def forward(self, obs_tokens: Tensor, actions: Tensor) -> Tensor:
        return super().forward(torch.zeros_like(obs_tokens), actions)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (FewBins, r"outputs has shape \(2, 3, 7, 12\); return \(2, 3, 7, 13\)"),
        (Ranked, "value of a candidate depends on the others"),
        (DeafCritic, "outputs does not reach the weights encoder"),
    ],
)
def test_a_broken_critic_is_told_what_to_mend(
    make_inputs: MakeInputs,
    broken: type[PooledCritic],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pooled_critic.PooledCritic", broken)
    inputs, config = make_inputs(ChunkSpec(4, 4)), PooledConfig(num_bins=13)
    critic = CriticEnsemble(inputs, ValueSupport(0.0, 1.0, num_bins=13), config, STATE)
    with pytest.raises(NetworkContractError, match=message):
        check_critic(critic, inputs)
