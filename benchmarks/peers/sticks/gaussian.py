"""A squashed Gaussian over chunks, and the weight of its entropy: the actor of SAC."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.peers.sticks.networks import mlp

LOG_STD_RANGE = (-20.0, 2.0)


class SquashedGaussian(nn.Module):
    """Inputs [B, D] -> chunks [B, H·A] in (-1, 1) with their log-densities."""

    def __init__(self, width_in: int, hidden: tuple[int, ...], chunk_dim: int) -> None:
        super().__init__()
        self.chunk_dim = chunk_dim
        self.net = mlp(width_in, hidden, 2 * chunk_dim)

    def sample(
        self, inputs: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Chunks [B, H·A], through which the gradient runs, and log-densities [B] in nats."""
        mean, log_std = self._moments(inputs)
        noise = torch.randn(mean.shape, generator=generator)
        raw = mean + log_std.exp() * noise
        density = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi)
        # log(1 − tanh²) without the cancellation
        squash = 2 * (math.log(2) - raw - F.softplus(-2 * raw))
        return raw.tanh(), (density - squash).sum(dim=-1)

    def mode(self, inputs: Tensor) -> Tensor:
        """What it would do without noise."""
        return self._moments(inputs)[0].tanh()

    def _moments(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = self.net(inputs).chunk(2, dim=-1)
        return mean, log_std.clamp(*LOG_STD_RANGE)


class Temperature(nn.Module):
    """The weight of the entropy, which keeps it near half a nat a component below zero."""

    def __init__(self, chunk_dim: int, initial: float) -> None:
        super().__init__()
        self.log_weight = nn.Parameter(torch.tensor(math.log(initial)))
        self.target_entropy = -0.5 * chunk_dim

    @property
    def weight(self) -> Tensor:
        """The weight, a constant to whoever uses it."""
        return self.log_weight.detach().exp()

    def loss(self, log_prob: Tensor) -> Tensor:
        """Falls towards the target entropy."""
        return -self.log_weight.exp() * (log_prob.detach() + self.target_entropy).mean()
