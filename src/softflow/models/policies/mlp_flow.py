"""The same flow with MLPs for couplings: for states and short chunks, on machines without a GPU.

A chunk of 5 actions with 5 components is 25 numbers; attention over them costs far more than it
finds. Here each coupling moves half of the numbers, whichever action they belong to, by an MLP of
the other half and the observation, whose part in the first layer all candidates share.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from softflow.models.kinds import MAX_LAYERS
from softflow.models.policies.bijections import (
    draw_splits,
    scale_and_shift,
    undo_scale_and_shift,
)
from softflow.models.policies.flow_policy import FlowPolicy
from softflow.models.policy import PolicyConfig


@dataclass(frozen=True)
class MlpFlowConfig(PolicyConfig):
    """Sizes of the flow.

    Attributes:
        num_layers: affine couplings.
        hidden_dim: width of a coupling's MLP.
        depth: its hidden layers.
        split_seed: seed of the fixed random splits of the chunk's numbers.
    """

    kind = "mlp_flow"
    num_layers: int = 6
    hidden_dim: int = 256
    depth: int = 2
    split_seed: int = 0

    def __post_init__(self) -> None:
        self._require_at_least_one("mlp_flow", "hidden_dim")
        self._require_at_least_one("mlp_flow", "num_layers", "depth", most=MAX_LAYERS)
        self._require_seed("mlp_flow", "split_seed")

    def couplings(
        self, chunk_length: int, action_dim: int, num_tokens: int, token_dim: int
    ) -> list[nn.Module]:
        """A coupling for each of the fixed splits of the chunk's numbers."""
        splits = draw_splits(self.num_layers, chunk_length * action_dim, self.split_seed)
        return [MlpCoupling(moved, action_dim, num_tokens * token_dim, self) for moved in splits]

    @property
    def least_parameters(self) -> int:
        """The hidden layers of every coupling."""
        return self.num_layers * (self.depth - 1) * self.hidden_dim**2

    @property
    def weights_a_token_number(self) -> int:
        """The first layer of every coupling."""
        return self.num_layers * self.hidden_dim


class MlpCoupling(nn.Module):
    """One affine coupling of the flattened chunk; see `coupling.Coupling` for what it promises.

    Numbers past the episode's end count as zero for the others, so that valid ones never depend on
    padding.

    Args:
        moved: `[H * A]` bool, which numbers it transforms.
        action_dim: A.
        context_dim: of the flattened observation tokens.
        config: its sizes.
    """

    moved: Tensor
    kept: Tensor
    back: Tensor

    def __init__(
        self, moved: Tensor, action_dim: int, context_dim: int, config: MlpFlowConfig
    ) -> None:
        super().__init__()
        self.action_dim = action_dim
        moved_places, kept_places = moved.nonzero()[:, 0], (~moved).nonzero()[:, 0]
        self.register_buffer("moved", moved_places)
        self.register_buffer("kept", kept_places)
        self.register_buffer("back", torch.cat([kept_places, moved_places]).argsort())
        width = config.hidden_dim
        self.from_context = nn.Linear(context_dim, width)
        self.from_kept = nn.Linear(len(kept_places), width, bias=False)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(config.depth))
        self.hidden = nn.ModuleList(nn.Linear(width, width) for _ in range(config.depth - 1))
        self.dropout = nn.Dropout(0.0)
        self.head = nn.Linear(width, 2 * len(moved_places))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def condition(self, obs_tokens: Float[Tensor, "B S D"]) -> Float[Tensor, "B 1 width"]:
        """Observation tokens [B, S, D] -> their part of the first layer."""
        return self.from_context(obs_tokens.flatten(1))[:, None]

    def to_latents(
        self, tokens: Tensor, condition: Tensor, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Tokens [B, N, H, A] one step towards the latents, and log|det| [B, N]."""
        numbers, inside = tokens.flatten(2), None
        if valid is not None:
            inside = valid.repeat_interleave(self.action_dim, dim=-1)
            numbers = numbers * inside
        raw_scale, shift = self._scale_and_shift(numbers, condition)
        moving = numbers.index_select(2, self.moved)[..., None]
        moved, log_det = scale_and_shift(moving, raw_scale, shift)
        if inside is not None:
            log_det = log_det * inside.index_select(2, self.moved)
        return self._joined(numbers, moved).view_as(tokens), log_det.sum(-1)

    def to_actions(self, tokens: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        """The exact inverse of `to_latents` (no padding), and its log|det| [B, N]."""
        numbers = tokens.flatten(2)
        raw_scale, shift = self._scale_and_shift(numbers, condition)
        moving = numbers.index_select(2, self.moved)[..., None]
        moved, log_det = undo_scale_and_shift(moving, raw_scale, shift)
        return self._joined(numbers, moved).view_as(tokens), log_det.sum(-1)

    def _scale_and_shift(self, numbers: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        x = condition + self.from_kept(numbers.index_select(2, self.kept))
        first, *others = self.norms
        x = F.silu(first(x))
        for norm, layer in zip(others, self.hidden, strict=True):
            x = F.silu(norm(layer(x)))
        raw_scale, shift = self.head(self.dropout(x))[..., None].chunk(2, dim=2)
        return raw_scale, shift

    def _joined(self, numbers: Tensor, moved: Tensor) -> Tensor:
        kept = numbers.index_select(2, self.kept)
        return torch.cat([kept, moved.squeeze(-1)], dim=2).index_select(2, self.back)


class MlpFlowPolicy(FlowPolicy):
    """The conditional flow with MLPs for couplings."""

    Config = MlpFlowConfig
