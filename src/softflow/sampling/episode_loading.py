"""Episodes of a store brought into `FlatEpisodes`: small ones read into RAM, large ones mapped."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.files.episode_reading import reading
from softflow.data.labels import Label
from softflow.errors import StoreError
from softflow.sampling.cache_folder import CacheRefusedError, cache_folder_of
from softflow.sampling.flat_arrays import (
    PADDING,
    TABLE,
    FlatEpisodes,
    array_shapes,
    filled_arrays,
    laid_out,
    row_bytes,
    rows_of,
)
from softflow.sampling.mapped_arrays import mapped_arrays

DEFAULT_RAM_BYTES = 2 * 1024**3
LAYOUT_VERSION = 1
"""Counts up when the same episodes fill arrays in another way: older caches are not read then."""


@dataclass(frozen=True)
class EpisodeLoader:
    """Loads episodes of a store, and decides where their arrays live.

    Up to `ram_bytes` they are in RAM. Beyond, they are mapped from files (`mapped_arrays`); what
    then stays in RAM is about 100 bytes an episode. Where those files cannot be written, a warning
    says so and everything is read into RAM.

    Args:
        store: where the episodes are.
        ram_bytes: the bound.
        cache_folder: where files may be written, each store's in a folder of its own; None keeps
            them beside the episodes, in `cache/` of the store.
    """

    store: EpisodeStore
    ram_bytes: int
    cache_folder: Path | None

    def load(self, flat: FlatEpisodes, indices: Sequence[int]) -> FlatEpisodes:
        """The episodes of `flat` as they are there, and behind them those of these indices.

        Raises:
            StoreError: an episode is missing or damaged.
            DataError: a label does not fit its episode.
        """
        if not indices:
            return flat
        labels = [self.store.newest_label(index) for index in indices]
        added = np.array(list(map(self._facts, indices, labels)), TABLE)
        table = laid_out(np.concatenate([flat.table, added]))

        def episodes() -> Iterator[Episode]:
            yield from map(flat.episode, range(len(flat)))
            yield from map(self._episode, labels, added)

        return FlatEpisodes(self._arrays(table, episodes), table, flat.lead)

    def _facts(self, index: int, label: Label | None) -> tuple[int, int, bool, bool, str, int]:
        """An entry of the table, without its first row."""
        summary = self.store.summary(index)
        path = self.store.episode_path(index)
        with reading(path):
            file = path.stat()
        # Sealed files never change, so these tell a replaced one without reading it.
        identity = _digest(path.name, file.st_size, file.st_mtime_ns, label)
        return index, summary.length, summary.terminated, summary.success, identity, 0

    def _episode(self, label: Label | None, facts: np.void) -> Episode:
        index = int(facts["store_index"])
        path = self.store.episode_path(index)
        episode = self.store.episode(index, with_images=False, labelled=False)
        episode = label.applied_to(episode, str(path)) if label else episode
        for name in ("length", "terminated", "success"):
            if getattr(episode, name) != facts[name]:
                raise StoreError(
                    f"episode file '{path}' has {name} {getattr(episode, name)}, and had "
                    f"{facts[name]} when the store was opened; open the store again."
                )
        return episode

    def _arrays(
        self, table: np.ndarray, episodes: Callable[[], Iterator[Episode]]
    ) -> dict[str, np.ndarray]:
        spec = self.store.spec
        num_rows = int(np.sum(table["length"] + PADDING))
        shapes = array_shapes(spec, num_rows)
        if (size := num_rows * row_bytes(spec)) > self.ram_bytes:
            content = _digest(LAYOUT_VERSION, spec.to_json(), table["identity"].tobytes())
            folder = cache_folder_of(self.store, self.cache_folder)
            try:
                return mapped_arrays(folder, content, shapes, lambda: map(rows_of, episodes()))
            except CacheRefusedError as error:
                warnings.warn(f"{error}. Now {size / 1e6:.0f} MB are read into RAM", stacklevel=5)
        return filled_arrays(shapes, episodes())


def _digest(*facts: object) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]
