"""A behaviour policy by flow matching: noise is carried to chunks along straight lines."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.peers.sticks.networks import mlp


class FlowMatchingPolicy(nn.Module):
    """A velocity field over flattened chunks, and Euler steps along it.

    Args:
        observation_dim: D.
        chunk_dim: H·A.
        hidden: widths of the field's hidden layers.
        steps: Euler steps from noise to chunk.
    """

    def __init__(
        self, observation_dim: int, chunk_dim: int, hidden: tuple[int, ...], steps: int
    ) -> None:
        super().__init__()
        self.chunk_dim, self.steps = chunk_dim, steps
        self.field = mlp(observation_dim + chunk_dim + 1, hidden, chunk_dim)

    def loss(self, observations: Tensor, chunks: Tensor, weights: Tensor) -> Tensor:
        """Squared error of the velocity at a random time, of data in weights [B, H·A]."""
        noise = torch.randn_like(chunks)
        time = torch.rand(len(chunks), 1)
        between = torch.lerp(noise, chunks, time)
        velocity = self.field(torch.cat([observations, between, time], dim=-1))
        return ((velocity - (chunks - noise)).square() * weights).mean()

    @torch.no_grad()
    def carry(self, observations: Tensor, noise: Tensor) -> Tensor:
        """[B, D] and noise [B, H·A] -> chunks [B, H·A] in [-1, 1]."""
        chunks = noise
        for step in range(self.steps):
            time = torch.full((len(noise), 1), step / self.steps)
            velocity = self.field(torch.cat([observations, chunks, time], dim=-1))
            chunks = chunks + velocity / self.steps
        return chunks.clamp(-1, 1)

    def candidates(
        self, observations: Tensor, count: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """[B, D] -> [B, N, H·A]."""
        rows = observations.repeat_interleave(count, dim=0)
        noise = torch.randn(len(rows), self.chunk_dim, generator=generator)
        return self.carry(rows, noise).unflatten(0, (len(observations), count))


def chosen(candidates: Tensor, values: Tensor) -> Tensor:
    """The best of candidates [B, N, H·A] by values [B, N]: [B, H·A]."""
    best = values.argmax(dim=1)
    return candidates[torch.arange(len(candidates)), best]
