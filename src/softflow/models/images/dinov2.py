"""DINOv2 ViT-L/14 with four registers, one for all cameras (paper V-B, App. C1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from softflow.models.images.backbone import Finetune, ImageConfig
from softflow.models.images.timm_backbone import TimmBackbone


@dataclass(frozen=True)
class DinoV2Config(ImageConfig):
    """DINOv2 as the paper's robot looks through it.

    Attributes:
        weights: file that a fresh run starts from, timm's or DINOv2's own names; "" for random
            weights, which see little.
        finetune: "frozen" (V-B), "norm": its LayerNorms alone (App. C1), or "full".
        resize: height and width that frames are brought to first (App. C1: 224 x 224).
        recompute: less memory in training, for more time; not of a frozen backbone.
    """

    kind = "dinov2"
    finetune: Finetune = "frozen"
    resize: tuple[int, int] | None = (224, 224)

    @property
    def least_parameters(self) -> int:
        """Those of its 24 blocks."""
        return 24 * 12_598_272


class DinoV2(TimmBackbone):
    """Patch tokens of the penultimate block, through the final LayerNorm: 224x224 -> 256.

    App. C1 counts 303,711,744 weights with the projection to 512: those of timm's network without
    LayerScale (24 x 2 x 1024) and with positions for its five other tokens (5 x 1024).
    """

    Config = DinoV2Config
    is_shared = True
    unused = ("mask_token",)

    @property
    def model_name(self) -> str:
        """timm's name for it (App. C1)."""
        return "vit_large_patch14_reg4_dinov2"

    def encode(self, images: Float[Tensor, "K 3 H W"]) -> Float[Tensor, "K T F"]:
        """Images -> patch tokens of the block before the last, which is not computed."""
        net: Any = self.network
        [tokens] = net.forward_intermediates(
            images,
            indices=[len(net.blocks) - 2],
            norm=True,
            stop_early=True,
            output_fmt="NLC",
            intermediates_only=True,
        )
        return tokens

    def used_parameters(self) -> list[nn.Parameter]:
        """All but those of the last block."""
        net: Any = self.network
        last = {id(parameter) for parameter in net.blocks[-1].parameters()}
        return [parameter for parameter in net.parameters() if id(parameter) not in last]
