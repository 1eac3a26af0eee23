"""Camera frames of other people's files as uint8 RGB, height first."""

from __future__ import annotations

import numpy as np
from PIL import Image

from softflow.errors import DataError


def rgb_shape(shape: tuple[int, ...], where: str) -> tuple[int, int, int]:
    """(height, width, 3) of frames stored as [T, H, W, 3 or 1], [T, 3 or 1, H, W] or [T, H, W].

    Raises:
        DataError: not such frames; names `where` they are.
    """
    if len(shape) == 3:
        return shape[1], shape[2], 3
    if len(shape) == 4 and shape[3] in (1, 3):
        return shape[1], shape[2], 3
    if len(shape) == 4 and shape[1] in (1, 3):
        return shape[2], shape[3], 3
    raise DataError(
        f"{where} has shape {shape}, which is no grey or RGB camera; leave it out (--cameras), or "
        "convert it to [steps, height, width, 3]"
    )


def rgb_frames(frames: np.ndarray, where: str) -> np.ndarray:
    """uint8 [T, H, W, 3]. Fractions of 0 to 1 and whole numbers up to 255 are both understood.

    Args:
        frames: see `rgb_shape`; uint8, other integers, or floats. An episode whose floats never
            exceed 1 is taken for fractions.
        where: how messages name them.

    Raises:
        DataError: not such frames, or a value no pixel can have.
    """
    height, width, _ = rgb_shape(frames.shape, where)
    frames = _as_bytes(frames, where)
    if frames.ndim == 3:
        frames = frames[..., None]
    if frames.shape[3] not in (1, 3):
        frames = frames.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(np.broadcast_to(frames, (len(frames), height, width, 3)))


def _as_bytes(frames: np.ndarray, where: str) -> np.ndarray:
    if frames.dtype == np.uint8 or frames.size == 0:
        return frames.astype(np.uint8, copy=False)
    impossible = ~((frames >= 0) & (frames <= 255))
    if impossible.any():
        place = tuple(int(index) for index in np.argwhere(impossible)[0])
        raise DataError(
            f"{where}: the pixel {place[1:]} at step {place[0]} is {frames[place]}; pixels lie in "
            "0 to 255, or 0 to 1: leave this camera out, or convert it"
        )
    if frames.dtype.kind == "f" and frames.max() <= 1:
        frames = frames * 255
    return np.rint(frames).astype(np.uint8)


def resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame uint8 [height, width, 3] in another size (height, width), without aliasing."""
    if frame.shape[:2] == size:
        return frame
    # Pillow widens the bilinear filter when it shrinks: nothing flickers.
    image = Image.fromarray(frame).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image)
