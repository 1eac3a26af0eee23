"""The mode a network is in while it is updated: dropout, BatchNorm, and what is trained at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def trained(network: nn.Module) -> list[nn.Parameter]:
    """The weights that an optimiser gets: all but those of frozen parts."""
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def training_mode(network: nn.Module, *, learns_statistics: bool) -> None:
    """Dropout is on. BatchNorm uses the batch and learns running statistics only if it may.

    It may in the first stage of a network: imitation for the policy, the warm-up for the critic.
    Later the statistics stand still, or what a policy does, and the targets of a critic, would
    drift with every batch though no weight had changed.
    """
    network.train()
    if learns_statistics:
        return
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()


def running_statistics(network: nn.Module, *, learning_now: bool = False) -> list[Tensor]:
    """BatchNorm's running means and variances; only those that forward passes change, if asked."""
    return [
        buffer
        for module in network.modules()
        if isinstance(module, _BatchNorm) and (module.training or not learning_now)
        for buffer in module.buffers(recurse=False)
        if buffer.is_floating_point()
    ]


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Inside, gradients pass through the network but not into its weights; dropout is off."""
    was_training, weights = network.training, trained(network)
    network.eval()
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        network.train(was_training)
        for weight in weights:
            weight.requires_grad_(True)
