"""Single image frames of a store at random, with bounded memory and open files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from softflow.data.episode_store import EpisodeStore
from softflow.data.files.episode_reading import reading
from softflow.sampling.image_pieces import PieceTable, piece_tables
from softflow.sampling.least_recently_used import LeastRecentlyUsed

MAX_TABLE_BYTES = 64 * 1024**2
"""Bound of what is remembered of where frames lie: 25 bytes a piece and 1 kB an episode."""
_EPISODE_BYTES = 1024


class FrameCache:
    """Decoded pieces of a store's cameras; the least recently used are dropped beyond `max_bytes`.

    Several threads may use it at once; each has one episode file open at a time.

    Args:
        store: where the episodes are.
        max_bytes: bound of the decoded frames kept; one piece is kept even if it is larger.
    """

    def __init__(self, store: EpisodeStore, max_bytes: int) -> None:
        self._store = store
        self._pieces = LeastRecentlyUsed[tuple[int, str, int], np.ndarray](max_bytes)
        self._tables = LeastRecentlyUsed[int, dict[str, PieceTable]](MAX_TABLE_BYTES)

    @property
    def num_bytes(self) -> int:
        """Decoded bytes held at the moment."""
        return self._pieces.size

    def frames(
        self, keys: Sequence[str], episodes: np.ndarray, steps: np.ndarray
    ) -> dict[str, np.ndarray]:
        """key → frame `steps[i]` of store episode `episodes[i]`, which may have any shape:
        uint8 `[*steps.shape, height, width, 3]`.

        Every piece is decoded at most once, in storage order.

        Raises:
            StoreError: an episode file is damaged or gone.
        """
        shapes = self._store.spec.observation_shapes
        frames = {key: np.empty((steps.size, *shapes[key]), np.uint8) for key in keys}
        order = np.lexsort((steps.ravel(), episodes.ravel()))
        ordered = episodes.ravel()[order]
        for rows in equal_runs(ordered):
            target = order[rows]
            self._fill(frames, target, int(ordered[rows.start]), steps.ravel()[target])
        return {key: array.reshape(*steps.shape, *shapes[key]) for key, array in frames.items()}

    def _fill(
        self, frames: dict[str, np.ndarray], target: np.ndarray, episode: int, steps: np.ndarray
    ) -> None:
        """Write the frames of ascending steps of one episode to rows `target` of each array."""
        path = self._store.episode_path(episode)
        with reading(path), _OpenedOnce(path) as file:
            tables = self._table(episode, path)
            for key, array in frames.items():
                pieces, positions = tables[key].place(steps)
                for run in equal_runs(pieces):
                    name = (episode, key, int(pieces[run.start]))
                    piece = self._pieces.get(name)
                    if piece is None:
                        piece = tables[key].read(file.descriptor, path, name[2])
                        self._pieces.put(name, piece, piece.nbytes)
                    for row, position in zip(
                        target[run].tolist(), positions[run].tolist(), strict=True
                    ):
                        array[row] = piece[position]

    def _table(self, episode: int, path: Path) -> dict[str, PieceTable]:
        tables = self._tables.get(episode)
        if tables is None:
            tables = piece_tables(path, self._store.spec.image_keys)
            size = sum(table.entries.nbytes + table.intact.nbytes for table in tables.values())
            self._tables.put(episode, tables, _EPISODE_BYTES + size)
        return tables


def equal_runs(values: np.ndarray) -> Iterator[slice]:
    """Slices of equal neighbours."""
    edges = np.flatnonzero(values[1:] != values[:-1]) + 1
    bounds = [0, *edges.tolist(), len(values)]
    for start, stop in itertools.pairwise(bounds):
        if start < stop:
            yield slice(start, stop)


class _OpenedOnce:
    """A file opened when its descriptor is first asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    @property
    def descriptor(self) -> int:
        if self._descriptor is None:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        return self._descriptor

    def __enter__(self) -> _OpenedOnce:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
