"""How much of a file that came from elsewhere is believed before it is decoded.

A file may declare any size, and a few kilobytes may decode to gigabytes. So what is declared is
held against these numbers first, and what is decoded against what was declared.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from softflow.errors import ConfigError, DataError
from softflow.utils.machine import memory_bytes

GIB = 1024**3
MIB = 1024**2

EPISODE_LIMIT_VARIABLE = "SOFTFLOW_MAX_EPISODE_GIB"
MAX_EPISODE_BYTES = 64 * GIB
MAX_EPISODE_SHARE = 0.5
"""The arrays of one episode: at most so much, and at most this share of the machine's memory."""
MAX_FRAME_PIXELS = 2**25
"""Pixels of one camera frame: 8192 x 4096."""
MAX_METADATA_BYTES = 8 * MIB
"""The metadata of one episode, as JSON."""


def episode_bytes() -> int:
    """Bytes that the arrays of one episode may have; SOFTFLOW_MAX_EPISODE_GIB sets another number.

    Raises:
        ConfigError: that variable is no positive number.
    """
    text = os.environ.get(EPISODE_LIMIT_VARIABLE, "")
    if not text:
        return min(MAX_EPISODE_BYTES, int(memory_bytes() * MAX_EPISODE_SHARE))
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not (math.isfinite(limit) and limit > 0):
        raise ConfigError(f"{EPISODE_LIMIT_VARIABLE} is {text!r}; give GiB, for example 16")
    return int(limit * GIB)


def require_episode_bytes(declared: int, where: str) -> None:
    """Raise if the arrays of an episode are declared larger than one may be.

    Raises:
        DataError: names `where` that is declared, both numbers, and how to allow it.
    """
    limit = episode_bytes()
    if declared > limit:
        raise DataError(
            f"{where} declares {declared:,} bytes for one episode; at most {limit:,} are read, so "
            "that a few kilobytes cannot fill the memory. If it is really that long, set "
            f"{EPISODE_LIMIT_VARIABLE}={math.ceil(declared / GIB)}, or cut it into shorter episodes"
        )


def array_bytes(shape: Sequence[int], item_bytes: int) -> int:
    """Bytes of an array, by Python's own numbers, which do not overflow."""
    return math.prod(shape) * item_bytes
