"""EXPO: an imitating base policy, small edits that raise the value, and the best of both.

Dong, Li, Sadigh and Finn, "EXPO: Stable Reinforcement Learning with Expressive Policies" (arXiv
2507.07986); candidates, edits and critics in the numbers of arXiv 2605.25477.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.peers.method import MethodConfig, Sizes, Stick
from benchmarks.peers.replay import Batch
from benchmarks.peers.sticks.flow_matching import FlowMatchingPolicy, chosen
from benchmarks.peers.sticks.gaussian import SquashedGaussian, Temperature
from benchmarks.peers.sticks.networks import Critics, follow, frozen
from benchmarks.peers.sticks.qc import step_weights


@dataclass(frozen=True)
class ExpoConfig(MethodConfig):
    """EXPO.

    Attributes:
        num_critics: of the ensemble.
        target_critics: drawn at random in every update; the smallest of their values counts.
        flow_steps: Euler steps of a base chunk.
        num_candidates: base chunks of a decision that acts; each is tried with and without edit.
        target_candidates: the same in the bootstrap.
        edit_scale: largest edit of an action in [-1, 1].
        initial_temperature: weight of the edits' entropy at the start.
        imitate: which episodes the base policy learns from.
    """

    num_critics: int = 10
    target_critics: int = 2
    flow_steps: int = 10
    num_candidates: int = 8
    target_candidates: int = 4
    edit_scale: float = 0.2
    initial_temperature: float = 1.0
    imitate: Literal["all", "successes"] = "all"
    offline_ratio: float | None = 0.5

    def make(self, sizes: Sizes) -> Expo:
        """The untrained method."""
        return Expo(self, sizes)


class Expo(Stick):
    """See the module."""

    def __init__(self, config: ExpoConfig, sizes: Sizes) -> None:
        super().__init__()
        self.config, self.sizes = config, sizes
        dims = sizes.observation_dim, sizes.chunk_dim
        self.base = FlowMatchingPolicy(*dims, config.hidden, config.flow_steps)
        self.editor = SquashedGaussian(sum(dims), config.hidden, sizes.chunk_dim)
        self.temperature = Temperature(sizes.chunk_dim, config.initial_temperature)
        self.critics = Critics(config.num_critics, *dims, config.hidden)
        self.targets = deepcopy(self.critics).requires_grad_(False)
        self.optimised(config.learning_rate)

    def _edited(
        self, observations: Tensor, chunks: Tensor, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Chunks [B, H·A] with an edit each, and the log-densities [B] of the edits."""
        inputs = torch.cat([observations, chunks], dim=-1)
        edits, log_prob = self.editor.sample(inputs, generator)
        return (chunks + self.config.edit_scale * edits).clamp(-1, 1), log_prob

    def candidates(
        self, observations: Tensor, count: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """`count` base chunks and as many edited ones: [B, 2·N, H·A]."""
        plain = self.base.candidates(observations, count, generator)
        rows = observations.repeat_interleave(count, dim=0)
        edited, _ = self._edited(rows, plain.flatten(0, 1), generator)
        return torch.cat([plain, edited.unflatten(0, plain.shape[:2])], dim=1)

    @torch.no_grad()
    def act(self, observations: Tensor, generator: torch.Generator, explore: bool) -> Tensor:
        """The best of plain and edited chunks, by the mean critic."""
        del explore
        candidates = self.candidates(observations, self.config.num_candidates, generator)
        values = self.critics.values_of_candidates(observations, candidates).mean(dim=0)
        return chosen(candidates, values).unflatten(1, (-1, self.sizes.action_dim))

    @torch.no_grad()
    def next_values(self, batch: Batch) -> Tensor:
        """[B] of the best of plain and edited chunks, by the smaller of two random critics."""
        observations = batch.next_observations
        candidates = self.candidates(observations, self.config.target_candidates)
        members = torch.randperm(self.config.num_critics)[: self.config.target_critics]
        values = self.targets.values_of_candidates(observations, candidates, members)
        return values.amin(dim=0).amax(dim=1)

    def update(self, batch: Batch) -> dict[str, Tensor]:
        """One step of critics, base policy, editor and temperature."""
        observations, chunks = batch.observations, batch.chunks.flatten(1)
        target = batch.rewards + batch.discounts * self.next_values(batch)
        values = self.critics.values(observations, chunks)
        errors = F.mse_loss(values, target.expand_as(values), reduction="none")
        critic_loss = (errors * batch.valid[:, -1]).mean(dim=1).sum()
        bc_loss = self.base.loss(observations, chunks, self._imitated(batch))
        base = self.base.candidates(observations, 1)[:, 0]
        edited, log_prob = self._edited(observations, base)
        with frozen(self.critics):
            value = self.critics.values(observations, edited).mean()
        entropy = -log_prob.mean()
        editor_loss = -self.temperature.weight * entropy - value
        self.step(critic_loss + bc_loss + editor_loss + self.temperature.loss(log_prob))
        follow(self.targets, self.critics, self.config.tau)
        metrics = {"critic_loss": critic_loss, "bc_loss": bc_loss, "q_actor": value}
        return {n: v.detach() for n, v in (metrics | {"entropy": entropy}).items()}

    def _imitated(self, batch: Batch) -> Tensor:
        """[B, H·A]: 1 where an action is imitated."""
        weights = step_weights(batch, self.sizes.action_dim)
        return weights * batch.success[:, None] if self.config.imitate == "successes" else weights
