"""Pictures as PNG files, without a library for pictures."""

from __future__ import annotations

import struct
import zlib

import numpy as np

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png_bytes(picture: np.ndarray) -> bytes:
    """A picture, uint8 `[height, width, 3]`, as a PNG file."""
    height, width, _ = picture.shape
    rows = picture.reshape(height, -1)
    # A filter byte in front of each row; 0: none.
    raw = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1).tobytes()
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
    return PNG_SIGNATURE + b"".join(_png_part(kind, data) for kind, data in parts)


def _png_part(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
