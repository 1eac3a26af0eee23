"""Frozen image backbones, which policy, critic and target critic share: one in memory, for all."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

from softflow.models.images.backbone import ImageBackbone

Network = TypeVar("Network", bound=nn.Module)


def frozen_backbones(network: nn.Module) -> dict[str, ImageBackbone]:
    """The frozen image backbones inside, by their names."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, ImageBackbone) and module.is_frozen
    }


def share_frozen(source: nn.Module, network: nn.Module) -> None:
    """Let an encoder look through the frozen backbones of another of the same configuration."""
    for name, backbone in frozen_backbones(source).items():
        network.set_submodule(name, backbone)


def shares_frozen(first: nn.Module, second: nn.Module) -> bool:
    """Whether what one encoder's frozen backbones say holds for the other, too."""
    return frozen_backbones(first) == frozen_backbones(second)


def copy_but_frozen(network: Network) -> Network:
    """A copy of its own, which shares the frozen backbones."""
    return copy.deepcopy(network, {id(part): part for part in frozen_backbones(network).values()})


def frozen_names(network: nn.Module) -> frozenset[str]:
    """Names in the network's state dict that belong to frozen backbones."""
    parts = frozen_backbones(network).items()
    return frozenset(f"{name}.{key}" for name, part in parts for key in part.state_dict())
