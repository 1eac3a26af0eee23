"""Frames as JPEGs: for people at the page, and for models that look at them."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

QUALITY = 85


def jpeg(frame: np.ndarray, side: int) -> bytes:
    """A frame uint8 [H, W, 3] as JPEG, its longest side `side` pixels at most."""
    picture = Image.fromarray(frame)
    picture.thumbnail((side, side), Image.Resampling.BOX)
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=QUALITY)
    return written.getvalue()
