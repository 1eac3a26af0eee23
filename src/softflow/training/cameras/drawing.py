"""Frames and maps as pictures of bounded size."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from softflow.models.images.backbone import resized

_HEAT = (255.0, 96.0, 0.0)
_STRONGEST = 0.8
"""How much of a pixel the brightest heat covers."""
_GAP, _GAP_GREY = 2, 128


def shrunk(frames: UInt8[Tensor, "K H W 3"], side: int) -> UInt8[Tensor, "K h w 3"]:
    """Frames whose longer side is at most `side` pixels; small ones stay as they are."""
    height, width = frames.shape[1:3]
    scale = side / max(height, width)
    if scale >= 1:
        return frames
    size = (max(2, round(height * scale)), max(2, round(width * scale)))
    return resized_frames(frames, size)


def resized_frames(
    frames: UInt8[Tensor, "K H W 3"], size: tuple[int, int] | None
) -> UInt8[Tensor, "K h w 3"]:
    """Frames at a size (height, width), as image backbones see them; None changes nothing."""
    images = resized(frames.movedim(-1, 1).float(), size)
    return images.round().clamp(0, 255).to(torch.uint8).movedim(1, -1)


def sheet(
    frames: UInt8[Tensor, "K H W 3"], maps: Float[Tensor, "K GRID GRID"], brightest: float
) -> np.ndarray:
    """Frames in a row, and below each the same in grey with its map over it in orange.

    Args:
        frames: what was seen.
        maps: of the same K frames, at least 0.
        brightest: what is drawn at full strength; above 0.

    Returns:
        uint8 [2 H + gap, K W + gaps, 3].
    """
    size = frames.shape[1:3]
    heat = F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]
    cover = _STRONGEST * (heat / brightest).clamp(0, 1)[..., None]
    grey = frames.float().mean(dim=-1, keepdim=True)
    drawn = grey + (grey.new_tensor(_HEAT) - grey) * cover
    rows = [_in_a_row(frames), _in_a_row(drawn.round().to(torch.uint8))]
    gap = np.full((_GAP, rows[0].shape[1], 3), _GAP_GREY, np.uint8)
    return np.concatenate([rows[0], gap, rows[1]])


def _in_a_row(frames: Tensor) -> np.ndarray:
    pictures = list(frames.cpu().numpy())
    gap = np.full((len(pictures[0]), _GAP, 3), _GAP_GREY, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=1)
