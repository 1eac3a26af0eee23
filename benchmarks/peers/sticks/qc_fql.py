"""QC-FQL: a one-step policy distilled from the behaviour flow, pulled towards high values.

Li, Zhou and Levine, "Reinforcement Learning with Action Chunking" (arXiv 2507.07969), after Park,
Li and Levine, "Flow Q-Learning" (arXiv 2502.02538).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.peers.method import Sizes
from benchmarks.peers.replay import Batch
from benchmarks.peers.sticks.networks import follow, frozen, mlp
from benchmarks.peers.sticks.qc import Qc, QcConfig, step_weights


@dataclass(frozen=True)
class QcFqlConfig(QcConfig):
    """QC-FQL; candidates play no part.

    Attributes:
        distill_coef: weight of staying near the behaviour flow, against Q in units of return.
    """

    distill_coef: float = 100.0

    def make(self, sizes: Sizes) -> QcFql:
        """The untrained method."""
        return QcFql(self, sizes)


class QcFql(Qc):
    """See the module."""

    config: QcFqlConfig

    def __init__(self, config: QcFqlConfig, sizes: Sizes) -> None:
        super().__init__(config, sizes)
        width_in = sizes.observation_dim + sizes.chunk_dim
        self.one_step = mlp(width_in, config.hidden, sizes.chunk_dim)
        self.optimised(config.learning_rate)

    def _chunks(self, observations: Tensor, noise: Tensor) -> Tensor:
        return self.one_step(torch.cat([observations, noise], dim=-1))

    @torch.no_grad()
    def act(self, observations: Tensor, generator: torch.Generator, explore: bool) -> Tensor:
        """A sample of the one-step policy."""
        del explore
        noise = torch.randn(len(observations), self.sizes.chunk_dim, generator=generator)
        chunks = self._chunks(observations, noise).clamp(-1, 1)
        return chunks.unflatten(1, (-1, self.sizes.action_dim))

    @torch.no_grad()
    def next_values(self, batch: Batch) -> Tensor:
        """[B] of a sample of the one-step policy."""
        noise = torch.randn(len(batch), self.sizes.chunk_dim)
        chunks = self._chunks(batch.next_observations, noise).clamp(-1, 1)
        return self.targets.values(batch.next_observations, chunks).mean(dim=0)

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of critics, behaviour flow and one-step policy."""
        observations, chunks = batch.observations, batch.chunks.flatten(1)
        critic_loss = self.critic_loss(batch, chunks, self.next_values(batch))
        weights = step_weights(batch, self.sizes.action_dim)
        bc_loss = self.policy.loss(observations, chunks, weights)
        noise = torch.randn_like(chunks)
        flowed = self.policy.carry(observations, noise)
        proposed = self._chunks(observations, noise)
        distill_loss = (proposed - flowed).square().mean()
        with frozen(self.critics):
            value = self.critics.values(observations, proposed.clamp(-1, 1)).mean()
        self.step(critic_loss + bc_loss + self.config.distill_coef * distill_loss - value)
        follow(self.targets, self.critics, self.config.tau)
        metrics = {"critic_loss": critic_loss, "bc_loss": bc_loss, "distill_loss": distill_loss}
        return {name: value.detach() for name, value in (metrics | {"q_actor": value}).items()}
