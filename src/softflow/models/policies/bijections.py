"""The invertible pieces of the flow: arctanh, affine couplings, and the fixed token splits.

Every function returns the transformed value and log|det| a token, never a bare value, so that the
flow adds up its own likelihood (paper Eq. 6).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from softflow.models.normalizers import at_least_float32

SUPPORT_MARGIN = 1e-3
"""Actions are clamped to +-(1 - margin) before arctanh. A clamped coordinate costs 6 nats, not the
13 of a margin of 1e-6, and the normaliser keeps data at +-0.9, two noise deviations inside."""


def unbound(actions: Float[Tensor, "*K A"]) -> tuple[Float[Tensor, "*K A"], Float[Tensor, "*K"]]:
    """Elementwise arctanh of actions [..., A] in (-1, 1); the log-det [...] sums over A."""
    actions = at_least_float32(actions)
    limit = 1 - SUPPORT_MARGIN
    actions = actions.clamp(-limit, limit)
    return torch.atanh(actions), -torch.log1p(-actions.square()).sum(-1)


def bound(values: Float[Tensor, "*K A"]) -> tuple[Float[Tensor, "*K A"], Float[Tensor, "*K"]]:
    """Elementwise tanh of values [..., A]; the log-det [...] sums over A."""
    values = at_least_float32(values)
    log_slope = 2 * (math.log(2) - values - F.softplus(-2 * values))
    return torch.tanh(values), log_slope.sum(-1)


def scale_and_shift(
    x: Float[Tensor, "*K A"], raw_scale: Float[Tensor, "*K A"], shift: Float[Tensor, "*K A"]
) -> tuple[Float[Tensor, "*K A"], Float[Tensor, "*K"]]:
    """y = exp(tanh(s)) * x + b on tokens [..., A] (paper IV-B); the log-det [...] sums over A."""
    log_scale = torch.tanh(at_least_float32(raw_scale))
    return log_scale.exp() * x + shift, log_scale.sum(-1)


def undo_scale_and_shift(
    y: Float[Tensor, "*K A"], raw_scale: Float[Tensor, "*K A"], shift: Float[Tensor, "*K A"]
) -> tuple[Float[Tensor, "*K A"], Float[Tensor, "*K"]]:
    """Exact inverse of `scale_and_shift`, with its own (negative) log-det."""
    log_scale = torch.tanh(at_least_float32(raw_scale))
    return (y - shift) * (-log_scale).exp(), -log_scale.sum(-1)


def draw_splits(num_layers: int, chunk_length: int, seed: int) -> Tensor:
    """Random equal splits of the chunk's tokens, fixed for the life of the policy (paper IV-B).

    They come in complementary pairs, so that no token is left untransformed (independent draws
    leave one out in 4 % of policies of 8 layers). With an odd length the halves differ by one.
    With one token there is nothing to condition on: every layer transforms it.

    Returns:
        [num_layers, H] bool, true where the layer transforms the token.
    """
    if chunk_length == 1:
        return torch.ones(num_layers, 1, dtype=torch.bool)
    generator = torch.Generator().manual_seed(seed)
    splits = torch.zeros(num_layers, chunk_length, dtype=torch.bool)
    for layer in range(0, num_layers, 2):
        chosen = torch.randperm(chunk_length, generator=generator)[: chunk_length // 2]
        splits[layer, chosen] = True
        splits[layer + 1 : layer + 2] = ~splits[layer]
    return splits


def standard_normal_log_prob(latents: Tensor) -> Tensor:
    """log N(z; 0, 1) of latents [..., A], summed over A -> [...]."""
    return -0.5 * (latents.square() + math.log(2 * math.pi)).sum(-1)
