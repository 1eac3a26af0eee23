"""Any backbone of timm by its name, always made with random weights."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from softflow.errors import ConfigError, brief
from softflow.models.images.backbone import Finetune, ImageBackbone, ImageConfig

EXTRA = "pip install 'softflow[images]'"


def create(name: str, height: int, width: int) -> Any:
    """A network of timm for images of this size, without classifier and pooling.

    Raises:
        ConfigError: timm is not installed, does not know the name, or not for this size.
    """
    try:
        import timm
    except ImportError as error:
        raise ConfigError(
            f"the image backbone {name} needs timm, which is not here: {EXTRA}"
        ) from error
    # Other names would be looked up on the net or the disk.
    if name not in (known := timm.list_models()):
        near = difflib.get_close_matches(name, known, 3)
        hint = f"did you mean {', '.join(near)}?" if near else "timm.list_models() lists them"
        raise ConfigError(f'timm {timm.__version__} has no backbone "{name}"; {hint}')
    options: dict[str, Any] = {"pretrained": False, "num_classes": 0, "global_pool": ""}
    try:
        try:
            network = timm.create_model(name, **options, img_size=(height, width))
        except TypeError:  # convolutions take any size
            network = timm.create_model(name, **options)
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise ConfigError(_no_such_size(name, height, width, brief(error))) from error
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", (1, 1))
    if height % patch[0] or width % patch[1]:
        why = f"its patches are {patch[0]}x{patch[1]}, and the rest would be cut off"
        raise ConfigError(_no_such_size(name, height, width, why))
    return network


def _no_such_size(name: str, height: int, width: int, why: str) -> str:
    return (
        f"timm cannot make {name} for images of {height}x{width}: {why}; choose another size with "
        "--model.encoder.image.resize HEIGHT WIDTH"
    )


def _recompute(network: Any, name: str) -> None:
    """timm's own way.

    Raises:
        ConfigError: it has none for this network, or would count images twice.
    """
    if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()):
        raise ConfigError(
            f"image.recompute: timm's {name} has BatchNorm, which would learn its statistics from "
            "every image twice; choose resnet18, a transformer, or leave image.recompute out"
        )
    try:
        network.set_grad_checkpointing(True)
    except (AssertionError, AttributeError) as error:
        raise ConfigError(
            f"image.recompute: timm cannot do this for {name}; leave it out"
        ) from error


@dataclass(frozen=True)
class TimmConfig(ImageConfig):
    """A backbone of timm.

    Attributes:
        weights: file that a fresh run starts from, timm's names; "" for random weights.
        finetune: "frozen", "norm" or "full".
        resize: height and width that frames are brought to first.
        recompute: less memory in training, for more time; not of a frozen backbone.
        name: timm's name for it, such as convnext_tiny, without a tag of weights.
    """

    kind = "timm"
    finetune: Finetune = "frozen"
    name: str = "resnet18"


class TimmBackbone(ImageBackbone):
    """The last map of a convolutional network, or the patch tokens of a transformer."""

    Config = TimmConfig
    config: TimmConfig

    @property
    def model_name(self) -> str:
        """timm's name for it."""
        return self.config.name

    def build(self, height: int, width: int) -> nn.Module:
        """timm's network with random weights."""
        network = create(self.model_name, height, width)
        if self.config.recompute:
            _recompute(network, self.model_name)
        classifier = network.pretrained_cfg.get("classifier") or ()
        names = (classifier,) if isinstance(classifier, str) else classifier
        self.unused = (*self.unused, *(f"{name}." for name in names))
        return network

    def pixel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Those that timm's pretrained weights of this name were trained with."""
        known: Any = self.network.pretrained_cfg
        return tuple(known["mean"]), tuple(known["std"])

    def encode(self, images: Float[Tensor, "K 3 H W"]) -> Float[Tensor, "K T F"]:
        """Images -> features, row by row."""
        net: Any = self.network
        return self.as_features(net.forward_features(images))

    def as_features(self, x: Tensor) -> Float[Tensor, "K T F"]:
        """A map in either order, or tokens with those that stand for no patch first."""
        net: Any = self.network
        if x.dim() == 3:
            return x[:, getattr(net, "num_prefix_tokens", 0) :]
        if x.dim() != 4:
            raise ValueError(f"its features have shape {tuple(x.shape)}, neither map nor tokens")
        return x.flatten(2).mT if x.shape[1] == net.num_features else x.flatten(1, 2)

    def file_weights(self) -> tuple[dict[str, Tensor], str] | None:
        """The file's, positions resampled where it was trained on other image sizes."""
        found = super().file_weights()
        if found is None or not hasattr(self.network, "pos_embed"):
            return found
        from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn

        if not isinstance(self.network, VisionTransformer):
            return found
        tensors, where = found
        return checkpoint_filter_fn(tensors, self.network), where
