"""Camera frames as Minari stores them: plain uint8 arrays, or one JPEG picture a step."""

from __future__ import annotations

import h5py
import numpy as np

from softflow.data.files.limits import require_episode_bytes
from softflow.errors import DataError
from softflow.formats.frames import decoded_picture, rgb_frames
from softflow.formats.hdf5 import place_of, require_stored, values_of

JPEG_START = b"\xff\xd8\xff"
MIN_SIDE = 32
"""What Minari itself takes for a picture; smaller grids are symbols."""


def is_camera(array: h5py.Dataset) -> bool:
    """Whether an array of observations is pictures: told by its shape, or by JPEG's first bytes."""
    if h5py.check_vlen_dtype(array.dtype) == np.uint8:
        return True
    if array.dtype != np.uint8 or array.ndim == 0 or len(array) == 0:
        return False
    if array.ndim in (3, 4):
        return min(array.shape[1:3]) >= MIN_SIDE
    return array.ndim == 2 and bytes(np.asarray(array[0, :3])) == JPEG_START


def pictures(array: h5py.Dataset, rows: slice = slice(None)) -> np.ndarray:
    """uint8 [rows, H, W, 3].

    Raises:
        DataError: a picture is damaged, or of another size than the one before.
    """
    if array.ndim > 2:
        return rgb_frames(values_of(array, rows), place_of(array))
    require_stored(array)
    return _decoded(array, range(*rows.indices(len(array))))


def _decoded(array: h5py.Dataset, rows: range) -> np.ndarray:
    """JPEG pictures, one after the other: what they are stored as may be many times the same."""
    frames = np.zeros((0, 1, 1, 3), np.uint8)
    for number, row in enumerate(rows):
        where = f"{place_of(array)}, step {number}"
        frame = decoded_picture(bytes(np.asarray(array[row])), where)
        if number == 0:
            require_episode_bytes(frame.nbytes * len(rows), place_of(array))
            frames = np.empty((len(rows), *frame.shape), np.uint8)
        if frame.shape != frames.shape[1:]:
            sizes = sorted({frame.shape, frames.shape[1:]})
            raise DataError(f"{place_of(array)}: pictures of several sizes, {sizes}; resize them")
        frames[number] = frame
    return frames
