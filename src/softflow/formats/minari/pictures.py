"""Which of Minari's observations are cameras: plain uint8 arrays, or one JPEG picture a step."""

from __future__ import annotations

import h5py
import numpy as np

from softflow.formats.hdf5.frames import holds_pictures

MIN_SIDE = 32
"""What Minari itself takes for a picture; smaller grids are symbols."""


def is_camera(array: h5py.Dataset) -> bool:
    """Whether an array of observations is pictures: told by its shape, or by a picture's start."""
    if array.dtype == np.uint8 and array.ndim in (3, 4) and len(array):
        return min(array.shape[1:3]) >= MIN_SIDE
    return holds_pictures(array)
