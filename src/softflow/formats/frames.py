"""Camera frames of other people's files as uint8 RGB, height first."""

from __future__ import annotations

import io
import struct

import numpy as np
from PIL import Image

from softflow.data.files.limits import MAX_FRAME_PIXELS
from softflow.errors import DataError, brief

PICTURES = ("PNG", "JPEG", "WEBP")
"""Kinds that are decoded. Pillow knows others, for some of which it starts other programs."""
PICTURE_MODES = ("1", "L", "P", "RGB", "RGBA", "YCbCr")
"""8-bit colour or grey."""


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


def decoded_picture(data: bytes, where: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """A PNG, JPEG or WebP file as uint8 [height, width, 3]; its size is checked before its pixels.

    Args:
        data: the file.
        where: how messages name it.
        shape: (height, width, 3) that it has to have; None takes any up to `MAX_FRAME_PIXELS`.

    Raises:
        DataError: damaged, of another kind or size, or no colours.
    """
    try:
        with Image.open(io.BytesIO(data), formats=PICTURES) as image:
            found = (image.height, image.width, 3)
            if shape is not None and found != shape:
                raise DataError(
                    f"{where}: the picture is {found}, {shape} was promised; correct that, or "
                    "leave this camera out"
                )
            if image.height * image.width > MAX_FRAME_PIXELS:
                raise DataError(
                    f"{where}: the picture declares {image.height} x {image.width} pixels; at "
                    f"most {MAX_FRAME_PIXELS:,} are decoded"
                )
            if image.mode not in PICTURE_MODES:
                raise DataError(
                    f"{where}: the picture has pixels of kind {image.mode}, not 8-bit colour or "
                    "grey; take another camera"
                )
            return np.asarray(image.convert("RGB"))
    # Pillow's SyntaxError is for PNG chunks, its own for bombs derives from Exception alone.
    except (
        *(OSError, SyntaxError, ValueError, LookupError, TypeError, struct.error),
        *(EOFError, Image.DecompressionBombError),
    ) as error:
        raise DataError(
            f"{where}: {len(data):,} bytes that are no {', '.join(PICTURES)} picture "
            f"({brief(error)}); the file was cut off, or is of another kind: download it again"
        ) from error


def resized(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A frame uint8 [height, width, 3] in another size (height, width), without aliasing."""
    if frame.shape[:2] == size:
        return frame
    # Pillow widens the bilinear filter when it shrinks: nothing flickers.
    image = Image.fromarray(frame).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image)
