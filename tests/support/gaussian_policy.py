"""A second policy, in one file and with no line elsewhere: a Gaussian around an MLP's chunk."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from softflow.models.encoder import EncoderConfig
from softflow.models.inputs import ModelInputs
from softflow.models.policy import ChunkPolicy, Observation, PolicyConfig


@dataclass(frozen=True)
class GaussianConfig(PolicyConfig):
    """Sizes of the MLP."""

    kind = "gaussian_policy:GaussianPolicy"
    width: int = 32


class GaussianPolicy(ChunkPolicy):
    """N(mean(o), std(o)²) of every action, independently."""

    Config = GaussianConfig
    cost_name = "gaussian_nll"

    def __init__(self, inputs: ModelInputs, config: GaussianConfig, encoder: EncoderConfig) -> None:
        super().__init__(inputs, config, encoder)
        self.shape = (inputs.chunk.chunk_length, inputs.action_dim)
        outputs = 2 * self.shape[0] * self.shape[1]
        self.mlp = nn.Sequential(
            nn.Linear(encoder.token_dim, config.width), nn.GELU(), nn.Linear(config.width, outputs)
        )

    def condition(self, observation: Observation, prefix_actions: Tensor) -> list[Tensor]:
        """Mean and logarithm of the standard deviation, [B, H, A] each."""
        pooled = self.encoder(observation, prefix_actions).mean(dim=1)
        return list(self.mlp(pooled).unflatten(-1, (2, *self.shape)).unbind(1))

    def imitation_cost(
        self, condition: list[Tensor], actions: Tensor, step_valid: Tensor, noise_std: float
    ) -> Tensor:
        """Negative log-likelihood [B] without its constant."""
        mean, log_std = condition
        cost = ((actions - mean) * torch.exp(-log_std)).square() / 2 + log_std
        return (cost.sum(-1) * step_valid).sum(-1)

    def to_chunks(self, latents: Tensor, condition: list[Tensor]) -> Tensor:
        """Mean and deviation, [B, N, H, A]."""
        mean, log_std = condition
        return mean[:, None] + log_std.exp()[:, None] * latents
