"""Cameras that show nothing, noticed before anything is learned from them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from softflow.errors import DataError
from softflow.sampling.chunk_dataset import ChunkDataset

EPISODES = 32
"""That are looked at, spread evenly over all."""
MOMENTS = 3
"""Frames of each: its first, middle and last window."""
DARK = 8
"""Of 255: the brightest pixel of a lens cap, a camera's noise included."""
_NAMED = 5


def require_live_cameras(
    data: ChunkDataset, keys: Sequence[str], say: Callable[[str], None]
) -> None:
    """Raise if a camera is black or stands still in every episode looked at; tell of some.

    It looks at few frames; `softflow data validate` looks at all, and names every episode.

    Raises:
        DataError: names the camera and what to do.
    """
    if not keys or data.num_windows == 0:
        return
    filled = np.flatnonzero(data.episode_windows)
    episodes = filled[np.unique(np.linspace(0, len(filled) - 1, EPISODES).astype(np.int64))]
    frames = data.gather(_windows_of(data, episodes), with_next=False).observation
    for key in keys:
        by_episode = frames[key][:, -1].unflatten(0, (len(episodes), MOMENTS))
        faults = [_fault_of(seen) for seen in by_episode]
        for what in dict.fromkeys(filter(None, faults)):
            if faults.count(what) == len(faults):
                raise DataError(_told(data, key, len(faults), what))
            numbers = [data.episode_indices[n] for n in episodes[[f == what for f in faults]]]
            say(_careful(data, key, what, numbers, len(faults)))


def _windows_of(data: ChunkDataset, episodes: np.ndarray) -> np.ndarray:
    """The first, middle and last window of some episodes, episode by episode."""
    lengths = data.episode_windows
    first = (np.cumsum(lengths) - lengths)[episodes]
    return (first + np.linspace(0, lengths[episodes] - 1, MOMENTS).astype(np.int64)).T.ravel()


def _fault_of(seen: Tensor) -> str:
    """What is wrong with the frames [MOMENTS, H, W, 3] of an episode; "" if nothing is."""
    if seen.max() <= DARK:
        return f"black (no pixel above {DARK} of 255)"
    return "the same picture, bit for bit" if bool((seen == seen[0]).all()) else ""


def _careful(
    data: ChunkDataset, key: str, what: str, episodes: Sequence[int], looked_at: int
) -> str:
    named = ", ".join(map(str, episodes[:_NAMED])) + (", …" if len(episodes) > _NAMED else "")
    return (
        f"careful: the camera '{key}' is {what} in {len(episodes)} of {looked_at} episodes looked "
        f"at (episode {named}); `softflow data validate {data.path}` names all of them"
    )


def _told(data: ChunkDataset, key: str, count: int, what: str) -> str:
    name = key.rpartition(".")[2]
    return (
        f"the camera '{key}' of '{data.path}' shows nothing: in all {count} episodes looked at, of "
        f"{data.num_episodes}, it is {what}. Leave it out (--model.encoder.cameras and "
        f"the names of the others, without {name}), or record again; `softflow data plot` shows "
        "what was recorded"
    )
