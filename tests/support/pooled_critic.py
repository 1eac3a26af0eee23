"""A second critic: an MLP over the mean token and the flattened chunk."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from softflow.models.critic import ChunkCritic, CriticConfig


@dataclass(frozen=True)
class PooledConfig(CriticConfig):
    """Sizes of the MLP."""

    kind = "pooled_critic:PooledCritic"
    width: int = 32


class PooledCritic(ChunkCritic):
    """Logits of one hidden layer."""

    Config = PooledConfig

    def __init__(
        self, chunk_length: int, action_dim: int, token_dim: int, config: PooledConfig
    ) -> None:
        super().__init__(chunk_length, action_dim, token_dim, config)
        self.hidden = nn.Linear(token_dim + chunk_length * action_dim, config.width)
        self.head = nn.Linear(config.width, config.num_outputs)

    def forward(self, obs_tokens: Tensor, actions: Tensor) -> Tensor:
        """obs_tokens [B, S, D], actions [B, N, H, A] -> [B, N, num_outputs]."""
        pooled = obs_tokens.mean(dim=1)[:, None].expand(-1, actions.shape[1], -1)
        joined = torch.cat([pooled, actions.flatten(2)], dim=-1)
        return self.head(torch.relu(self.hidden(joined)))
