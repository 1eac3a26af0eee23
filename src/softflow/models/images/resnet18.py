"""ResNet-18 up to its last convolutional stage, one a camera (paper V-A, App. C1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models import resnet18

from softflow.errors import ConfigError
from softflow.models.images.backbone import ImageBackbone, ImageConfig

CHANNELS_A_GROUP = 16
LEAST_SIDE = 32


@dataclass(frozen=True)
class ResNet18Config(ImageConfig):
    """ResNet-18, from random weights unless a file is given.

    Attributes:
        weights: file that a fresh run starts from, torchvision's names; "" for random weights.
        finetune: "full", "norm" or "frozen".
        resize: height and width that frames are brought to first.
        recompute: less memory in training, for more time; not of a frozen backbone.
        norm: "batch", as in the paper; "group" does not depend on other rows in training, and needs
            no rule for what its statistics do in which stage.
    """

    kind = "resnet18"
    norm: Literal["batch", "group"] = "batch"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in ("batch", "group"):
            raise ConfigError(f'image.norm is "{self.norm}"; choose batch or group')

    @property
    def least_parameters(self) -> int:
        """All of them (App. C1)."""
        return 11_176_512


class ResNet18(ImageBackbone):
    """torchvision's ResNet-18 without pooling and classifier: 84x84 -> 9 features, 224x224 -> 49.

    BatchNorm uses the batch, and learns its running statistics, in imitation (policy) and in the
    critic warm-up (critic) alone; everywhere else the running statistics are used as they are.
    """

    Config = ResNet18Config
    config: ResNet18Config
    unused = ("fc.",)

    def build(self, height: int, width: int) -> nn.Module:
        """torchvision's, its last two layers left out."""
        if min(height, width) < LEAST_SIDE:
            raise ConfigError(
                f"frames of {height}x{width} are too small for resnet18, which needs "
                f"{LEAST_SIDE} pixels a side; choose --model.encoder.image.resize HEIGHT WIDTH"
            )
        layer = nn.BatchNorm2d if self.config.norm == "batch" else _group_norm
        network = resnet18(weights=None, norm_layer=layer)
        network.avgpool = network.fc = nn.Identity()  # type: ignore[assignment]
        return network

    def encode(self, images: Float[Tensor, "K 3 H W"]) -> Float[Tensor, "K T F"]:
        """Images -> the 512 channels of every place of the last map, row by row."""
        net = self.network
        stem = nn.Sequential(net.conv1, net.bn1, net.relu, net.maxpool)  # type: ignore[arg-type]
        x = self.through(stem, images)
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            for block in stage:  # type: ignore[union-attr]
                x = self.through(block, x)
        return x.flatten(2).mT


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // CHANNELS_A_GROUP, channels)
