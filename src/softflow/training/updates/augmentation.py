"""Camera frames moved and coloured a little at random, on the device (App. C3: augmentation).

All frames of a stack are moved and coloured alike, so is what policy and critic see of a row: a
batch is augmented once. An observation and the one that follows it are augmented independently.
Acting, evaluation and diagnostics see frames as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor

from softflow.errors import ConfigError

MAX_SHIFT, MAX_VIEWS = 256, 256
_GREY = (0.299, 0.587, 0.114)
"""How bright red, green and blue look (ITU-R BT.601)."""


@dataclass(frozen=True)
class AugmentationConfig:
    """How far training frames are changed; by default not at all.

    Attributes:
        shift: pixels by which a frame is moved at most, in each direction; the border is repeated
            (4 suits 84x84: pad and crop).
        colour_jitter: brightness, contrast and saturation are each multiplied by a number within 1
            plus or minus this.
    """

    shift: int = 0
    colour_jitter: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.shift <= MAX_SHIFT:
            raise ConfigError(
                f"augmentation.shift is {self.shift}; it must lie in [0, {MAX_SHIFT}]"
            )
        if not 0 <= self.colour_jitter < 1:
            raise ConfigError(
                f"augmentation.colour_jitter is {self.colour_jitter}; it must lie in [0, 1)"
            )

    @property
    def is_off(self) -> bool:
        """Whether frames stay as they are."""
        return self.shift == 0 and self.colour_jitter == 0

    def require_views(self, views: int | None) -> None:
        """Raise ConfigError for a number of cached views that makes no sense with it."""
        if views is None:
            return
        if not 0 <= views <= MAX_VIEWS:
            raise ConfigError(f"data.cached_views is {views}; it must lie in [0, {MAX_VIEWS}]")
        if views == 1 and not self.is_off:
            raise ConfigError(
                "data.cached_views is 1, frames as they are, so data.augmentation would never be "
                "seen; give more views, or 0 to augment anew in every update"
            )
        if views > 1 and self.is_off:
            raise ConfigError(
                f"data.cached_views is {views}, and without data.augmentation they are all alike; "
                "give 1, or choose an augmentation"
            )


def augmented(
    observation: dict[str, Shaped[Tensor, "B history ..."]], config: AugmentationConfig
) -> dict[str, Shaped[Tensor, "B history ..."]]:
    """The observation with its frames augmented; everything else is as it was.

    What is random comes from torch's global generator of the frames' device.
    """
    if config.is_off:
        return observation
    seen = dict(observation)
    for key, frames in observation.items():
        if frames.dtype == torch.uint8 and frames.dim() == 5:
            moved = shifted(frames, config.shift) if config.shift else frames
            seen[key] = jittered(moved, config.colour_jitter) if config.colour_jitter else moved
    return seen


def shifted(
    frames: UInt8[Tensor, "B history H W 3"], most: int
) -> UInt8[Tensor, "B history H W 3"]:
    """Every row moved by up to `most` pixels in each direction, its border repeated."""
    batch, _, height, width, _ = frames.shape
    move = torch.randint(-most, most + 1, (2, batch, 1), device=frames.device)
    rows = (torch.arange(height, device=frames.device) + move[0]).clamp(0, height - 1)
    columns = (torch.arange(width, device=frames.device) + move[1]).clamp(0, width - 1)
    which = torch.arange(batch, device=frames.device)[:, None, None]
    # Indexing puts the indexed axes first: [B, H, W, history, 3].
    return frames[which, :, rows[:, :, None], columns[:, None, :]].movedim(3, 1)


def jittered(
    frames: UInt8[Tensor, "B history H W 3"], strength: float
) -> UInt8[Tensor, "B history H W 3"]:
    """Brightness, contrast and saturation of every row multiplied by numbers near 1."""
    factors = 1 + strength * (2 * torch.rand(3, len(frames), 1, 1, 1, 1, device=frames.device) - 1)
    brightness, contrast, saturation = factors
    x = frames * brightness
    # Numbers of Python, not a tensor: making one on a GPU would wait for it.
    parts = (share * x[..., channel] for channel, share in enumerate(_GREY))
    grey = sum(parts, x.new_zeros(()))[..., None]
    middle = grey.mean(dim=(1, 2, 3), keepdim=True)
    grey, x = middle + contrast * (grey - middle), middle + contrast * (x - middle)
    return (grey + saturation * (x - grey)).round().clamp(0, 255).to(torch.uint8)
