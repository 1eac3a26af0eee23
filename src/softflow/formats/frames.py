"""Camera frames of other people's files as uint8 RGB, height first."""

from __future__ import annotations

import io
import os
import struct
import tempfile
from math import prod

import numpy as np
from PIL import Image

from softflow.data.files.limits import MAX_FRAME_PIXELS, MIB
from softflow.errors import DataError, brief

PICTURES = ("PNG", "JPEG", "WEBP")
"""Kinds that are decoded. Pillow knows others, for some of which it starts other programs."""
FRAMES_IN_MEMORY = 256 * MIB
"""Of one camera in one episode; more are kept in a file while it is imported."""
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_BITS_AT = 24
"""Where a PNG says how many bits a channel has: Pillow reads 16 as if they were 8."""
PICTURE_MODES = ("1", "L", "P", "RGB", "RGBA", "YCbCr")
"""8-bit colour or grey."""


CHANNELS = (1, 3, 4)
"""Grey, colour, and colour with transparency, which is dropped."""
SMALLEST_SIDE = 8
"""Pixels of a side of what is taken for a camera by its shape alone; smaller arrays are tables."""
DEPTH = "depth, which the store's cameras (8-bit colour) cannot keep; leave it out"


def looks_like_camera(shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether an array [T, ...] is pictures, told by its numbers and its sizes alone."""
    if dtype != np.uint8 or len(shape) not in (3, 4):
        return False
    try:
        return min(rgb_shape(shape, "")[:2]) >= SMALLEST_SIDE
    except DataError:
        return False


def rgb_shape(shape: tuple[int, ...], where: str) -> tuple[int, int, int]:
    """(height, width, 3) of frames stored as [T, H, W, C], [T, C, H, W] or [T, H, W].

    C is one of `CHANNELS`.

    Raises:
        DataError: not such frames; names `where` they are.
    """
    if len(shape) == 3:
        return shape[1], shape[2], 3
    if len(shape) == 4 and shape[3] in CHANNELS:
        return shape[1], shape[2], 3
    if len(shape) == 4 and shape[1] in CHANNELS:
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
    require_colour(frames.shape, frames.dtype, where)
    frames = _as_bytes(frames, where)
    if frames.ndim == 3:
        frames = frames[..., None]
    if frames.shape[3] not in CHANNELS:
        frames = frames.transpose(0, 2, 3, 1)
    frames = frames[..., :3]
    return np.ascontiguousarray(np.broadcast_to(frames, (len(frames), height, width, 3)))


def require_colour(shape: tuple[int, ...], dtype: np.dtype, where: str) -> None:
    """Raise for one channel of 16 bits: it is depth, however near everything was.

    Raises:
        DataError: such an array; names `where` it is.
    """
    if dtype in (np.uint16, np.int16) and not (len(shape) == 4 and 3 in (shape[1], shape[3])):
        raise DataError(f"{where} is {dtype} of shape {shape}: {DEPTH} (--cameras names others)")


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


def room_for_frames(shape: tuple[int, ...]) -> np.ndarray:
    """uint8 of that shape, its content anything: where the frames of an episode are decoded to.

    Beyond `FRAMES_IN_MEMORY` bytes it is a temporary file, which goes when the array does: what a
    process needs of its own does not grow with the length of an episode.

    Raises:
        DataError: there is no room for the file.
    """
    size = prod(shape)
    if size <= FRAMES_IN_MEMORY:
        return np.empty(shape, np.uint8)
    try:
        with tempfile.TemporaryFile() as file:
            os.posix_fallocate(file.fileno(), 0, size)
            return np.asarray(np.memmap(file, np.uint8, "r+", shape=shape))
    except OSError as error:
        raise DataError(
            f"no room for {size:,} bytes of frames in {tempfile.gettempdir()} ({brief(error)}); "
            "name a larger folder with TMPDIR, or take smaller frames (--image-size)"
        ) from error


def decoded_picture(data: bytes, where: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """A PNG, JPEG or WebP file as uint8 [height, width, 3]; its size is checked before its pixels.

    Args:
        data: the file.
        where: how messages name it.
        shape: (height, width, 3) that it has to have; None takes any up to `MAX_FRAME_PIXELS`.

    Raises:
        DataError: damaged, of another kind or size, or no colours.
    """
    if data.startswith(PNG_START) and data[PNG_BITS_AT : PNG_BITS_AT + 1] == b"\x10":
        raise DataError(
            f"{where}: a PNG of 16 bits a channel; a camera of the store has 8, and depth would be "
            "cut to its top: leave this camera out, or convert it to 8-bit colour"
        )
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
