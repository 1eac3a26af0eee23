"""The normalizing-flow policy over action chunks (paper IV-B, Alg. 1, App. C1).

`ActionFlow` is the conditional density on its own; `FlowPolicy` adds the observation encoder and
the units of the robot. Actions inside the flow are normalised (data range at +-0.9), likelihoods
are in nats of those units, summed over the chunk.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY
from softflow.data.statistics import DatasetStatistics
from softflow.models.action_representation import ActionRepresentation
from softflow.models.bijections import (
    at_least_float32,
    bound,
    draw_splits,
    standard_normal_log_prob,
    unbound,
)
from softflow.models.coupling import Coupling, FlowConfig
from softflow.models.normalizers import ActionNormalizer
from softflow.models.observation_encoder import EncoderConfig, ObservationEncoder
from softflow.models.transformer import BlockCondition

FlowCondition = list[list[BlockCondition]]
"""Per layer, per block: everything the flow needs of the observations, shared by candidates."""


class ActionFlow(nn.Module):
    """Conditional RealNVP over action chunks [H, A] with support (-1, 1) (paper IV-B, Alg. 1)."""

    def __init__(
        self, chunk_length: int, action_dim: int, token_dim: int, config: FlowConfig
    ) -> None:
        super().__init__()
        self.chunk_length, self.action_dim = chunk_length, action_dim
        splits = draw_splits(config.num_layers, chunk_length, config.split_seed)
        self.couplings = nn.ModuleList(
            Coupling(moved, action_dim, token_dim, config) for moved in splits
        )

    def condition(self, obs_tokens: Tensor) -> FlowCondition:
        """Observation tokens [B, S, D] -> keys, values and modulations of every layer."""
        return [layer.network.condition(obs_tokens) for layer in self.couplings]  # type: ignore

    def to_latents(
        self, actions: Tensor, condition: FlowCondition, step_valid: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Normalised actions [B, N, H, A] -> latents and log|det| [B, N].

        With step_valid [B, H], steps past the episode's end neither contribute nor are looked at.
        """
        valid = None if step_valid is None else step_valid[:, None, :].to(actions.dtype)
        tokens, token_log_det = unbound(actions)
        log_det = (token_log_det if valid is None else token_log_det * valid).sum(-1)
        for layer, layer_condition in zip(self.couplings, condition, strict=True):
            tokens, layer_log_det = layer.to_latents(tokens, layer_condition, valid)  # type: ignore
            log_det = log_det + layer_log_det
        return tokens, log_det

    def to_actions(self, latents: Tensor, condition: FlowCondition) -> tuple[Tensor, Tensor]:
        """Latents [B, N, H, A] -> normalised actions in (-1, 1) and log|det| [B, N]."""
        tokens, log_det = latents, latents.new_zeros(latents.shape[:2])
        layers = list(zip(self.couplings, condition, strict=True))
        for layer, layer_condition in reversed(layers):
            tokens, layer_log_det = layer.to_actions(tokens, layer_condition)  # type: ignore
            log_det = log_det + layer_log_det
        actions, token_log_det = bound(tokens)
        return actions, log_det + token_log_det.sum(-1)

    def log_prob(
        self, actions: Tensor, condition: FlowCondition, step_valid: Tensor | None = None
    ) -> Tensor:
        """Exact log-likelihood [B, N] in nats of normalised actions [B, N, H, A] (Eq. 6).

        With step_valid [B, H], that of the chunk's valid steps alone, exactly.
        """
        latents, log_det = self.to_latents(actions, condition, step_valid)
        base = standard_normal_log_prob(latents)
        if step_valid is not None:
            base = base * step_valid[:, None, :].to(base.dtype)
        return base.sum(-1) + log_det

    def draw_latents(
        self, batch: int, num: int, std: float, generator: torch.Generator | None = None
    ) -> Tensor:
        """Latents [batch, num, H, A] ~ N(0, std^2) on the flow's device."""
        weight = next(self.parameters())
        shape = (batch, num, self.chunk_length, self.action_dim)
        noise = torch.randn(shape, generator=generator, dtype=weight.dtype, device=weight.device)
        return std * noise

    def sample(
        self,
        num: int,
        std: float,
        condition: FlowCondition,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Candidates [B, num, H, A] from latents N(0, std^2), and their log_prob [B, num].

        The likelihood is the policy's own (std = 1), whatever the sampling_std.
        """
        batch = condition[0][0].modulation[0].shape[0]
        latents = self.draw_latents(batch, num, std, generator)
        actions, log_det = self.to_actions(latents, condition)
        return actions, standard_normal_log_prob(latents).sum(-1) - log_det

    def most_likely(
        self,
        num: int,
        std: float,
        condition: FlowCondition,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """The likeliest [B, H, A] of num candidates (paper IV-D, I)."""
        candidates, log_prob = self.sample(num, std, condition, generator)
        return take_candidate(candidates, log_prob.argmax(dim=1))

    def set_dropout(self, rate: float) -> None:
        """Dropout of the scale and shift heads (paper App. C2: 0.5, then 0.1 in RL)."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = rate


def take_candidate(candidates: Tensor, index: Tensor) -> Tensor:
    """Pick candidates [B, N, ...] by index [B] -> [B, ...]."""
    return candidates[torch.arange(len(index), device=index.device), index]


def perturb(actions: Tensor, noise_std: float, generator: torch.Generator | None = None) -> Tensor:
    """Training noise N(0, noise_std^2) on normalised actions (paper IV-B)."""
    noise = torch.randn(
        actions.shape, generator=generator, dtype=actions.dtype, device=actions.device
    )
    return at_least_float32(actions) + noise_std * noise


class FlowPolicy(nn.Module):
    """Encoder, flow and action units: everything needed to act by likelihood.

    Args:
        chunk: lengths of a decision.
        statistics: of the data; decides the units of observations and actions.
        flow, encoder: sizes.
        actions: which actions are relative to the observation (App. A3); None: absolute ones.
    """

    action_minimum: Tensor
    action_maximum: Tensor

    def __init__(
        self,
        chunk: ChunkSpec,
        statistics: DatasetStatistics,
        flow: FlowConfig,
        encoder: EncoderConfig,
        actions: ActionRepresentation | None = None,
    ) -> None:
        super().__init__()
        self.actions = actions or ActionRepresentation()
        self.action_normalizer = ActionNormalizer(statistics.seen_action)
        for name in ("minimum", "maximum"):
            bound = torch.tensor(getattr(statistics.action, name), dtype=torch.get_default_dtype())
            self.register_buffer(f"action_{name}", bound, persistent=False)
        action_dim = len(statistics.action.mean)
        self.encoder = ObservationEncoder(
            statistics, chunk.history_length, chunk.prefix_length, action_dim, encoder
        )
        self.flow = ActionFlow(chunk.chunk_length, action_dim, encoder.token_dim, flow)

    def normalize_actions(self, actions: Tensor, observation: dict[str, Tensor]) -> Tensor:
        """The robot's actions [B, K, A] as the networks see them from the newest observation."""
        if not self.actions.is_absolute:
            actions = self.actions.encode(actions, observation[STATE_KEY][:, -1])
        return self.action_normalizer.normalize(actions)

    def denormalize_actions(self, normalised: Tensor, observation: dict[str, Tensor]) -> Tensor:
        """The inverse [B, K, A], in the robot's units and inside the range of the data."""
        actions = self.action_normalizer.denormalize(normalised)
        if self.actions.is_absolute:
            return actions
        decoded = self.actions.decode(actions, observation[STATE_KEY][:, -1])
        bounded = decoded.clamp(self.action_minimum, self.action_maximum)
        # Bounding the components of a quaternion one by one would turn the hand.
        free = list(self.actions.quaternions)
        bounded[..., free] = decoded[..., free]
        return bounded

    def condition(self, observation: dict[str, Tensor], prefix_actions: Tensor) -> FlowCondition:
        """Raw observation [B, history, ...] and normalised prefix [B, P, A] -> flow condition."""
        return self.flow.condition(self.encoder(observation, prefix_actions))
