"""Single image frames of a store at random, with bounded memory and open files."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, cast

import numpy as np
import zarr
from zarr.storage import ZipStore

from softflow.data.episode_file import reading, require_all_chunks
from softflow.data.episode_store import EpisodeStore

MAX_OPEN_EPISODES = 64


class FrameCache:
    """Decoded image chunks of a store; the least recently used are dropped beyond `max_bytes`.

    Args:
        store: where the episodes are.
        max_bytes: bound of the decoded frames kept; one chunk is kept even if it is larger.
    """

    def __init__(self, store: EpisodeStore, max_bytes: int) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._chunks: OrderedDict[tuple[int, str, int], np.ndarray] = OrderedDict()
        self._episodes: OrderedDict[int, dict[str, zarr.Array[Any]]] = OrderedDict()
        self.num_bytes = 0

    def frames(self, key: str, episodes: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Frame `steps[i]` of store episode `episodes[i]`: uint8 `[N, height, width, 3]`.

        Raises:
            StoreError: an episode file is damaged or gone.
        """
        frames = np.empty((len(steps), *self._store.spec.observation_shapes[key]), np.uint8)
        for i, (episode, step) in enumerate(zip(episodes.tolist(), steps.tolist(), strict=True)):
            with reading(self._store.episode_path(episode)):
                array = self._arrays(episode)[key]
                size = array.chunks[0]
                frames[i] = self._chunk(array, (episode, key, step // size))[step % size]
        return frames

    def _chunk(self, array: zarr.Array[Any], name: tuple[int, str, int]) -> np.ndarray:
        if name in self._chunks:
            self._chunks.move_to_end(name)
            return self._chunks[name]
        size = array.chunks[0]
        chunk = np.asarray(array[name[2] * size : (name[2] + 1) * size])
        self._chunks[name] = chunk
        self.num_bytes += chunk.nbytes
        while self.num_bytes > self._max_bytes and len(self._chunks) > 1:
            self.num_bytes -= self._chunks.popitem(last=False)[1].nbytes
        return chunk

    def _arrays(self, episode: int) -> dict[str, zarr.Array[Any]]:
        """The image arrays of an episode, opened; the longest unused file is closed for it."""
        if episode not in self._episodes:
            path = self._store.episode_path(episode)
            group = zarr.open_group(ZipStore(path, mode="r"), mode="r")
            arrays = {
                key: cast("zarr.Array[Any]", group[key]) for key in self._store.spec.image_keys
            }
            for array in arrays.values():
                require_all_chunks(array, path)
            self._episodes[episode] = arrays
        self._episodes.move_to_end(episode)
        if len(self._episodes) > MAX_OPEN_EPISODES:
            closed = self._episodes.popitem(last=False)[1]
            next(iter(closed.values())).store.close()
        return self._episodes[episode]
