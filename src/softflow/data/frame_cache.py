"""Single image frames of a store at random, with bounded memory and open files."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import zarr
from zarr.storage import ZipStore

from softflow.data.episode_file import StoredFrames, reading, stored_frames
from softflow.data.episode_store import EpisodeStore

MAX_OPEN_EPISODES = 64


class FrameCache:
    """Decoded pieces of a store's cameras; the least recently used are dropped beyond `max_bytes`.

    Args:
        store: where the episodes are.
        max_bytes: bound of the decoded frames kept; one piece is kept even if it is larger.
    """

    def __init__(self, store: EpisodeStore, max_bytes: int) -> None:
        self._store = store
        self._max_bytes = max_bytes
        self._pieces: OrderedDict[tuple[int, str, int], np.ndarray] = OrderedDict()
        self._episodes: OrderedDict[int, dict[str, StoredFrames]] = OrderedDict()
        self.num_bytes = 0

    def frames(self, key: str, episodes: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Frame `steps[i]` of store episode `episodes[i]`: uint8 `[N, height, width, 3]`.

        Raises:
            StoreError: an episode file is damaged or gone.
        """
        frames = np.empty((len(steps), *self._store.spec.observation_shapes[key]), np.uint8)
        for i, (episode, step) in enumerate(zip(episodes.tolist(), steps.tolist(), strict=True)):
            with reading(self._store.episode_path(episode)):
                stored = self._stored(episode)[key]
                piece, position = stored.place(step)
                frames[i] = self._piece(stored, (episode, key, piece))[position]
        return frames

    def _piece(self, stored: StoredFrames, name: tuple[int, str, int]) -> np.ndarray:
        if name in self._pieces:
            self._pieces.move_to_end(name)
            return self._pieces[name]
        piece = stored.piece(name[2])
        self._pieces[name] = piece
        self.num_bytes += piece.nbytes
        while self.num_bytes > self._max_bytes and len(self._pieces) > 1:
            self.num_bytes -= self._pieces.popitem(last=False)[1].nbytes
        return piece

    def _stored(self, episode: int) -> dict[str, StoredFrames]:
        """The cameras of an episode, opened; the longest unused file is closed for it."""
        if episode not in self._episodes:
            path = self._store.episode_path(episode)
            group = zarr.open_group(ZipStore(path, mode="r"), mode="r")
            self._episodes[episode] = {
                key: stored_frames(group, key, path) for key in self._store.spec.image_keys
            }
        self._episodes.move_to_end(episode)
        if len(self._episodes) > MAX_OPEN_EPISODES:
            closed = self._episodes.popitem(last=False)[1]
            next(iter(closed.values())).steps.store.close()
        return self._episodes[episode]
