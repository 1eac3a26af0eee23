"""Camera frames in HDF5: arrays of pixels, or one encoded picture a step; a few in memory at once.

What recorders write as pictures: uint8 [T, N], each row the bytes of a JPEG or PNG file padded with
zeros, or rows of any length.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import h5py
import numpy as np

from softflow.data.files.limits import MIB, array_bytes, require_episode_bytes
from softflow.errors import DataError
from softflow.formats.frames import (
    decoded_picture,
    looks_like_camera,
    require_colour,
    resized,
    rgb_frames,
    rgb_shape,
    room_for_frames,
)
from softflow.formats.hdf5.files import place_of, require_stored, values_of

PICTURE_KINDS = {b"\xff\xd8\xff": "JPEG", b"\x89PNG": "PNG", b"RIFF": "WebP"}
"""The first bytes of encoded pictures -> their kind."""
PICTURE_STARTS = tuple(PICTURE_KINDS)
PIECE_BYTES = 32 * MIB
Size = tuple[int, int]


def holds_pictures(array: h5py.Dataset) -> bool:
    """Whether each step is an encoded picture, told by the first bytes of the first."""
    if array.ndim == 0 or len(array) == 0:
        return False
    if h5py.check_vlen_dtype(array.dtype) == np.uint8:
        return True
    if h5py.check_string_dtype(array.dtype) is not None or array.dtype.kind == "V":
        return array.ndim == 1 and _encoded(array[0]).startswith(PICTURE_STARTS)
    if array.dtype != np.uint8 or array.ndim != 2:
        return False
    return bytes(np.asarray(array[0, :4])).startswith(PICTURE_STARTS)


def picture_kind(array: h5py.Dataset) -> str:
    """JPEG, PNG or WebP, by the first picture; "" for pixels."""
    if not holds_pictures(array):
        return ""
    first = _encoded(array[0])
    return next((kind for start, kind in PICTURE_KINDS.items() if first.startswith(start)), "")


def is_camera(array: h5py.Dataset) -> bool:
    """Whether an array is frames, told by its numbers and sizes or by the first picture."""
    return looks_like_camera(array.shape, array.dtype) or holds_pictures(array)


def frame_shape(array: h5py.Dataset) -> tuple[int, int, int]:
    """(height, width, 3) of its frames.

    Raises:
        DataError: no frames, or the first picture cannot be decoded.
    """
    if holds_pictures(array):
        first = decoded_picture(_encoded(array[0]), f"{place_of(array)}, step 0")
        return first.shape[0], first.shape[1], 3
    require_colour(array.shape, array.dtype, place_of(array))
    return rgb_shape(array.shape, place_of(array))


def frames_of(
    array: h5py.Dataset, size: Size | None = None, rows: slice = slice(None), extra: int = 0
) -> np.ndarray:
    """uint8 [rows + extra, H, W, 3]; the last `extra` frames are for the caller to fill.

    Args:
        array: see `frame_shape`.
        size: (height, width) that each frame is brought to as it is read.
        rows: which frames, in steps of one.
        extra: frames behind those of the array.

    Raises:
        DataError: damaged, larger than an episode may be, or pictures of several sizes.
    """
    require_stored(array)
    shape = frame_shape(array)
    steps = range(*rows.indices(len(array)))
    kept = (len(steps) + extra, *(size or shape[:2]), 3)
    require_episode_bytes(array_bytes(kept, 1), place_of(array))
    frames = room_for_frames(kept)
    done = 0
    for piece in _pieces(array, shape, steps):
        for frame in piece if size else ():
            frames[done] = resized(frame, kept[1:3])
            done += 1
        if not size:
            frames[done : done + len(piece)] = piece
            done += len(piece)
    return frames


def _pieces(array: h5py.Dataset, shape: tuple[int, int, int], steps: range) -> Iterator[np.ndarray]:
    """The frames a few at a time, uint8 [n, H, W, 3]."""
    if holds_pictures(array):
        yield from _decoded(array, shape, steps)
        return
    # Whether floats are fractions is seen in all of them together.
    a_frame = array_bytes(array.shape[1:], array.dtype.itemsize)
    rows = (
        max(PIECE_BYTES // max(a_frame, 1), 1) if array.dtype.kind in "ui" else max(len(steps), 1)
    )
    for start in range(steps.start, steps.stop, rows):
        piece = slice(start, min(start + rows, steps.stop))
        yield rgb_frames(values_of(array, piece), place_of(array))


def _decoded(
    array: h5py.Dataset, shape: tuple[int, int, int], steps: range
) -> Iterator[np.ndarray]:
    """Pictures one by one: what they are stored as may be many times the same."""
    require_episode_bytes(prod(shape), place_of(array))
    for step in steps:
        where = f"{place_of(array)}, step {step}"
        frame = decoded_picture(_encoded(array[step]), where)
        if frame.shape != shape:
            sizes = sorted({frame.shape, shape})
            raise DataError(f"{where}: pictures of several sizes, {sizes}; resize them")
        yield frame[None]


def _encoded(row: object) -> bytes:
    """The bytes of a picture, whatever HDF5 keeps them as."""
    return row if isinstance(row, bytes) else bytes(np.asarray(row))
