"""Cameras that show nothing, noticed before anything is learned from them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from softflow.errors import DataError
from softflow.sampling.chunk_dataset import ChunkDataset

MOMENTS = 48
"""Frames of each camera that are looked at, spread evenly over all episodes."""
DARK = 8
"""Of 255: the brightest pixel of a lens cap, a camera's noise included."""


def require_live_cameras(data: ChunkDataset, keys: Sequence[str]) -> None:
    """Raise if a camera is black or stands still in all of some frames.

    It looks at few; `softflow data validate` looks at all, and names the episodes.

    Raises:
        DataError: names the camera and what to do.
    """
    if not keys or data.num_windows == 0:
        return
    windows = np.unique(np.linspace(0, data.num_windows - 1, MOMENTS).astype(np.int64))
    frames = data.gather(windows, with_next=False).observation
    for key in keys:
        seen = frames[key][:, -1]
        if seen.max() <= DARK:
            raise DataError(_told(data, key, len(seen), f"black (no pixel above {DARK} of 255)"))
        if len(seen) > 1 and bool((seen == seen[0]).all()):
            raise DataError(_told(data, key, len(seen), "the same picture, bit for bit"))


def _told(data: ChunkDataset, key: str, count: int, what: str) -> str:
    name = key.rpartition(".")[2]
    return (
        f"the camera '{key}' of '{data.path}' shows nothing: all {count} frames looked at, spread "
        f"over {data.num_episodes} episodes, are {what}. Leave it out (--model.encoder.cameras and "
        f"the names of the others, without {name}), or record again; `softflow data plot` shows "
        "what was recorded"
    )
