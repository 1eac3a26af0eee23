"""Activations computed a second time: the same gradients and statistics, fewer tensors kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from softflow.errors import ConfigError
from softflow.models.images.backbone import ImageBackbone, ImageConfig
from softflow.models.images.dinov2 import DinoV2Config
from softflow.models.images.resnet18 import ResNet18, ResNet18Config
from softflow.models.images.timm_backbone import TimmBackbone, TimmConfig

FRAME = (64, 64, 3)
VIT = TimmConfig(finetune="full", name="vit_tiny_patch16_224")


def frames() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (4, *FRAME), generator=generator, dtype=torch.uint8)


def trained(backbone: ImageBackbone) -> tuple[dict[str, Tensor], dict[str, Tensor], int]:
    """Gradients and all that a step of training leaves behind, and the bytes kept for it."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = backbone.features(frames()).square().mean()
    loss.backward()
    gradients = {n: p.grad for n, p in backbone.named_parameters() if p.grad is not None}
    return gradients, dict(backbone.state_dict()), sum(kept.values())


@pytest.mark.parametrize(
    ("kind", "config"),
    [(ResNet18, ResNet18Config()), (ResNet18, ResNet18Config(norm="group")), (TimmBackbone, VIT)],
    ids=["batch", "group", "vit"],
)
def test_gradients_and_statistics_are_the_same_and_less_is_kept(
    kind: Any, config: ImageConfig
) -> None:
    plain = kind(FRAME, config)
    thrifty = kind(FRAME, replace(config, recompute=True))
    thrifty.load_state_dict(plain.state_dict())
    (grads, state, kept), (other_grads, other_state, other_kept) = trained(plain), trained(thrifty)
    torch.testing.assert_close(other_grads, grads, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(other_state, state)
    assert other_kept < kept / 4


def test_what_cannot_save_memory_is_told() -> None:
    with pytest.raises(ConfigError, match="saves nothing"):
        DinoV2Config(recompute=True)
    with pytest.raises(ConfigError, match=r"timm's resnet18 has BatchNorm.*twice"):
        TimmBackbone(FRAME, TimmConfig(finetune="full", recompute=True))
