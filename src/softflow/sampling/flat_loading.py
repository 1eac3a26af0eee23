"""Episodes of a store brought into `FlatEpisodes`: small ones read into RAM, large ones mapped."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Label
from softflow.sampling.columns import (
    PADDING,
    Columns,
    episode_bytes,
    padded_actions,
    padded_rewards,
)
from softflow.sampling.flat_cache import CachedEpisodes, CacheRefusedError, cached_episodes
from softflow.sampling.flat_episodes import EpisodeTable, FlatEpisodes

DEFAULT_RAM_BYTES = 64 * 1024**2


class FlatLoader:
    """Loads episodes of one store, and decides where their arrays live.

    Up to `ram_bytes` they are read into RAM. Beyond, they are mapped from the store's cache
    (`flat_cache`); what then stays in RAM is about 200 bytes an episode and, once an episode is
    labelled, 4 bytes a control step for rewards. Where the cache cannot be written, a warning says
    so and everything is read into RAM.

    Args:
        store: where the episodes are.
        ram_bytes: the bound.
        cache_folder: where caches may be written, each store's in a folder of its own; None keeps
            the cache beside the episodes, in `cache/` of the store.
    """

    def __init__(
        self,
        store: EpisodeStore,
        ram_bytes: int = DEFAULT_RAM_BYTES,
        cache_folder: Path | None = None,
    ) -> None:
        self.store = store
        self.ram_bytes = ram_bytes
        self.cache_folder = cache_folder_of(store, cache_folder)
        # As they were when the episodes came in: a window's number must never change.
        self._labels: dict[int, Label] = {}

    def load(self, flat: FlatEpisodes, indices: Sequence[int]) -> FlatEpisodes:
        """The episodes of `flat`, and behind them those of these indices.

        Raises:
            StoreError: an episode is missing or damaged.
            DataError: a label does not fit its episode.
        """
        for index in indices:
            if label := self.store.newest_label(index):
                self._labels[index] = label
        if not self._exceeds_ram(flat, indices):
            return self._read(flat, indices)
        everything = np.append(flat.table.store_index, np.asarray(indices, np.int64))
        try:
            return self._map(everything)
        except CacheRefusedError as error:
            size = sum(self._bytes(index) for index in everything.tolist())
            warnings.warn(f"{error}. Now {size / 1e6:.0f} MB are read into RAM", stacklevel=4)
            return self._read(flat, indices)

    def _exceeds_ram(self, flat: FlatEpisodes, indices: Sequence[int]) -> bool:
        left = self.ram_bytes - flat.columns.num_bytes
        for index in indices:
            if left < 0:
                break
            left -= self._bytes(index)
        return left < 0

    def _bytes(self, index: int) -> int:
        return episode_bytes(self.store.spec, self.store.summary(index).length)

    def _read(self, flat: FlatEpisodes, indices: Sequence[int]) -> FlatEpisodes:
        """Read these episodes and lay them behind the present ones; all of them or none."""
        episodes = [self._labelled_episode(index) for index in indices]
        if not episodes:
            return flat
        old = flat.columns
        states = {
            key: np.concatenate([column, *(e.observations[key] for e in episodes)])
            for key, column in old.states.items()
        }
        columns = Columns(
            states,
            np.concatenate([old.actions, *(padded_actions(e.actions) for e in episodes)]),
            np.concatenate([old.rewards, *(padded_rewards(e.rewards) for e in episodes)]),
        )
        length = np.array([episode.length for episode in episodes], np.int64)
        before = np.cumsum(length) - length
        padding = PADDING * np.arange(len(length))
        num_observations = max((len(column) for column in old.states.values()), default=0)
        added = EpisodeTable(
            store_index=np.asarray(indices, np.int64),
            length=length,
            terminated=np.array([bool(episode.terminated) for episode in episodes]),
            success=np.array([bool(episode.success) for episode in episodes]),
            first_action=len(old.actions) + before + padding,
            # An episode has one observation more than actions.
            first_observation=num_observations + before + np.arange(len(length)),
            first_reward=len(old.rewards) + before + padding,
            action_rows=length + PADDING,
        )
        return FlatEpisodes(columns, flat.table.followed_by(added))

    def _labelled_episode(self, index: int) -> Episode:
        episode = self.store.episode(index, with_images=False, labelled=False)
        label = self._labels.get(index)
        return label.applied_to(episode, str(self.store.episode_path(index))) if label else episode

    def _map(self, store_index: np.ndarray) -> FlatEpisodes:
        cached = cached_episodes(self.store, self.cache_folder)
        table = _recorded_table(cached, store_index)
        if self._labels.keys().isdisjoint(store_index.tolist()):
            return FlatEpisodes(cached.columns, table)
        return self._relabelled(cached.columns, table)

    def _relabelled(self, columns: Columns, table: EpisodeTable) -> FlatEpisodes:
        """The same arrays with other ends, and with rewards of their own, in RAM."""
        rewards: list[np.ndarray] = []
        terminated, success = table.terminated.copy(), table.success.copy()
        action_rows = table.action_rows.copy()
        recorded = zip(
            table.store_index.tolist(),
            table.first_reward.tolist(),
            table.length.tolist(),
            strict=True,
        )
        for row, (index, first, length) in enumerate(recorded):
            label = self._labels.get(index)
            if label is None:
                rewards.append(columns.rewards[first : first + length + PADDING])
                continue
            earned = label.rewards(length, str(self.store.episode_path(index)))
            if len(earned) < length:
                action_rows[row] = len(earned)
            rewards.append(padded_rewards(earned))
            terminated[row] |= label.end is not None
            success[row] = label.end is not None and label.end.kind == "success"
        rows = np.array([len(array) for array in rewards], np.int64)
        table = replace(
            table,
            length=rows - PADDING,
            terminated=terminated,
            success=success,
            first_reward=np.cumsum(rows) - rows,
            action_rows=action_rows,
        )
        return FlatEpisodes(replace(columns, rewards=np.concatenate(rewards)), table)


def cache_folder_of(store: EpisodeStore, cache_folder: Path | None) -> Path:
    """Where the cache of a store is: beside the episodes, or in a given folder under its name."""
    if cache_folder is None:
        return store.path / "cache"
    path = store.path.resolve()
    return cache_folder / f"{path.name}-{zlib.crc32(str(path).encode()):08x}"


def _recorded_table(cached: CachedEpisodes, store_index: np.ndarray) -> EpisodeTable:
    length = cached.length[store_index]
    first = (np.cumsum(cached.length) - cached.length)[store_index]
    first_action = first + PADDING * store_index
    return EpisodeTable(
        store_index=store_index,
        length=length,
        terminated=cached.terminated[store_index],
        success=cached.success[store_index],
        first_action=first_action,
        first_observation=first + store_index,
        first_reward=first_action,
        action_rows=length + PADDING,
    )
