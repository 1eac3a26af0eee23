"""One affine coupling of the flow and its transformer (paper IV-B, App. C1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from softflow.errors import ConfigError
from softflow.models.kinds import MAX_LAYERS
from softflow.models.policies.bijections import (
    draw_splits,
    scale_and_shift,
    undo_scale_and_shift,
)
from softflow.models.policies.transformer import BlockCondition, FlowBlock, rotary_table
from softflow.models.policy import PolicyConfig


@dataclass(frozen=True)
class FlowConfig(PolicyConfig):
    """Sizes of the flow; the defaults are the paper's (App. C1).

    Attributes:
        num_layers: affine coupling layers.
        dim: width of a coupling's transformer.
        num_heads: attention heads; dim / num_heads must be even (rotary positions).
        mlp_dim: width of its SwiGLU.
        head_hidden_dim: hidden width of the scale and shift heads.
        split_seed: seed of the fixed random token splits.
    """

    kind = "flow"
    num_layers: int = 16
    dim: int = 256
    num_heads: int = 8
    mlp_dim: int = 768
    head_hidden_dim: int = 512
    split_seed: int = 0

    def __post_init__(self) -> None:
        self._require_at_least_one("flow", "dim", "num_heads", "mlp_dim", "head_hidden_dim")
        self._require_at_least_one("flow", "num_layers", most=MAX_LAYERS)
        self._require_seed("flow", "split_seed")
        if self.dim % (2 * self.num_heads):
            raise ConfigError(
                f"flow.dim {self.dim} must be a multiple of 2 x flow.num_heads "
                f"({self.num_heads}): rotary positions need an even head width"
            )

    def couplings(
        self, chunk_length: int, action_dim: int, num_tokens: int, token_dim: int
    ) -> list[nn.Module]:
        """A coupling for each of the fixed splits of the chunk's tokens."""
        splits = draw_splits(self.num_layers, chunk_length, self.split_seed)
        return [Coupling(moved, action_dim, token_dim, self) for moved in splits]

    @property
    def least_parameters(self) -> int:
        """The attention, modulation, SwiGLU and heads of every coupling."""
        block = 11 * self.dim**2 + 3 * self.dim * self.mlp_dim
        return self.num_layers * 2 * (block + self.dim * self.head_hidden_dim)


class CouplingNetwork(nn.Module):
    """The conditioner of one coupling: kept tokens and observation -> raw scale and shift."""

    gains_by_compiling = True

    def __init__(self, action_dim: int, token_dim: int, config: FlowConfig) -> None:
        super().__init__()
        dim = config.dim
        self.embed = nn.Linear(action_dim, dim)
        self.project = nn.Linear(token_dim, dim)
        self.blocks = nn.ModuleList(
            FlowBlock(dim, config.num_heads, config.mlp_dim, cross_attention=cross)
            for cross in (False, True)
        )
        self.norm = nn.LayerNorm(dim)
        self.scale_head = self._head(action_dim, config)
        self.shift_head = self._head(action_dim, config)

    @staticmethod
    def _head(action_dim: int, config: FlowConfig) -> nn.Sequential:
        last = nn.Linear(config.head_hidden_dim, action_dim)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        first = nn.Linear(config.dim, config.head_hidden_dim)
        return nn.Sequential(first, nn.GELU(), nn.Dropout(0.0), last)

    def condition(self, obs_tokens: Tensor) -> list[BlockCondition]:
        """Observation tokens [B, S, token_dim] -> what both blocks reuse for every candidate."""
        tokens = self.project(obs_tokens)
        pooled = tokens.mean(dim=1)
        return [block.condition(tokens, pooled) for block in self.blocks]  # type: ignore[operator]

    def forward(
        self,
        kept: Float[Tensor, "B N L A"],
        rotary: Float[Tensor, "2 L head"],
        conditions: list[BlockCondition],
    ) -> tuple[Float[Tensor, "B N L A"], Float[Tensor, "B N L A"]]:
        """Kept tokens [B, N, L, A] -> raw scale and shift [B, N, L, A] each."""
        x = self.embed(kept)
        for block, condition in zip(self.blocks, conditions, strict=True):
            x = block(x, rotary, condition)
        x = self.norm(x)
        return self.scale_head(x), self.shift_head(x)


class Coupling(nn.Module):
    """One affine coupling: the kept tokens decide scale and shift of the moved ones.

    The k-th kept token's output transforms the k-th moved token. Where a kept token is missing
    (odd lengths, H = 1) or lies past the episode's end, an empty token (zeros) stands in, so that
    valid tokens never depend on padding: the flow of a cut chunk is the flow of a shorter chunk.
    """

    moved: Tensor
    kept: Tensor
    rotary: Tensor

    def __init__(self, moved: Tensor, action_dim: int, token_dim: int, config: FlowConfig) -> None:
        super().__init__()
        moved_times, kept_times = moved.nonzero()[:, 0], (~moved).nonzero()[:, 0]
        self.num_moved, num_kept = len(moved_times), len(kept_times)
        self.num_empty = max(0, self.num_moved - num_kept)
        times = torch.cat([kept_times, moved_times[num_kept:]])
        self.register_buffer("moved", moved_times)
        self.register_buffer("kept", kept_times)
        self.register_buffer("rotary", rotary_table(times, config.dim // config.num_heads))
        self.network = CouplingNetwork(action_dim, token_dim, config)

    def condition(self, obs_tokens: Float[Tensor, "B S D"]) -> list[BlockCondition]:
        """Observation tokens [B, S, D] -> what all candidates share."""
        return self.network.condition(obs_tokens)

    def _scale_and_shift(
        self, tokens: Tensor, conditions: list[BlockCondition], valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        kept = tokens.index_select(2, self.kept)
        if valid is not None:
            kept = kept * valid.index_select(2, self.kept)[..., None]
        kept = F.pad(kept, (0, 0, 0, self.num_empty))
        raw_scale, shift = self.network(kept, self.rotary, conditions)
        return raw_scale[:, :, : self.num_moved], shift[:, :, : self.num_moved]

    def to_latents(
        self, tokens: Tensor, conditions: list[BlockCondition], valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Tokens [B, N, H, A] one step towards the latents, and log|det| [B, N]."""
        raw_scale, shift = self._scale_and_shift(tokens, conditions, valid)
        moved, log_det = scale_and_shift(tokens.index_select(2, self.moved), raw_scale, shift)
        if valid is not None:
            log_det = log_det * valid.index_select(2, self.moved)
        return tokens.index_copy(2, self.moved, moved), log_det.sum(-1)

    def to_actions(self, tokens: Tensor, conditions: list[BlockCondition]) -> tuple[Tensor, Tensor]:
        """The exact inverse of `to_latents` (no padding), and its log|det| [B, N]."""
        raw_scale, shift = self._scale_and_shift(tokens, conditions, None)
        moved, log_det = undo_scale_and_shift(tokens.index_select(2, self.moved), raw_scale, shift)
        return tokens.index_copy(2, self.moved, moved), log_det.sum(-1)
