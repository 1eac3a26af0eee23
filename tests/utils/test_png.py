"""PNG files against another reader."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from softflow.utils.png import png_bytes


@pytest.mark.parametrize("shape", [(1, 1, 3), (5, 3, 3), (84, 84, 3)])
def test_a_png_is_read_back_to_the_pixel(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with Image.open(io.BytesIO(png_bytes(picture))) as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), picture)
