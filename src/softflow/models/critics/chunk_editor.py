"""Small changes of a chunk that raise its value: candidates that imitation would never propose.

After EXPO (Dong, Li, Sadigh and Finn, arXiv 2507.07986, and arXiv 2605.25477 on robots): the policy
stays one that imitates, and beside each of its candidates stands an edited one; the critic chooses.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from softflow.models.normalizers import at_least_float32, zero_at
from softflow.models.policy import normal_like

HIDDEN_DIM = 256
"""Of its MLP, which has three hidden layers."""
LOG_STD_RANGE = (-20.0, 2.0)
START_SHARE = 0.01
"""Of the range of values: the weight of the edits' entropy at the start."""
ENTROPY_A_NUMBER = -0.5
"""Nats of every edited number that the weight of the entropy aims at."""

GROWS_OVER = 2_000
"""Updates until edits are as large as configured: 25 episodes of `softflow-plus`."""


class ChunkEditor(nn.Module):
    """Observation tokens and a chunk -> changes of its first actions in (-1, 1), at random.

    They are a squashed Gaussian. The weight of its entropy is learned beside it, as in SAC.

    Args:
        num_observed: numbers of all tokens of an observation.
        num_steps, action_dim: what is edited of a chunk: the actions that the critic reads.
        value_range: between the lowest and the highest return.
        constant: components of an action that never changed in the data; they are left alone.

    Attributes:
        strength: how much of their changes is made: 0 while nothing was learned, 1 after
            `GROWS_OVER` updates. What is played grows with what the critic has seen of it.
    """

    strength: Tensor
    constant: Tensor

    def __init__(
        self,
        num_observed: int,
        num_steps: int,
        action_dim: int,
        value_range: float,
        constant: Int[Tensor, " K"],
    ) -> None:
        super().__init__()
        self.num_steps, numbers = num_steps, num_steps * action_dim
        self.num_edited = num_steps * (action_dim - len(constant))
        self.net = nn.Sequential(
            nn.Linear(num_observed + numbers, HIDDEN_DIM),
            nn.SiLU(),
            nn.Linear(HIDDEN_DIM, HIDDEN_DIM),
            nn.SiLU(),
            nn.Linear(HIDDEN_DIM, HIDDEN_DIM),
            nn.SiLU(),
            nn.Linear(HIDDEN_DIM, 2 * numbers),
        )
        self.log_weight = nn.Parameter(torch.tensor(math.log(START_SHARE * value_range)))
        self.register_buffer("strength", torch.zeros(()))
        self.register_buffer("constant", constant.clone(), persistent=False)

    @torch.no_grad()
    def grow(self) -> None:
        """An update more; called before it."""
        self.strength.add_(1 / GROWS_OVER).clamp_(max=1.0)

    @property
    def entropy_aim(self) -> float:
        """Nats of an edit that the weight of its entropy is learned to give."""
        return ENTROPY_A_NUMBER * self.num_edited

    def forward(
        self,
        obs_tokens: Float[Tensor, "B S D"],
        chunks: Float[Tensor, "B N H A"],
        generator: torch.Generator | None = None,
    ) -> tuple[Float[Tensor, "B N H A"], Float[Tensor, "B N"]]:
        """Changes [B, N, H, A] of normalised chunks, and their log-densities [B, N] in nats."""
        read = chunks[:, :, : self.num_steps]
        seen = obs_tokens.flatten(1)[:, None].expand(-1, chunks.shape[1], -1)
        moments = at_least_float32(self.net(torch.cat([seen, read.flatten(2)], dim=-1)))
        mean, log_std = moments.chunk(2, dim=-1)
        log_std = log_std.clamp(*LOG_STD_RANGE)
        noise = normal_like(self, tuple(mean.shape), generator)
        raw = mean + log_std.exp() * noise
        density = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        # log(1 - tanh^2) without the cancellation
        squash = 2 * (math.log(2) - raw - F.softplus(-2 * raw))
        rest = (0, 0, 0, chunks.shape[2] - self.num_steps)
        changes = zero_at((self.strength * raw.tanh()).view_as(read), self.constant)
        log_prob = zero_at((density - squash).view_as(read), self.constant).sum(dim=(-2, -1))
        return F.pad(changes, rest), log_prob
