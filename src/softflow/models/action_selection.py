"""Choosing one chunk among candidates (paper Alg. 2, and likeliest-of-N of IV-D, I).

What depends on the observation is computed once and shared by all candidates.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from softflow.data.exploration import exploration_offset
from softflow.errors import ConfigError, NumericalError
from softflow.models.critic import CriticEnsemble
from softflow.models.images.sharing import shares_frozen
from softflow.models.normalizers import clamp_to_limit
from softflow.models.policy import ChunkPolicy, Condition, Observation, take_candidate

SelectionRule = Literal["value", "likelihood"]


@dataclass(frozen=True)
class SelectionConfig:
    """How a chunk is chosen.

    Attributes:
        num_candidates: chunks sampled a decision (paper App. C2: 128 in simulation).
        sampling_std: standard deviation of the latents (0.7, paper IV-E).
        rule: "value" keeps the best by the critic (Alg. 2), "likelihood" what the policy itself
            prefers: the likeliest, where it has a likelihood.
        exploration_std: standard deviation, in normalised actions, of the offset that
            `ChunkSelector.exploring` draws.
    """

    num_candidates: int = 128
    sampling_std: float = 0.7
    rule: SelectionRule = "value"
    exploration_std: float = 0.0

    def __post_init__(self) -> None:
        if self.num_candidates < 1:
            raise ConfigError(f"num_candidates is {self.num_candidates}; it must be at least 1")
        if not self.sampling_std >= 0:
            raise ConfigError(f"sampling_std is {self.sampling_std}; it must be >= 0")
        if self.rule not in ("value", "likelihood"):
            raise ConfigError(f'rule is "{self.rule}"; choose "value" or "likelihood"')
        if not self.exploration_std >= 0:
            raise ConfigError(f"exploration_std is {self.exploration_std}; it must be >= 0")


@dataclass(frozen=True)
class Selection:
    """The outcome of Alg. 2.

    Attributes:
        actions: chosen normalised chunk [B, H, A].
        value: its pessimistic value [B]; differentiable with `pathwise`.
        candidate_values: [B, N] values of all candidates; [B, 2 N] with those that were edited.
        candidates: [B, N, H, A], or twice as many.
    """

    actions: Float[Tensor, "B H A"]
    value: Float[Tensor, " B"]
    candidate_values: Float[Tensor, "B N"]
    candidates: Float[Tensor, "B N H A"]


def select_by_value(
    policy: ChunkPolicy,
    condition: Condition,
    critic: CriticEnsemble,
    critic_tokens: Float[Tensor, "B S D"],
    num_candidates: int,
    sampling_std: float,
    *,
    pathwise: bool = False,
    generator: torch.Generator | None = None,
) -> Selection:
    """Sample candidates and keep the one of highest value (Alg. 2).

    Candidates are clipped to the policy's action limit, the range of the data in normalised units,
    because that is what the robot will execute. Where the critic has an editor, an edited chunk
    stands beside each, unless `pathwise`. With `pathwise`, gradients flow from `actions` and
    `value` into the policy, its condition and the critic: only the chosen latent passes through
    both a second time, so the price does not grow with N.
    """
    limit = policy.action_limit

    def chunks_of(latents: Tensor) -> Tensor:
        """Latents [B, n, H, A] -> their chunks [B, n, H, A]."""
        return clamp_to_limit(policy.to_chunks(latents, condition), limit)

    latents = policy.draw_latents(critic_tokens.shape[0], num_candidates, sampling_std, generator)
    if pathwise and num_candidates == 1:
        chunk = chunks_of(latents)
        value = critic.value(critic_tokens, chunk)
        return Selection(chunk.squeeze(1), value.squeeze(1), value.detach(), chunk.detach())
    with torch.no_grad():
        candidates = chunks_of(latents)
        if critic.editor is not None and not pathwise:
            edited, _ = critic.edited(critic_tokens, candidates, limit, generator)
            candidates = torch.cat([candidates, edited], dim=1)
        values = critic.value(critic_tokens, candidates)
        best = values.argmax(dim=1)
    if not pathwise:
        chosen, value = take_candidate(candidates, best), take_candidate(values, best)
        return Selection(chosen, value, values, candidates)
    chunk = chunks_of(take_candidate(latents, best)[:, None])
    value = critic.value(critic_tokens, chunk)
    return Selection(chunk.squeeze(1), value.squeeze(1), values, candidates)


class ChunkSelector:
    """The deployed decision rule: raw observations in, a chunk in the robot's units out."""

    def __init__(
        self, policy: ChunkPolicy, critic: CriticEnsemble | None, config: SelectionConfig
    ) -> None:
        if config.rule == "value" and critic is None:
            raise ConfigError(
                'rule "value" (Alg. 2) needs a critic; this policy has none yet: '
                'run the critic_warmup stage, or choose rule "likelihood"'
            )
        self.policy, self.critic, self.config = policy, critic, config
        self._shares_frozen = critic is not None and shares_frozen(policy.encoder, critic.encoder)
        self.offset: Tensor | None = None
        """[A], how far all actions are shifted, normalised; what the policy sees is not."""

    def exploring(self, seed: int) -> ChunkSelector:
        """The same rule in an episode that tries something: all its actions shifted alike.

        What an episode keeps doing has consequences that a single chunk has not. The policy and the
        critic see committed actions without the offset, or they would add to it at every decision.
        Without `exploration_std` this is the rule itself.
        """
        std, dim = self.config.exploration_std, self.policy.inputs.action_dim
        if std == 0:
            return self
        shifted = copy.copy(self)
        offset = torch.from_numpy(exploration_offset(seed, std, dim)).to(self.policy.correction)
        shifted.offset = offset * self.policy.action_normalizer.varies
        return shifted

    def normalize_own(
        self, actions: Float[Tensor, "B K A"], observation: Observation
    ) -> Float[Tensor, "B K A"]:
        """Actions [B, K, A] of the episode as the policy meant them: without what is added."""
        return self.policy.normalize_actions(actions, observation) - self._added

    @property
    def _added(self) -> Float[Tensor, " A"]:
        correction = self.policy.correction
        return correction if self.offset is None else correction + self.offset

    @torch.inference_mode()
    def __call__(
        self,
        observation: Observation,
        prefix_actions: Float[Tensor, "B P A"],
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "B H A"]:
        """Choose chunks.

        Args:
            observation: raw tensors [B, history, ...], on any device.
            prefix_actions: [B, P, A] committed actions in the robot's units.
            generator: of the candidates; of any device.

        Returns:
            [B, H, A] actions in the robot's units, inside the range of the data; on the device of
            the prefix.
        """
        asked_from, device = prefix_actions.device, self.policy.action_minimum.device
        observation = {key: value.to(device) for key, value in observation.items()}
        prefix_actions = prefix_actions.to(device)
        prefix = self.normalize_own(prefix_actions, observation)
        if self._shares_frozen:
            observation = self.policy.encoder.with_frozen_features(observation)
        condition = self.policy.condition(observation, prefix)
        num, std = self.config.num_candidates, self.config.sampling_std
        if self.config.rule == "likelihood" or self.critic is None:
            chosen = self.policy.choose(num, std, condition, len(prefix_actions), generator)
        else:
            tokens = self.critic.encoder(observation, prefix)
            chosen = select_by_value(
                self.policy, condition, self.critic, tokens, num, std, generator=generator
            ).actions
        acted = self.policy.denormalize_actions(chosen + self._added, observation)
        return acted.to(asked_from)


Selector = Callable[[Observation, Tensor, torch.Generator], Tensor]
"""Raw observation, prefix [1, P, A] and randomness -> a chunk [1, H, A] in the robot's units."""


class EpisodeDecisions:
    """The decisions of one episode: numpy in and out, inside the bounds of the actions.

    Args:
        selector: decides.
        generator: all randomness of the candidates.
        bounds: lowest and highest action, `[A]` each.
        which: how errors call the episode.
    """

    def __init__(
        self,
        selector: Selector,
        generator: torch.Generator,
        bounds: tuple[np.ndarray, np.ndarray],
        which: str,
    ) -> None:
        self._selector, self._generator, self._which = selector, generator, which
        self._low, self._high = bounds

    def __call__(
        self, observation: Mapping[str, np.ndarray], prefix: np.ndarray, step: int
    ) -> np.ndarray:
        """The chunk `[H, A]` decided on at a control step.

        Args:
            observation: key -> `[history, ...]`; prefix: `[P, A]`; step: for errors.

        Raises:
            NumericalError: the policy chose an action that is not finite.
        """
        seen = {key: row_of(value) for key, value in observation.items()}
        chunk = self._selector(seen, row_of(prefix), self._generator)[0].numpy()
        if not np.isfinite(chunk).all():
            raise NumericalError(
                f"the policy chose a non-finite action at control step {step} of {self._which}; "
                "the checkpoint is unusable, go back to an older one"
            )
        # The components of a decoded quaternion may leave the range of the data.
        return np.clip(chunk, self._low, self._high)


def row_of(value: np.ndarray) -> Tensor:
    """An array `[...]` as the only row of a batch `[1, ...]`."""
    return torch.from_numpy(value)[None]
