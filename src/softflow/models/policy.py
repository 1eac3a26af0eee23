"""What a policy is: everything that training, rollouts, evaluation and a robot need of one.

A policy draws latents and turns them into chunks of normalised actions, given a condition made of
the observation and the prefix once for all candidates. Whoever writes another one derives from
`ChunkPolicy`, runs `check_policy` (models/network_kit.py) on it, and names it in the table below.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from softflow.data.data_spec import STATE_KEY
from softflow.models.encoder import EncoderConfig, ObservationEncoder
from softflow.models.inputs import ModelInputs
from softflow.models.kinds import KindConfig, Kinds
from softflow.models.normalizers import ActionNormalizer

Observation = dict[str, Tensor]
"""Key -> raw values [B, history, ...], in the robot's units, oldest first."""
Condition = Any
"""What a policy makes of observation and prefix; only the policy itself looks inside."""


@dataclass(frozen=True)
class PolicyConfig(KindConfig):
    """Base of the configurations of policies."""


class ChunkPolicy(nn.Module, ABC):
    """A policy over chunks of H actions: observation and committed prefix in, chunks out.

    Actions inside are normalised, the data's range at ±`action_limit`.

    A subclass is made from `ModelInputs`, its `Config` and the encoder's configuration.

    Attributes:
        has_likelihood: whether `log_prob` says something.
        cost_name: what `imitation_cost` is called in metrics and charts.
        correction: [A], what acting adds to all its normalised actions, because the place differs
            from where its offline data come from; zero unless online rounds found one.
    """

    Config: ClassVar[type[PolicyConfig]]
    has_likelihood: ClassVar[bool] = False
    cost_name: ClassVar[str] = "imitation_cost"
    action_minimum: Tensor
    action_maximum: Tensor
    correction: Tensor

    def __init__(self, inputs: ModelInputs, config: PolicyConfig, encoder: EncoderConfig) -> None:
        super().__init__()
        self.inputs, self.config = inputs, config
        self.action_normalizer = ActionNormalizer(inputs.statistics.seen_action)
        for name in ("minimum", "maximum"):
            values = getattr(inputs.statistics.action, name)
            bound = torch.tensor(values, dtype=torch.get_default_dtype())
            self.register_buffer(f"action_{name}", bound, persistent=False)
        self.register_buffer("correction", torch.zeros(inputs.action_dim, dtype=bound.dtype))
        self.encoder = ObservationEncoder(inputs, encoder)

    # ---- what every policy must say ----------------------------------------------------------

    @abstractmethod
    def condition(
        self, observation: Observation, prefix_actions: Float[Tensor, "B P A"]
    ) -> Condition:
        """What chunks depend on, computed once for all candidates of an observation.

        Args:
            observation: raw values, see `Observation`.
            prefix_actions: [B, P, A] normalised.
        """

    @abstractmethod
    def imitation_cost(
        self,
        condition: Condition,
        actions: Float[Tensor, "B H A"],
        step_valid: Bool[Tensor, "B H"],
        noise_std: float,
    ) -> Float[Tensor, " B"]:
        """What imitation minimises, a number a row [B] (Eq. 8: negative log-likelihood in nats).

        What is random in it comes from torch's global generator, which every update seeds.

        Args:
            condition: of the rows' observations.
            actions: [B, H, A] normalised.
            step_valid: [B, H]; steps past the episode's end neither count nor are looked at.
            noise_std: of the noise on training actions (IV-B); for policies that train with it.
        """

    @abstractmethod
    def to_chunks(
        self, latents: Float[Tensor, "B N ..."], condition: Condition
    ) -> Float[Tensor, "B N H A"]:
        """Latents [B, N, ...] -> normalised chunks [B, N, H, A], differentiable."""

    # ---- what most take as it is -------------------------------------------------------------

    def rows_of(self, condition: Condition, rows: Int[Tensor, " K"]) -> Condition:
        """The condition of some rows: those of every tensor in it, however it is built."""
        return _rows_of(condition, rows)

    def draw_latents(
        self, batch: int, num: int, std: float, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch num ..."]:
        """Latents [batch, num, H, A] ~ N(0, std^2) on the policy's device."""
        chunk = (self.inputs.chunk.chunk_length, self.inputs.action_dim)
        return std * normal_like(self, (batch, num, *chunk), generator)

    def sample(
        self,
        num: int,
        std: float,
        condition: Condition,
        batch: int,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "B N H A"]:
        """`num` candidates a row, normalised [batch, num, H, A]."""
        return self.to_chunks(self.draw_latents(batch, num, std, generator), condition)

    def choose(
        self,
        num: int,
        std: float,
        condition: Condition,
        batch: int,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "B H A"]:
        """The chunk [batch, H, A] that acts while there is no critic; the first of the sample,
        unless a policy knows better (likeliest of `num`, IV-D, I)."""
        return self.sample(1, std, condition, batch, generator).squeeze(1)

    def log_prob(
        self, condition: Condition, actions: Float[Tensor, "B H A"]
    ) -> Float[Tensor, " B"]:
        """Log-likelihood [B] in nats of normalised chunks [B, H, A], if `has_likelihood`.

        Raises:
            NotImplementedError: this policy has none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no likelihood")

    def set_dropout(self, rate: float) -> None:
        """Dropout of its own layers (paper App. C2: 0.5, then 0.1 in RL)."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = rate

    def diagnostics(
        self, condition: Condition, actions: Float[Tensor, "B H A"]
    ) -> dict[str, float]:
        """Numbers of its own for the run's diagnostics, of normalised chunks [B, H, A]."""
        return {}

    # ---- units -------------------------------------------------------------------------------

    @property
    def action_limit(self) -> float:
        """Where the range of the data lies in normalised units; what is executed stays inside."""
        return self.action_normalizer.action_scale

    def normalize_actions(
        self, actions: Float[Tensor, "B K A"], observation: Observation
    ) -> Float[Tensor, "B K A"]:
        """The robot's actions [B, K, A] as the networks see them from the newest observation."""
        representation = self.inputs.actions
        if not representation.is_absolute:
            actions = representation.encode(actions, observation[STATE_KEY][:, -1])
        return self.action_normalizer.normalize(actions)

    def take_in_correction(self) -> None:
        """Act as before, without a correction: offline data are of this place from now on."""
        self.action_normalizer.shift(self.correction)
        self.correction.zero_()

    def denormalize_actions(
        self, normalised: Float[Tensor, "B K A"], observation: Observation
    ) -> Float[Tensor, "B K A"]:
        """The inverse [B, K, A], in the robot's units and inside the range of the data."""
        representation = self.inputs.actions
        actions = self.action_normalizer.denormalize(normalised)
        if representation.is_absolute:
            return actions.clamp(self.action_minimum, self.action_maximum)
        decoded = representation.decode(actions, observation[STATE_KEY][:, -1])
        bounded = decoded.clamp(self.action_minimum, self.action_maximum)
        # Bounding the components of a quaternion one by one would turn the hand.
        free = list(representation.quaternions)
        bounded[..., free] = decoded[..., free]
        return bounded


def take_candidate(
    candidates: Shaped[Tensor, "B N ..."], index: Int[Tensor, " B"]
) -> Shaped[Tensor, "B ..."]:
    """Pick candidates [B, N, ...] by index [B] -> [B, ...]."""
    return candidates[torch.arange(len(index), device=index.device), index]


def normal_like(
    module: nn.Module, shape: tuple[int, ...], generator: torch.Generator | None
) -> Tensor:
    """N(0, 1) of this shape, of the dtype and on the device of a module's weights.

    Drawn where the generator is: with one of the CPU a GPU gets the same numbers.
    """
    weight = next(module.parameters())
    place = weight.device if generator is None else generator.device
    drawn = torch.randn(shape, generator=generator, dtype=weight.dtype, device=place)
    return drawn.to(weight.device)


POLICIES = Kinds[ChunkPolicy](
    "policy",
    ChunkPolicy,
    {
        "flow": "softflow.models.policies.flow_policy:FlowPolicy",
        "mlp_flow": "softflow.models.policies.mlp_flow:MlpFlowPolicy",
    },
)
"""A new policy is a file in `policies/` and a line here."""


def _rows_of(value: Any, rows: Tensor) -> Any:
    if isinstance(value, Tensor):
        return value[rows]
    if is_dataclass(value) and not isinstance(value, type):
        parts = {item.name: _rows_of(getattr(value, item.name), rows) for item in fields(value)}
        return replace(value, **parts)
    if isinstance(value, Mapping):
        return {key: _rows_of(part, rows) for key, part in value.items()}
    if isinstance(value, list | tuple):
        chosen = [_rows_of(part, rows) for part in value]
        return type(value)(*chosen) if hasattr(value, "_fields") else type(value)(chosen)
    return value
