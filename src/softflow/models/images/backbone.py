"""What an image backbone is: frames of a camera -> features, one vector a patch of the image.

Every backbone is split in two: `features`, from pixels to numbers that do not depend on what is
trained behind them, and the encoder's projection of these to tokens. So what a frozen backbone
says can be computed once and handed over in place of pixels.

BatchNorm, where a backbone has it, learns its running statistics in the first stage of its network
alone: the policy's in imitation, the critic's in its warm-up (training/updates/modes.py).
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from softflow.errors import ConfigError, brief
from softflow.models.images.pretrained import load_pretrained, read_weights
from softflow.models.kinds import KindConfig, Kinds
from softflow.models.normalizers import at_least_float32

Finetune = Literal["frozen", "norm", "full"]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FRAMES_AT_ONCE = 128
"""Frames that pass a backbone together where no gradient is wanted: memory stays bounded."""
MAX_SIDE = 4096
_NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


@dataclass(frozen=True)
class ImageConfig(KindConfig):
    """What the configuration of every image backbone has.

    Attributes:
        weights: file that a fresh run starts from, safetensors or a torch state dict; "" for
            random weights (or the backbone's own). A checkpoint needs it no more.
        finetune: what is trained: "full", all of it; "norm", its normalisation layers alone;
            "frozen", nothing: its features are then computed once an update for all networks.
        resize: height and width that frames are brought to first; None takes them as they are.
        recompute: in training, compute what lies inside its blocks a second time in the backward
            pass instead of keeping it: the same gradients in less memory and more time.
    """

    weights: str = ""
    finetune: Finetune = "full"
    resize: tuple[int, int] | None = None
    recompute: bool = False

    def __post_init__(self) -> None:
        if self.finetune not in ("frozen", "norm", "full"):
            raise ConfigError(f'image.finetune is "{self.finetune}"; choose frozen, norm or full')
        if self.recompute and self.is_frozen:
            raise ConfigError(
                'image.recompute saves nothing with image.finetune = "frozen", of which nothing is '
                "kept; leave one of them out"
            )
        if self.resize is not None and not all(1 <= side <= MAX_SIDE for side in self.resize):
            raise ConfigError(
                f"image.resize is {self.resize[0]} {self.resize[1]}; give height and width within "
                f"1 to {MAX_SIDE}"
            )

    @property
    def is_frozen(self) -> bool:
        """Whether nothing of it is trained."""
        return self.finetune == "frozen"

    @property
    def weights_file(self) -> str:
        """The file that a fresh run starts from; "" for none.

        Raises:
            ConfigError: it is that of a package, which is not installed.
        """
        return self.weights

    @property
    def warning(self) -> str:
        """What a user should know before a fresh run; "" for nothing."""
        if self.finetune == "full" or self.weights_file:
            return ""
        return (
            f"careful: the image backbone {self.kind} starts from random weights and "
            f'finetune = "{self.finetune}" leaves them so: it sees little. Give pretrained ones '
            "with --model.encoder.image.weights PATH, or train it: "
            "--model.encoder.image.finetune full"
        )


class ImageBackbone(nn.Module, ABC):
    """Frames of one size -> features.

    A subclass says how the network is built and what of it are features.

    Attributes:
        network: from images to features; its weights are those of a file of pretrained ones.
        feature_dim: F, width of a feature.
        is_shared: whether all cameras look through one, instead of one each.
        unused: beginnings of names in files of weights that are not needed here (a classifier).

    Args:
        frame_shape: (height, width, 3) of the frames it is built for.
        config: its configuration.

    Raises:
        ConfigError: it cannot take frames of this size, or the extra "images" is not installed.
    """

    Config: ClassVar[type[ImageConfig]]
    is_shared: ClassVar[bool] = False
    unused: tuple[str, ...] = ()
    mean: Tensor
    std: Tensor

    def __init__(self, frame_shape: tuple[int, ...], config: ImageConfig) -> None:
        super().__init__()
        self.config = config
        self.network = self.build(*self._sides(frame_shape))
        for name, values in zip(("mean", "std"), self.pixel_statistics(), strict=True):
            numbers = torch.tensor(values, dtype=torch.get_default_dtype()).view(3, 1, 1)
            self.register_buffer(name, numbers, persistent=False)
        self._choose_what_is_trained()
        self.train()
        self._sizes: dict[tuple[int, ...], tuple[int, int]] = {}
        _, self.feature_dim = self.measured(frame_shape)

    @abstractmethod
    def build(self, height: int, width: int) -> nn.Module:
        """The network, its weights random, for images of this size."""

    @abstractmethod
    def encode(self, images: Float[Tensor, "K 3 H W"]) -> Float[Tensor, "K T F"]:
        """Images with mean 0 and deviation 1 -> features."""

    def pixel_statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of red, green and blue in [0, 1]: ImageNet's."""
        return IMAGENET_MEAN, IMAGENET_STD

    def used_parameters(self) -> list[nn.Parameter]:
        """The weights that features depend on."""
        return list(self.network.parameters())

    def file_weights(self) -> tuple[dict[str, Tensor], str] | None:
        """Pretrained weights by the network's names and where they come from, if there are any."""
        path = self.config.weights_file
        return (read_weights(path), f"'{path}'") if path else None

    def through(self, block: nn.Module, x: Tensor) -> Tensor:
        """`block(x)`; with `recompute` only x is kept for the backward pass."""
        if not (self.config.recompute and torch.is_grad_enabled()):
            return block(x)

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _statistics_kept(block)

        return checkpoint(block, x, use_reentrant=False, context_fn=contexts)  # type: ignore[return-value]

    @property
    def identity(self) -> dict[str, Any]:
        """All that decides the features of a frame, as JSON: settings, and a hash of the weights.

        The code is not in it.
        """
        weights = hashlib.sha256()
        for name, value in sorted(self.network.state_dict().items()):
            weights.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            weights.update(value.detach().cpu().contiguous().numpy().data)
        settings = asdict(self.config)
        # Where the weights came from, what became of them, and how gradients are computed.
        for name in ("weights", "finetune", "recompute"):
            del settings[name]
        return {
            "backbone": self.config.kind,
            "settings": settings,
            "pixels": self.pixel_statistics(),
            "weights": weights.hexdigest(),
        }

    # ---- what all share ----------------------------------------------------------------------

    @property
    def is_frozen(self) -> bool:
        """Whether nothing of it is ever trained."""
        return self.config.is_frozen

    def train(self, mode: bool = True) -> ImageBackbone:
        """As of every module, but a frozen backbone stays in evaluation mode."""
        return super().train(mode and not self.is_frozen)

    def load_pretrained(self) -> None:
        """Take the pretrained weights, if the configuration names any.

        Raises:
            ConfigError: the file cannot be read, or is of another architecture.
        """
        if (found := self.file_weights()) is not None:
            load_pretrained(self.network, *found, unused=self.unused)

    def measured(self, frame_shape: tuple[int, ...]) -> tuple[int, int]:
        """(tokens, their width) that a frame of this shape gives.

        Raises:
            ConfigError: it cannot take such frames.
        """
        if frame_shape in self._sizes:
            return self._sizes[frame_shape]
        frame = torch.zeros(1, *frame_shape, dtype=torch.uint8, device=self.mean.device)
        was_training = self.training
        try:
            with torch.no_grad():
                _, *size = self.eval().features(frame).shape
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ConfigError(
                f"the image backbone {self.config.kind} cannot take frames of "
                f"{frame_shape[0]}x{frame_shape[1]}: {brief(error)}; choose another size with "
                "--model.encoder.image.resize HEIGHT WIDTH"
            ) from error
        finally:
            self.train(was_training)
        return self._sizes.setdefault(frame_shape, (size[0], size[1]))

    def features(self, frames: UInt8[Tensor, "K H W 3"]) -> Float[Tensor, "K T F"]:
        """Frames [K, H, W, 3] in 0 to 255 -> features [K, T, F], at least float32.

        Nothing in it is random. Without gradient it goes in pieces of `FRAMES_AT_ONCE`.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.is_frozen):
            if torch.is_grad_enabled() or len(frames) <= FRAMES_AT_ONCE:
                return at_least_float32(self.encode(self._images(frames)))
            pieces = [self.encode(self._images(part)) for part in frames.split(FRAMES_AT_ONCE)]
            return at_least_float32(torch.cat(pieces))

    def _images(self, frames: Tensor) -> Tensor:
        images = frames.movedim(-1, 1).to(self.mean.dtype) / 255
        return (resized(images, self.config.resize) - self.mean) / self.std

    def _sides(self, frame_shape: tuple[int, ...]) -> tuple[int, int]:
        height, width, _ = frame_shape
        return self.config.resize or (height, width)

    def _choose_what_is_trained(self) -> None:
        """`requires_grad` by `finetune`; what features do not depend on is never trained."""
        used = {id(parameter) for parameter in self.used_parameters()}
        norms = [module for module in self.network.modules() if isinstance(module, _NORMS)]
        of_norms = {id(parameter) for module in norms for parameter in module.parameters()}
        trained = {"frozen": set[int](), "norm": used & of_norms, "full": used}
        chosen = trained[self.config.finetune]
        for parameter in self.network.parameters():
            parameter.requires_grad_(id(parameter) in chosen)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Inside, BatchNorm learns nothing: it has seen these images already."""
    norms = [m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    counts = [m.num_batches_tracked for m in norms if m.num_batches_tracked is not None]
    momenta, counted = [norm.momentum for norm in norms], [count.clone() for count in counts]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for count, before in zip(counts, counted, strict=True):
            count.copy_(before)


def resized(
    images: Float[Tensor, "K 3 H W"], size: tuple[int, int] | None
) -> Float[Tensor, "K 3 height width"]:
    """Images brought to a size (height, width); None, or the size they have, changes nothing."""
    if size is None or tuple(images.shape[2:]) == size:
        return images
    return F.interpolate(images, size, mode="bilinear", antialias=True)


BACKBONES = Kinds[ImageBackbone](
    "image backbone",
    ImageBackbone,
    {
        "resnet18": "softflow.models.images.resnet18:ResNet18",
        "timm": "softflow.models.images.timm_backbone:TimmBackbone",
        "dinov2": "softflow.models.images.dinov2:DinoV2",
        "efficientnet_lite0": "softflow.models.images.efficientnet_lite0:EfficientNetLite0",
    },
    option="image",
)
"""A new backbone is a file in `images/` and a line here."""
