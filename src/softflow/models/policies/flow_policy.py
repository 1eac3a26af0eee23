"""The normalizing-flow policy over action chunks (paper IV-B, Alg. 1, App. C1).

`ActionFlow` is the conditional density on its own, whatever its couplings are; `FlowPolicy` is the
policy around it. Actions inside the flow are normalised (data range at +-0.9), likelihoods are in
nats of those units, summed over the chunk.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from softflow.models.encoder import EncoderConfig
from softflow.models.inputs import ModelInputs
from softflow.models.normalizers import perturb
from softflow.models.policies.bijections import bound, standard_normal_log_prob, unbound
from softflow.models.policies.coupling import FlowConfig
from softflow.models.policy import (
    ChunkPolicy,
    Observation,
    PolicyConfig,
    normal_like,
    take_candidate,
)

FlowCondition = list[Any]
"""Per layer: everything the coupling needs of the observations, shared by candidates."""


@runtime_checkable
class CouplingSizes(Protocol):
    """The sizes of a flow: they know which couplings it is made of."""

    def couplings(
        self, chunk_length: int, action_dim: int, num_tokens: int, token_dim: int
    ) -> list[nn.Module]:
        """From the latents' side to the actions'; see `Coupling` for what each can do."""
        ...


class ActionFlow(nn.Module):
    """Conditional RealNVP over action chunks [H, A] with support (-1, 1) (paper IV-B, Alg. 1)."""

    def __init__(
        self,
        chunk_length: int,
        action_dim: int,
        token_dim: int,
        config: CouplingSizes,
        num_tokens: int = 1,
    ) -> None:
        super().__init__()
        self.chunk_length, self.action_dim = chunk_length, action_dim
        sizes = (chunk_length, action_dim, num_tokens, token_dim)
        self.couplings = nn.ModuleList(config.couplings(*sizes))

    def condition(self, obs_tokens: Float[Tensor, "B S D"]) -> FlowCondition:
        """Observation tokens [B, S, D] -> what every layer needs of them."""
        return [layer.condition(obs_tokens) for layer in self.couplings]  # type: ignore

    def to_latents(
        self,
        actions: Float[Tensor, "B N H A"],
        condition: FlowCondition,
        step_valid: Bool[Tensor, "B H"] | None = None,
    ) -> tuple[Float[Tensor, "B N H A"], Float[Tensor, "B N"]]:
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

    def to_actions(
        self, latents: Float[Tensor, "B N H A"], condition: FlowCondition
    ) -> tuple[Float[Tensor, "B N H A"], Float[Tensor, "B N"]]:
        """Latents [B, N, H, A] -> normalised actions in (-1, 1) and log|det| [B, N]."""
        tokens, log_det = latents, latents.new_zeros(latents.shape[:2])
        layers = list(zip(self.couplings, condition, strict=True))
        for layer, layer_condition in reversed(layers):
            tokens, layer_log_det = layer.to_actions(tokens, layer_condition)  # type: ignore
            log_det = log_det + layer_log_det
        actions, token_log_det = bound(tokens)
        return actions, log_det + token_log_det.sum(-1)

    def log_prob(
        self,
        actions: Float[Tensor, "B N H A"],
        condition: FlowCondition,
        step_valid: Bool[Tensor, "B H"] | None = None,
    ) -> Float[Tensor, "B N"]:
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
    ) -> Float[Tensor, "batch num H A"]:
        """Latents [batch, num, H, A] ~ N(0, std^2) on the flow's device."""
        shape = (batch, num, self.chunk_length, self.action_dim)
        return std * normal_like(self, shape, generator)

    def sample(
        self,
        num: int,
        std: float,
        condition: FlowCondition,
        generator: torch.Generator | None = None,
    ) -> tuple[Float[Tensor, "B N H A"], Float[Tensor, "B N"]]:
        """Candidates [B, num, H, A] from latents N(0, std^2), and their log_prob [B, num].

        The likelihood is the policy's own (std = 1), whatever the sampling_std.
        """
        batch = _batch_of(condition)
        latents = self.draw_latents(batch, num, std, generator)
        actions, log_det = self.to_actions(latents, condition)
        return actions, standard_normal_log_prob(latents).sum(-1) - log_det

    def most_likely(
        self,
        num: int,
        std: float,
        condition: FlowCondition,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "B H A"]:
        """The likeliest [B, H, A] of num candidates (paper IV-D, I)."""
        candidates, log_prob = self.sample(num, std, condition, generator)
        return take_candidate(candidates, log_prob.argmax(dim=1))


def _batch_of(condition: Any) -> int:
    """Rows of the first tensor in a condition."""
    while not isinstance(condition, Tensor):
        is_list = isinstance(condition, list | tuple)
        condition = condition[0] if is_list else next(iter(vars(condition).values()))
    return len(condition)


class FlowPolicy(ChunkPolicy):
    """The conditional flow with an observation encoder and the robot's units."""

    Config: ClassVar[type[PolicyConfig]] = FlowConfig
    has_likelihood = True
    cost_name = "nll"

    def __init__(self, inputs: ModelInputs, config: Any, encoder: EncoderConfig) -> None:
        super().__init__(inputs, config, encoder)
        sizes = (inputs.chunk.chunk_length, inputs.action_dim, encoder.token_dim)
        self.flow = ActionFlow(*sizes, config, self.encoder.num_tokens)

    def condition(
        self, observation: Observation, prefix_actions: Float[Tensor, "B P A"]
    ) -> FlowCondition:
        """Raw observation [B, history, ...] and normalised prefix [B, P, A] -> flow condition."""
        return self.flow.condition(self.encoder(observation, prefix_actions))

    def imitation_cost(
        self,
        condition: FlowCondition,
        actions: Float[Tensor, "B H A"],
        step_valid: Bool[Tensor, "B H"],
        noise_std: float,
    ) -> Float[Tensor, " B"]:
        """-log pi(a | o) [B] in nats of noisy normalised chunks [B, H, A] (Eq. 6; noise: IV-B)."""
        noisy = perturb(actions, noise_std)[:, None]
        return -self.flow.log_prob(noisy, condition, step_valid).squeeze(1)

    def to_chunks(
        self, latents: Float[Tensor, "B N H A"], condition: FlowCondition
    ) -> Float[Tensor, "B N H A"]:
        """Latents [B, N, H, A] -> normalised chunks in (-1, 1)."""
        return self.flow.to_actions(latents, condition)[0]

    def choose(
        self,
        num: int,
        std: float,
        condition: FlowCondition,
        batch: int,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "B H A"]:
        """The likeliest [batch, H, A] of `num` candidates (paper IV-D, I)."""
        return self.flow.most_likely(num, std, condition, generator)

    def log_prob(
        self, condition: FlowCondition, actions: Float[Tensor, "B H A"]
    ) -> Float[Tensor, " B"]:
        """Exact log-likelihood [B] in nats of normalised chunks [B, H, A] (Eq. 6)."""
        return self.flow.log_prob(actions[:, None], condition).squeeze(1)

    def diagnostics(
        self, condition: FlowCondition, actions: Float[Tensor, "B H A"]
    ) -> dict[str, float]:
        """How far to the latents and back leads astray: the largest error of an action."""
        chunks = actions[:, None]
        latents, _ = self.flow.to_latents(chunks, condition)
        error = (self.flow.to_actions(latents, condition)[0] - chunks).abs().max()
        return {"invertibility_error": error.item()}
