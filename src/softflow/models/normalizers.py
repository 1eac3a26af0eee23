"""Units of the robot ↔ units of the networks, by the statistics of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from softflow.data.statistics import CONSTANT_RANGE, ArrayStatistics
from softflow.errors import ConfigError


class StateNormalizer(nn.Module):
    """(x − mean) / max(std, std_floor), clipped to ±clip.

    The floor keeps a component that was constant in the data from exploding on the robot.

    Args:
        statistics: of one state key.
        std_floor: smallest divisor, in the key's own unit.
        clip: bound of the normalised value.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, statistics: ArrayStatistics, std_floor: float = 1e-3, clip: float = 10.0
    ) -> None:
        super().__init__()
        if std_floor <= 0 or clip <= 0:
            raise ConfigError(f"std_floor {std_floor} and clip {clip} must be above 0.")
        self.clip = clip
        std = np.maximum(statistics.std, std_floor)
        self.register_buffer("mean", torch.tensor(statistics.mean, dtype=torch.get_default_dtype()))
        self.register_buffer("std", torch.tensor(std, dtype=torch.get_default_dtype()))

    def forward(self, state: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """Normalised state, same shape `[..., *row_shape]`, at least the buffers' precision."""
        return ((state - self.mean) / self.std).clamp(-self.clip, self.clip)


class ActionNormalizer(nn.Module):
    """Env units ↔ [−action_scale, action_scale], by the range of the data.

    `action_scale` below 1 leaves a margin, so that an action at the border of the data plus
    `noise_std` rarely leaves the flow's open support (−1, 1) (App. C1: noise 0.05).
    A component that is constant in the data maps to 0 and decodes to its constant.

    Args:
        statistics: of the actions.
        action_scale: in (0, 1].
    """

    minimum: Tensor
    maximum: Tensor

    def __init__(self, statistics: ArrayStatistics, action_scale: float = 0.9) -> None:
        super().__init__()
        if not 0 < action_scale <= 1:
            raise ConfigError(f"action_scale is {action_scale}; it must lie in (0, 1].")
        self.action_scale = action_scale
        dtype = torch.get_default_dtype()
        self.register_buffer("minimum", torch.tensor(statistics.minimum, dtype=dtype))
        self.register_buffer("maximum", torch.tensor(statistics.maximum, dtype=dtype))

    def shift(self, offset: Float[Tensor, " A"]) -> None:
        """From now on normalised actions mean those further by `offset` [A]."""
        half, _ = self._half_range()
        moved = offset.to(half) / self.action_scale * half
        self.minimum += moved
        self.maximum += moved

    @property
    def varies(self) -> Bool[Tensor, " A"]:
        """[A], the components that are not constant in the data."""
        return ~self._half_range()[1]

    def _half_range(self) -> tuple[Tensor, Tensor]:
        half = (self.maximum - self.minimum) / 2
        return half, half * 2 <= CONSTANT_RANGE

    def normalize(self, actions: Float[Tensor, "*K A"]) -> Float[Tensor, "*K A"]:
        """`[..., A]` env units → normalised; actions outside the data's range land beyond
        ±action_scale, they are not clipped here."""
        half, constant = self._half_range()
        centred = actions - (self.minimum + half)
        safe_half = torch.where(constant, torch.ones_like(half), half)
        return torch.where(
            constant, torch.zeros_like(centred), centred / safe_half * self.action_scale
        )

    def denormalize(self, normalised: Float[Tensor, "*K A"]) -> Float[Tensor, "*K A"]:
        """`[..., A]` normalised → env units, clipped into the range of the data."""
        half, _ = self._half_range()
        actions = self.minimum + half + normalised / self.action_scale * half
        return torch.clamp(actions, self.minimum, self.maximum)


def at_least_float32(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Promote half precision to float32 and leave float64 alone: log-dets need it."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def perturb(
    actions: Float[Tensor, "*shape"],
    noise_std: float,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "*shape"]:
    """Training noise N(0, noise_std^2) on normalised actions (paper IV-B).

    Drawn where the generator is: with one of the CPU a GPU gets the same numbers.
    """
    place = actions.device if generator is None else generator.device
    noise = torch.randn(actions.shape, generator=generator, dtype=actions.dtype, device=place)
    return at_least_float32(actions) + noise_std * noise.to(actions.device)


def zero_at(numbers: Float[Tensor, "*K A"], components: Int[Tensor, " C"]) -> Float[Tensor, "*K A"]:
    """The same [..., A] with 0 in some components, such as those that never change in the data."""
    return numbers.index_fill(-1, components, 0.0) if len(components) else numbers


def clamp_to_limit(actions: Float[Tensor, "*K A"], limit: float) -> Float[Tensor, "*K A"]:
    """Clamp to [-limit, limit]; where that cuts, a gradient that leads back inside still passes.

    A plain clamp passes none: a gripper that saturates could never be told to open again.
    """
    return _InwardClamp.apply(actions, limit)  # type: ignore[no-any-return]


class _InwardClamp(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, actions: Tensor, limit: float) -> Tensor:
        ctx.save_for_backward(actions)
        ctx.limit = limit
        return actions.clamp(-limit, limit)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (actions,) = ctx.saved_tensors
        # Descent moves against the gradient.
        outward = ((actions > ctx.limit) & (gradient < 0)) | (
            (actions < -ctx.limit) & (gradient > 0)
        )
        return gradient.masked_fill(outward, 0.0), None
