"""Transformer blocks of the coupling networks (paper App. C1, sizes in docs/reading_guide.md).

Tokens are laid out as [B, N, L, D]: B observations, N candidates an observation, L tokens.
Whatever depends on the observation alone (keys and values of cross-attention, modulation) is
computed once an observation and broadcast over its candidates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from softflow.models.normalizers import at_least_float32


def rotary_table(times: Tensor, head_dim: int) -> Tensor:
    """Cosines and sines of rotary position embeddings.

    Args:
        times: [L] positions in control steps (real time inside the chunk).
        head_dim: even width of one attention head.

    Returns:
        [2, L, head_dim]: cosines, then sines, the first half of the sines negated.
    """
    frequencies = 100.0 ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angles = times.to(torch.float64)[:, None] * frequencies
    cos = torch.cat([angles.cos(), angles.cos()], dim=1)
    sin = torch.cat([-angles.sin(), angles.sin()], dim=1)
    return torch.stack([cos, sin]).to(torch.get_default_dtype())


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """Apply rotary embeddings to x [..., L, head_dim] with a table of `rotary_table`."""
    return x * table[0] + x.roll(x.shape[-1] // 2, dims=-1) * table[1]


class RMSNorm(nn.RMSNorm):
    """Normalisation by the root mean square, in float32 at least: autocast leaves this one out."""

    def forward(self, x: Tensor) -> Tensor:
        """x [..., D] -> [..., D]."""
        return super().forward(at_least_float32(x))


class SwiGLU(nn.Module):
    """Gated MLP: W3(SiLU(W1 x) * W2 x), without biases."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.gate_and_value = nn.Linear(dim, 2 * hidden_dim, bias=False)
        self.out = nn.Linear(hidden_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., D] -> [..., D]."""
        gate, value = self.gate_and_value(x).chunk(2, dim=-1)
        return self.out(F.silu(gate) * value)


class CausalSelfAttention(nn.Module):
    """Multi-head causal self-attention with rotary positions and normalised queries and keys."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.query_norm, self.key_norm = RMSNorm(self.head_dim), RMSNorm(self.head_dim)
        self.out = nn.Linear(dim, dim, bias=False)

    def forward(
        self, x: Float[Tensor, "B N L D"], rotary: Float[Tensor, "2 L head"]
    ) -> Float[Tensor, "B N L D"]:
        """x [B, N, L, D], rotary [2, L, head_dim] -> [B, N, L, D]."""
        batch, candidates, length, dim = x.shape
        qkv = self.qkv(x).view(batch * candidates, length, 3, self.num_heads, self.head_dim)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        query = rotate(self.query_norm(query), rotary)
        key = rotate(self.key_norm(key), rotary)
        out = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.out(out.transpose(1, 2).reshape(batch, candidates, length, dim))


class CrossAttention(nn.Module):
    """Multi-head attention from action tokens to observation tokens.

    The candidates of one observation are folded into the query length, so that keys and values
    exist once an observation whatever the number of candidates.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.query = nn.Linear(dim, dim, bias=False)
        self.key_value = nn.Linear(dim, 2 * dim, bias=False)
        self.query_norm, self.key_norm = RMSNorm(self.head_dim), RMSNorm(self.head_dim)
        self.out = nn.Linear(dim, dim, bias=False)

    def keys_values(
        self, tokens: Float[Tensor, "B S D"]
    ) -> tuple[Float[Tensor, "B heads S head"], Float[Tensor, "B heads S head"]]:
        """Observation tokens [B, S, D] -> keys and values [B, heads, S, head_dim]."""
        batch, length, _ = tokens.shape
        both = self.key_value(tokens).view(batch, length, 2, self.num_heads, self.head_dim)
        key, value = both.permute(2, 0, 3, 1, 4).unbind(0)
        return self.key_norm(key), value

    def forward(
        self, x: Float[Tensor, "B N L D"], keys_values: tuple[Tensor, Tensor]
    ) -> Float[Tensor, "B N L D"]:
        """x [B, N, L, D] attends to the shared keys and values -> [B, N, L, D]."""
        batch, candidates, length, dim = x.shape
        query = self.query(x).view(batch, candidates * length, self.num_heads, self.head_dim)
        query = self.query_norm(query.transpose(1, 2))
        out = F.scaled_dot_product_attention(query, *keys_values)
        return self.out(out.transpose(1, 2).reshape(batch, candidates, length, dim))


@dataclass(frozen=True)
class BlockCondition:
    """What one block needs to know of the observation, computed once an observation.

    Attributes:
        modulation: six tensors [B, 1, 1, D]: shift, scale and gate of attention, then of the MLP.
        keys_values: [B, heads, S, head_dim] each, where the block has cross-attention.
    """

    modulation: tuple[Tensor, ...]
    keys_values: tuple[Tensor, Tensor] | None


class FlowBlock(nn.Module):
    """Causal self-attention, optional cross-attention and SwiGLU, modulated by the observation."""

    def __init__(self, dim: int, num_heads: int, mlp_dim: int, cross_attention: bool) -> None:
        super().__init__()
        self.self_norm = RMSNorm(dim)
        self.self_attention = CausalSelfAttention(dim, num_heads)
        self.cross_norm = RMSNorm(dim) if cross_attention else None
        self.cross_attention = CrossAttention(dim, num_heads) if cross_attention else None
        self.mlp_norm = RMSNorm(dim)
        self.mlp = SwiGLU(dim, mlp_dim)
        self.modulation = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, 6 * dim))
        last = self.modulation[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def condition(
        self, tokens: Float[Tensor, "B S D"], pooled: Float[Tensor, "B D"]
    ) -> BlockCondition:
        """Observation tokens [B, S, D] and pooled vector [B, D] -> what the block reuses."""
        modulation = self.modulation(pooled)[:, None, None, :].chunk(6, dim=-1)
        cross = self.cross_attention
        return BlockCondition(modulation, None if cross is None else cross.keys_values(tokens))

    def forward(
        self,
        x: Float[Tensor, "B N L D"],
        rotary: Float[Tensor, "2 L head"],
        condition: BlockCondition,
    ) -> Float[Tensor, "B N L D"]:
        """x [B, N, L, D] -> [B, N, L, D]."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = condition.modulation
        attended = self.self_attention(self.self_norm(x) * (1 + scale_a) + shift_a, rotary)
        x = x + (1 + gate_a) * attended
        if self.cross_attention is not None and self.cross_norm is not None:
            assert condition.keys_values is not None
            x = x + self.cross_attention(self.cross_norm(x), condition.keys_values)
        return x + (1 + gate_m) * self.mlp(self.mlp_norm(x) * (1 + scale_m) + shift_m)
