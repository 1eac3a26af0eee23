"""RLPD: SAC with a LayerNorm ensemble whose batches are half demonstrations; RLPD-AC with chunks.

Ball, Smith, Kostrikov and Levine, "Efficient Online Reinforcement Learning with Offline Data"
(arXiv 2302.02948). With chunks as in arXiv 2507.07969.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.peers.method import MethodConfig, Sizes, Stick
from benchmarks.peers.replay import Batch
from benchmarks.peers.sticks.gaussian import SquashedGaussian, Temperature
from benchmarks.peers.sticks.networks import Critics, follow, frozen


@dataclass(frozen=True)
class RlpdConfig(MethodConfig):
    """RLPD; it learns online only, from demonstrations and episodes in equal parts.

    Attributes:
        num_critics: of the ensemble.
        target_critics: drawn at random in every update; the smallest of their values counts.
        initial_temperature: weight of the entropy at the start.
    """

    num_critics: int = 10
    target_critics: int = 2
    initial_temperature: float = 1.0
    offline_updates: int = 0
    offline_ratio: float | None = 0.5

    def make(self, sizes: Sizes) -> Rlpd:
        """The untrained method."""
        return Rlpd(self, sizes)


class Rlpd(Stick):
    """See the module."""

    def __init__(self, config: RlpdConfig, sizes: Sizes) -> None:
        super().__init__()
        self.config, self.sizes = config, sizes
        dims = sizes.observation_dim, sizes.chunk_dim
        self.actor = SquashedGaussian(sizes.observation_dim, config.hidden, sizes.chunk_dim)
        self.temperature = Temperature(sizes.chunk_dim, config.initial_temperature)
        self.critics = Critics(config.num_critics, *dims, config.hidden)
        self.targets = deepcopy(self.critics).requires_grad_(False)
        self.optimised(config.learning_rate)

    @torch.no_grad()
    def act(self, observations: Tensor, generator: torch.Generator, explore: bool) -> Tensor:
        """A sample while exploring, else the mode."""
        if explore:
            chunks = self.actor.sample(observations, generator)[0]
        else:
            chunks = self.actor.mode(observations)
        return chunks.unflatten(1, (-1, self.sizes.action_dim))

    @torch.no_grad()
    def next_values(self, batch: Batch) -> Tensor:
        """[B] of a sample, without its entropy: rewards are sparse."""
        chunks, _ = self.actor.sample(batch.next_observations)
        members = torch.randperm(self.config.num_critics)[: self.config.target_critics]
        return self.targets.values(batch.next_observations, chunks, members).amin(dim=0)

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of critics, actor and temperature."""
        target = batch.rewards + batch.discounts * self.next_values(batch)
        values = self.critics.values(batch.observations, batch.chunks.flatten(1))
        errors = F.mse_loss(values, target.expand_as(values), reduction="none")
        critic_loss = (errors * batch.valid[:, -1]).mean(dim=1).sum()
        chunks, log_prob = self.actor.sample(batch.observations)
        with frozen(self.critics):
            value = self.critics.values(batch.observations, chunks).mean()
        entropy = -log_prob.mean()
        actor_loss = -self.temperature.weight * entropy - value
        self.step(critic_loss + actor_loss + self.temperature.loss(log_prob))
        follow(self.targets, self.critics, self.config.tau)
        metrics = {"critic_loss": critic_loss, "q_actor": value, "entropy": entropy}
        return {name: value.detach() for name, value in metrics.items()}
