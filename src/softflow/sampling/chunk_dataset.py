"""Every decision window of chosen episodes, gathered into batches by number."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.taken_over import TakenOver
from softflow.errors import DataError
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.sampling.episode_loading import DEFAULT_RAM_BYTES, EpisodeLoader
from softflow.sampling.feature_files import FeatureFiles, rows_of_views
from softflow.sampling.flat_arrays import FlatEpisodes, Places, before_the_start, take_rows
from softflow.sampling.frame_cache import FrameCache

DEFAULT_IMAGE_CACHE_BYTES = 512 * 1024**2


class ChunkDataset:
    """Every decision window (t in 0 … T−1) of chosen episodes of a store.

    Windows are numbered in the order their episodes were added, so growing a dataset or building
    it at once with the same episodes gives the same numbering. Episodes are as the labels of that
    moment have them; windows keep their numbers when an episode is labelled anew later.

    With a prefix, offline episodes have one window more, at step -P: deployment begins with P
    neutral actions, which demonstrations have not. Episodes of a policy begin with them anyway.

    Memory: states, actions and rewards stay in RAM as float32 up to `ram_bytes` (twice that while
    episodes are added to others); larger data is mapped from files, see `EpisodeLoader`. Images
    are read on demand through a cache of at most `image_cache_bytes` decoded bytes. Batches are
    the caller's.

    It has what statistics are computed from (`data.statistics.Episodes`); its episodes are
    numbered 0 … num_episodes − 1 there.

    Args:
        store: where the episodes are.
        chunk_spec: lengths of a decision.
        episodes: indices into the store; all of them when None.
        offline: what `is_offline` says of these rows.
        with_images: False is short for no `image_keys`.
        image_keys: the cameras that batches hold beside all states; all of them when None.
        image_cache_bytes: bound of the decoded-image cache; unused without images.
        ram_bytes: bound of the states, actions and rewards held in RAM.
        cache_folder: where files to map may be written if not beside the episodes (read-only or
            network stores).

    Raises:
        StoreError: an episode is missing or damaged.
        DataError: the store has no such camera, or a label does not fit its episode.
    """

    def __init__(
        self,
        store: EpisodeStore,
        chunk_spec: ChunkSpec,
        *,
        episodes: Sequence[int] | None = None,
        offline: bool = True,
        with_images: bool = True,
        image_keys: Sequence[str] | None = None,
        image_cache_bytes: int = DEFAULT_IMAGE_CACHE_BYTES,
        ram_bytes: int = DEFAULT_RAM_BYTES,
        cache_folder: Path | None = None,
    ) -> None:
        self.store = store
        self.chunk_spec = chunk_spec
        self.offline = offline
        self._image_keys = _chosen_cameras(store, image_keys) if with_images else ()
        lengths = np.arange(chunk_spec.chunk_length + 1)[:, None]
        self._triangle = np.arange(chunk_spec.chunk_length) < lengths
        self._loader = EpisodeLoader(store, ram_bytes, cache_folder)
        self._flat = FlatEpisodes.empty(store.spec, chunk_spec.prefix_length if offline else 0)
        self._frames = FrameCache(store, image_cache_bytes)
        self._features: dict[str, Sequence[FeatureFiles]] = {}
        self.taken_over = TakenOver(store, ())
        """What people commanded in the episodes."""
        self.add_episodes(range(len(store)) if episodes is None else episodes)

    @property
    def path(self) -> Path:
        """Folder of the store."""
        return self.store.path

    @property
    def spec(self) -> DataSpec:
        """What the store holds."""
        return self.store.spec

    @property
    def num_windows(self) -> int:
        """Number of decision windows of all episodes."""
        return self._flat.num_windows

    @property
    def num_episodes(self) -> int:
        """Number of episodes added so far."""
        return len(self._flat)

    def __len__(self) -> int:
        """The number of episodes, not of windows."""
        return self.num_episodes

    @property
    def episode_indices(self) -> tuple[int, ...]:
        """Store indices of the episodes, in the order they were added."""
        return tuple(self._flat.store_index.tolist())

    @property
    def episode_windows(self) -> np.ndarray:
        """Windows of each episode `[num_episodes]`, in the order they were added."""
        return self._flat.num_windows_of

    @property
    def cached_image_bytes(self) -> int:
        """Decoded image bytes held at the moment."""
        return self._frames.num_bytes

    @property
    def num_views(self) -> int:
        """Views of each frame that batches may show; 1 where they hold frames."""
        return max((len(views) for views in self._features.values()), default=1)

    def show_features(self, features: Mapping[str, Sequence[FeatureFiles]]) -> None:
        """Batches hold features in place of the frames of some cameras from now on.

        So do those of all subsets, which were made or will be. Episodes have to be filled in before
        their windows are gathered.

        Args:
            features: camera -> its views, the first of frames as they are; of each camera as many.
                Empty: batches hold frames again.
        """
        self._features.clear()
        self._features.update(features)

    def showing_frames(self) -> ChunkDataset:
        """The same windows, whose batches hold frames whatever features those of this one hold."""
        result = copy.copy(self)
        result._features = {}
        return result

    def episode(self, index: int, *, with_images: bool = False) -> Episode:
        """An episode as its windows have it: read-only views, without metadata.

        Args:
            index: 0 … num_episodes − 1, in the order they were added.
            with_images: whether to read the frames of all cameras.

        Raises:
            DataError: no such episode.
            StoreError: its file is damaged or gone.
        """
        flat = self._flat
        if not 0 <= index < len(flat):
            raise DataError(
                f"the dataset over '{self.path}' has no episode {index}; it holds "
                f"{len(flat)}, numbered from 0."
            )
        episode = flat.episode(index)
        if not with_images:
            return episode
        steps = np.arange(episode.length + 1)
        episodes = np.full(len(steps), flat.store_index[index])
        frames = self._frames.frames(self.spec.image_keys, episodes, steps)
        return replace(episode, observations=episode.observations | frames)

    def subset(self, episodes: Sequence[int]) -> ChunkDataset:
        """A dataset of some of the episodes, which shares arrays, image cache and features.

        Its windows are numbered as if it had been made of these episodes alone. It does not grow
        with this one, nor this one with it.

        Args:
            episodes: store indices, in the order their windows are numbered.

        Raises:
            DataError: one of them is not in this dataset.
        """
        flat = self._flat
        numbers: dict[int, int] = {}
        for number, index in enumerate(flat.store_index.tolist()):
            numbers.setdefault(index, number)
        if missing := [index for index in episodes if index not in numbers]:
            raise DataError(
                f"the dataset over '{self.path}' does not hold episode {missing[0]} of the store; "
                "choose from its episode_indices."
            )
        result = copy.copy(self)
        result._flat = flat.chosen([numbers[index] for index in episodes])
        result.taken_over = TakenOver(self.store, episodes)
        return result

    def add_episodes(self, indices: Iterable[int]) -> None:
        """Read more episodes of the store; each adds its T windows behind the present ones.

        Raises:
            StoreError: an episode is missing or damaged; nothing is added then.
            DataError: a label does not fit its episode; nothing is added then.
        """
        new = list(indices)
        # Before the windows: another thread may be gathering them.
        self.taken_over = self.taken_over.and_in(self.store, new)
        self._flat = self._loader.load(self._flat, new)

    def add_new_episodes(self) -> int:
        """Add every episode appended to the store behind the last one added here.

        Returns:
            How many were added.
        """
        self.store.refresh()
        new = range(max(self.episode_indices, default=-1) + 1, len(self.store))
        self.add_episodes(new)
        return len(new)

    def gather(
        self,
        window_indices: np.ndarray,
        *,
        with_next: bool = True,
        views: np.ndarray | None = None,
    ) -> ChunkBatch:
        """The batch of these windows, one row each; see `ChunkBatch` for shapes.

        Args:
            window_indices: `[B]` integers in 0 … num_windows − 1.
            with_next: False leaves `next_observation` empty, and reads no frames for it.
            views: `[2, B]` integers in 0 … num_views − 1, which view of its frames a row shows: in
                `observation`, and in `next_observation`. None: the frames as they are.

        Raises:
            DataError: an index is out of range.
        """
        windows = self._windows_there(window_indices)
        # One look: another thread may be adding episodes.
        flat, spec = self._flat, self.chunk_spec
        places = flat.places(windows)
        chunk_start = places.step + spec.prefix_length
        left = places.length - places.step
        num_steps = np.minimum(spec.execution_horizon, left)
        next_step = places.step + num_steps
        stops = flat.terminated.take(places.episode) & (num_steps == left)
        # Row n of the triangle has its first n entries true.
        in_chunk = np.clip(left - spec.prefix_length, 0, spec.chunk_length)
        step_valid = take_rows(self._triangle, in_chunk)
        by_person = self.taken_over.steps_from(flat.store_index.take(places.episode), chunk_start)

        last = (places.step, next_step) if with_next else (places.step,)
        observation, *next_observation = self._observations(flat, places, last, views)
        return ChunkBatch(
            observation=observation,
            prefix_actions=self._actions(flat, places, places.step, spec.prefix_length),
            actions=self._actions(flat, places, chunk_start, spec.chunk_length),
            step_valid=torch.from_numpy(step_valid),
            rewards=torch.from_numpy(flat.rewards(places, places.step, spec.execution_horizon)),
            num_steps=torch.from_numpy(num_steps),
            next_observation=next_observation[0] if with_next else {},
            next_prefix_actions=self._actions(flat, places, next_step, spec.prefix_length),
            bootstrap_mask=torch.from_numpy((~stops).astype(np.float32)),
            is_offline=torch.full((len(windows),), self.offline, dtype=torch.bool),
            episode_success=torch.from_numpy(flat.success.take(places.episode)),
            has_action=torch.from_numpy(in_chunk > 0),
            person_steps=torch.from_numpy(np.minimum(by_person, in_chunk)),
            window=torch.from_numpy(windows),
        )

    def _windows_there(self, indices: np.ndarray) -> np.ndarray:
        """The indices as int64.

        Raises:
            DataError: one is out of range.
        """
        windows = np.asarray(indices, np.int64)
        if windows.size and not 0 <= windows.min() <= windows.max() < self.num_windows:
            raise DataError(
                f"window indices {windows.min()} … {windows.max()} do not fit a dataset of "
                f"{self.num_windows} windows; draw them below num_windows."
            )
        return windows

    def _actions(self, flat: FlatEpisodes, places: Places, start: np.ndarray, count: int) -> Tensor:
        """`[B, count, A]` from steps `start` `[B]` on; before an episode those that hold still."""
        found = flat.actions(places, start, count)
        if flat.lead:
            found[before_the_start(start, count)] = self.spec.held_still
        return torch.from_numpy(found)

    def _observations(
        self,
        flat: FlatEpisodes,
        places: Places,
        last: Sequence[np.ndarray],
        views: np.ndarray | None,
    ) -> list[dict[str, Tensor]]:
        """For each `last` `[B]`: key → `[B, history_length, ...]`, that step's observation last."""
        count = self.chunk_spec.history_length
        result = [
            {key: torch.from_numpy(state) for key, state in flat.states(places, at, count).items()}
            for at in last
        ]
        if self._image_keys:
            # In one go, because windows share pieces with what follows them.
            steps = np.maximum(np.stack(last)[:, :, None] + np.arange(1 - count, 1), 0)
            episodes = np.take(flat.store_index, places.episode)[:, None]
            episodes = np.broadcast_to(episodes, steps.shape)
            which = np.zeros(steps.shape[:2], np.int64) if views is None else views[: len(last)]
            for key, seen in self._seen(episodes, steps, which).items():
                for part, batch in zip(result, torch.from_numpy(seen), strict=True):
                    part[key] = batch
        return result

    def _seen(
        self, episodes: np.ndarray, steps: np.ndarray, views: np.ndarray
    ) -> dict[str, np.ndarray]:
        """camera → frames or features of these steps `[observations, B, history_length]`."""
        features = dict(self._features)
        read = [key for key in self._image_keys if key not in features]
        seen = self._frames.frames(read, episodes, steps) if read else {}
        return seen | {
            key: rows_of_views(features[key], episodes, steps, views)
            for key in self._image_keys
            if key in features
        }


def _chosen_cameras(store: EpisodeStore, keys: Sequence[str] | None) -> tuple[str, ...]:
    known = store.spec.image_keys
    if unknown := sorted(set(keys or ()) - set(known)):
        raise DataError(
            f"image_keys names '{unknown[0]}', and '{store.path}' has the cameras "
            f"{', '.join(known) or 'none'}; choose among them."
        )
    return known if keys is None else tuple(keys)
