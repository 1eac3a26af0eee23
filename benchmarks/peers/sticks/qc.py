"""QC: the best of N chunks of a flow-matching behaviour policy, by a chunked critic.

Li, Zhou and Levine, "Reinforcement Learning with Action Chunking" (arXiv 2507.07969).
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.peers.method import MethodConfig, Sizes, Stick
from benchmarks.peers.replay import Batch
from benchmarks.peers.sticks.flow_matching import FlowMatchingPolicy, chosen
from benchmarks.peers.sticks.networks import Critics, follow


@dataclass(frozen=True)
class QcConfig(MethodConfig):
    """QC.

    Attributes:
        num_critics: of the ensemble, whose mean counts.
        flow_steps: Euler steps of a sample.
        num_candidates: chunks of a decision that acts.
        target_candidates: chunks of a decision in the bootstrap; the original takes
            `num_candidates` there too.
    """

    num_critics: int = 2
    flow_steps: int = 10
    num_candidates: int = 32
    target_candidates: int = 4

    def make(self, sizes: Sizes) -> Qc:
        """The untrained method."""
        return Qc(self, sizes)


class Qc(Stick):
    """See the module."""

    def __init__(self, config: QcConfig, sizes: Sizes) -> None:
        super().__init__()
        self.config, self.sizes = config, sizes
        dims = sizes.observation_dim, sizes.chunk_dim
        self.policy = FlowMatchingPolicy(*dims, config.hidden, config.flow_steps)
        self.critics = Critics(config.num_critics, *dims, config.hidden)
        self.targets = deepcopy(self.critics).requires_grad_(False)
        self.optimised(config.learning_rate)

    @torch.no_grad()
    def act(self, observations: Tensor, generator: torch.Generator, explore: bool) -> Tensor:
        """The best of `num_candidates`, by the mean critic."""
        del explore
        candidates = self.policy.candidates(observations, self.config.num_candidates, generator)
        values = self.critics.values_of_candidates(observations, candidates).mean(dim=0)
        return chosen(candidates, values).unflatten(1, (-1, self.sizes.action_dim))

    @torch.no_grad()
    def next_values(self, batch: Batch) -> Tensor:
        """[B] of the chunk that would be chosen next."""
        observations = batch.next_observations
        candidates = self.policy.candidates(observations, self.config.target_candidates)
        values = self.targets.values_of_candidates(observations, candidates)
        return values.mean(dim=0).amax(dim=1)

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of critics and behaviour policy."""
        chunks = batch.chunks.flatten(1)
        critic_loss = self.critic_loss(batch, chunks, self.next_values(batch))
        bc_loss = self.policy.loss(
            batch.observations, chunks, step_weights(batch, self.sizes.action_dim)
        )
        self.step(critic_loss + bc_loss)
        follow(self.targets, self.critics, self.config.tau)
        return {"critic_loss": critic_loss.detach(), "bc_loss": bc_loss.detach()}

    def critic_loss(self, batch: Batch, chunks: Tensor, next_values: Tensor) -> Tensor:
        """Squared error; a chunk that the episode cut short has no value, as in the original."""
        target = batch.rewards + batch.discounts * next_values
        values = self.critics.values(batch.observations, chunks)
        errors = F.mse_loss(values, target.expand_as(values), reduction="none")
        return (errors * batch.valid[:, -1]).mean()


def step_weights(batch: Batch, action_dim: int) -> Tensor:
    """[B, H·A]: 1 where the episode still had that step."""
    return batch.valid.repeat_interleave(action_dim, dim=1)
