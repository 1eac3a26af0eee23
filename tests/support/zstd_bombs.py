"""Zstandard frames that are short and decode to as much as is asked for."""

from __future__ import annotations

import struct

BLOCK = 128 * 1024


def zeros_in_zstd(size: int, declared: int | None = None) -> bytes:
    """A frame of `size` zeros, 4 bytes for each 128 KiB; its header may tell another size."""
    head = b"\x28\xb5\x2f\xfd" + bytes([0b11000000, 0x38]) + struct.pack("<Q", declared or size)
    blocks = [
        struct.pack("<I", (BLOCK << 3) | 2 | (number == size // BLOCK - 1))[:3] + b"\0"
        for number in range(size // BLOCK)
    ]
    return head + b"".join(blocks)
