"""What all measuring sticks are made of: MLPs, several of them in one batched product."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class EnsembleLinear(nn.Module):
    """`members` linear layers at once: [E, B, in] -> [E, B, out]."""

    def __init__(self, members: int, width_in: int, width_out: int) -> None:
        super().__init__()
        bound = math.sqrt(6 / (width_in + width_out))
        self.weight = nn.Parameter(torch.empty(members, width_in, width_out))
        self.bias = nn.Parameter(torch.zeros(members, 1, width_out))
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, inputs: Tensor, members: Tensor | None = None) -> Tensor:
        """The same for the members [M] alone, if they are named."""
        if members is None:
            return torch.baddbmm(self.bias, inputs, self.weight)
        return torch.baddbmm(self.bias[members], inputs, self.weight[members])


class EnsembleMlp(nn.Module):
    """`members` MLPs with LayerNorm and GELU after every hidden layer: [B, in] -> [E, B, out].

    Args:
        members: E.
        width_in, width_out: of one row.
        hidden: widths of the hidden layers.
    """

    def __init__(
        self, members: int, width_in: int, hidden: tuple[int, ...], width_out: int
    ) -> None:
        super().__init__()
        self.num_members = members
        self.layers = nn.ModuleList(
            EnsembleLinear(members, before, after)
            for before, after in pairwise((width_in, *hidden, width_out))
        )
        self.scales = nn.ParameterList(torch.ones(members, 1, width) for width in hidden)
        self.shifts = nn.ParameterList(torch.zeros(members, 1, width) for width in hidden)

    def forward(self, inputs: Tensor, members: Tensor | None = None) -> Tensor:
        """The same for the members [M] alone, if they are named: [M, B, out]."""
        count = self.num_members if members is None else len(members)
        rows = inputs.expand(count, *inputs.shape)
        *hidden, last = self.layers
        for layer, scale, shift in zip(hidden, self.scales, self.shifts, strict=True):
            rows = F.layer_norm(layer(rows, members), (scale.shape[-1],))
            if members is not None:
                scale, shift = scale[members], shift[members]
            rows = F.gelu(torch.addcmul(shift, rows, scale))
        return last(rows, members)


class Critics(EnsembleMlp):
    """An ensemble of values of flattened chunks."""

    def __init__(
        self, members: int, observation_dim: int, chunk_dim: int, hidden: tuple[int, ...]
    ) -> None:
        super().__init__(members, observation_dim + chunk_dim, hidden, 1)

    def values(self, observations: Tensor, chunks: Tensor, members: Tensor | None = None) -> Tensor:
        """[B, D] and [B, H·A] -> [E, B], or [M, B] of the members named."""
        return self(torch.cat([observations, chunks], dim=-1), members)[..., 0]

    def values_of_candidates(
        self, observations: Tensor, chunks: Tensor, members: Tensor | None = None
    ) -> Tensor:
        """[B, D] and [B, N, H·A] -> [E, B, N]."""
        rows = observations.repeat_interleave(chunks.shape[1], dim=0)
        values = self.values(rows, chunks.flatten(0, 1), members)
        return values.unflatten(1, chunks.shape[:2])


def mlp(width_in: int, hidden: tuple[int, ...], width_out: int) -> nn.Sequential:
    """A plain MLP with GELU, as the policies have it."""
    layers: list[nn.Module] = []
    for before, after in pairwise((width_in, *hidden)):
        layers += [nn.Linear(before, after), nn.GELU()]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], width_out))


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, tau: float) -> None:
    """Polyak: target += tau · (online − target)."""
    torch._foreach_lerp_(list(target.parameters()), list(online.parameters()), tau)


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """What is computed inside gives these modules' parameters no gradient, only its inputs."""
    for module in modules:
        module.requires_grad_(False)
    try:
        yield
    finally:
        for module in modules:
            module.requires_grad_(True)
