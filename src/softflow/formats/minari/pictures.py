"""Camera frames as Minari stores them: plain uint8 arrays, or one JPEG picture a step."""

from __future__ import annotations

import io
from typing import Any

import h5py
import numpy as np
from PIL import Image

from softflow.errors import DataError
from softflow.formats.frames import rgb_frames
from softflow.formats.hdf5 import place_of

JPEG_START = b"\xff\xd8\xff"
MIN_SIDE = 32
"""What Minari itself takes for a picture; smaller grids are symbols."""


def is_camera(array: h5py.Dataset) -> bool:
    """Whether an array of observations is pictures: told by its shape, or by JPEG's first bytes."""
    if h5py.check_vlen_dtype(array.dtype) == np.uint8:
        return True
    if array.dtype != np.uint8 or len(array) == 0:
        return False
    if array.ndim in (3, 4):
        return min(array.shape[1:3]) >= MIN_SIDE
    return array.ndim == 2 and bytes(np.asarray(array[0])[:3]) == JPEG_START


def pictures(array: h5py.Dataset, rows: slice = slice(None)) -> np.ndarray:
    """uint8 [rows, H, W, 3].

    Raises:
        DataError: a picture is damaged, or of another size than the one before.
    """
    stored = np.asarray(array[rows])
    if stored.ndim <= 2:
        frames = [_decoded(jpeg, f"{place_of(array)}, step {i}") for i, jpeg in enumerate(stored)]
        if len({frame.shape for frame in frames}) > 1:
            sizes = sorted({frame.shape for frame in frames})
            raise DataError(f"{place_of(array)}: pictures of several sizes, {sizes}; resize them")
        stored = np.stack(frames)
    return rgb_frames(stored, place_of(array))


def _decoded(jpeg: Any, where: str) -> np.ndarray:
    try:
        return np.array(Image.open(io.BytesIO(bytes(jpeg))), np.uint8)
    except OSError as error:
        raise DataError(f"{where}: {error}; download the dataset again") from error
