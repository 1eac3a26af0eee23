"""Turns observations and prefix actions into the tokens both networks attend to.

State and history become a few tokens through a small MLP, every prefix action becomes one token.
Statistics of the data are buffers, so the weights file alone reproduces the policy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from softflow.data.data_spec import STATE_KEY
from softflow.data.statistics import DatasetStatistics
from softflow.errors import ConfigError
from softflow.models.normalizers import StateNormalizer


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of the encoder.

    Attributes:
        token_dim: width of the tokens (512 in the paper, equal to the critic's width).
        hidden_dim: hidden width of the state MLP.
        state_tokens: tokens made of the state and its history.
    """

    token_dim: int = 512
    hidden_dim: int = 512
    state_tokens: int = 4

    def __post_init__(self) -> None:
        for name in ("token_dim", "hidden_dim", "state_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"encoder.{name} is {getattr(self, name)}; it must be at least 1")


class ObservationEncoder(nn.Module):
    """Observation history and prefix actions -> obs_tokens [B, S, token_dim]."""

    def __init__(
        self,
        statistics: DatasetStatistics,
        history_length: int,
        prefix_length: int,
        action_dim: int,
        config: EncoderConfig,
    ) -> None:
        super().__init__()
        self.config = config
        if STATE_KEY not in statistics.observations:
            raise ConfigError(
                f'the dataset has no "{STATE_KEY}" (it has {sorted(statistics.observations)}); '
                "record the robot's state under that key"
            )
        self.normalizer = StateNormalizer(statistics.observations[STATE_KEY])
        state_dim = self.normalizer.mean.numel()
        self.state_mlp = nn.Sequential(
            nn.Linear(state_dim * history_length, config.hidden_dim),
            nn.GELU(),
            nn.Linear(config.hidden_dim, config.state_tokens * config.token_dim),
        )
        self.token_position = nn.Parameter(
            torch.randn(config.state_tokens + prefix_length, config.token_dim) * 0.02
        )
        self.prefix_embed = nn.Linear(action_dim, config.token_dim) if prefix_length else None
        self.norm = nn.LayerNorm(config.token_dim)

    def forward(self, observation: dict[str, Tensor], prefix_actions: Tensor) -> Tensor:
        """Encode raw observations.

        Args:
            observation: "observation.state" [B, history, state_dim] in the robot's units.
            prefix_actions: [B, P, A] normalised actions.

        Returns:
            obs_tokens [B, state_tokens + P, token_dim].
        """
        state = self.normalizer(observation[STATE_KEY])
        tokens = self.state_mlp(state.flatten(1))
        tokens = tokens.unflatten(1, (self.config.state_tokens, self.config.token_dim))
        if self.prefix_embed is not None:
            tokens = torch.cat([tokens, self.prefix_embed(prefix_actions)], dim=1)
        return self.norm(tokens + self.token_position)
