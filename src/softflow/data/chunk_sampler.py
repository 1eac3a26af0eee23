"""Decisions with chunks and prefix as training batches, and samplers that draw them.

At control step t the policy sees the observation and P committed prefix actions a[t : t+P] and
predicts the H actions a[t+P : t+P+H]. It acts for E ≤ H steps, then decides again (Sec. IV-A;
Eq. 7 with P = 0 and E = H).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from softflow.data.episode_store import EpisodeStore
from softflow.data.flat_episodes import FlatEpisodes
from softflow.data.frame_cache import FrameCache
from softflow.data.preprocessing import require_same_spec
from softflow.errors import ConfigError, DataError

DEFAULT_IMAGE_CACHE_BYTES = 512 * 1024**2


@dataclass(frozen=True)
class ChunkSpec:
    """Lengths of a decision, all in control steps.

    Args:
        chunk_length: H, actions in a predicted chunk.
        execution_horizon: E ≤ H, control steps between two decisions.
        prefix_length: P, committed actions given as context.
        history_length: observation steps seen, the current one included.

    Raises:
        ConfigError: a length is out of range.
    """

    chunk_length: int
    execution_horizon: int
    prefix_length: int = 0
    history_length: int = 1

    def __post_init__(self) -> None:
        for name, least in (
            ("chunk_length", 1),
            ("execution_horizon", 1),
            ("prefix_length", 0),
            ("history_length", 1),
        ):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise ConfigError(f"ChunkSpec.{name} is {value!r}; give an integer ≥ {least}.")
        if self.execution_horizon > self.chunk_length:
            raise ConfigError(
                f"ChunkSpec.execution_horizon is {self.execution_horizon}, above chunk_length "
                f"{self.chunk_length}; a policy cannot execute more actions than it predicts."
            )


@dataclass(frozen=True, eq=False)
class ChunkBatch:
    """B decisions. Env units: nothing is normalised. T is the length of the row's episode.

    Args:
        observation: key → `[B, history_length, ...]`, oldest first, padded at the episode's
            start by repeating its first observation.
        prefix_actions: `[B, P, A]`, a[t : t+P]; past the end the last action is repeated.
        actions: `[B, H, A]`, a[t+P : t+P+H]; past the end the last action is repeated.
        step_valid: `[B, H]` bool, that action really lies inside the episode.
        rewards: `[B, E]`, r[t : t+E], zero after the end.
        num_steps: `[B]` int64, control steps until the next decision, min(E, T − t).
        next_observation: like `observation`, at t + num_steps.
        next_prefix_actions: `[B, P, A]`, a[t+num_steps : +P], the last action repeated.
        bootstrap_mask: `[B]` float32, 0 only if the episode terminated at t + num_steps.
        is_offline: `[B]` bool, the row comes from the offline data.
        episode_success: `[B]` bool, the row's episode succeeded.
    """

    observation: dict[str, Tensor]
    prefix_actions: Tensor
    actions: Tensor
    step_valid: Tensor
    rewards: Tensor
    num_steps: Tensor
    next_observation: dict[str, Tensor]
    next_prefix_actions: Tensor
    bootstrap_mask: Tensor
    is_offline: Tensor
    episode_success: Tensor

    @property
    def batch_size(self) -> int:
        """B, the number of rows."""
        return len(self.actions)

    def to(self, device: torch.device | str) -> ChunkBatch:
        """The same batch on `device`."""
        moved: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, dict):
                tensors = cast("dict[str, Tensor]", value)
                moved[item.name] = {key: tensor.to(device) for key, tensor in tensors.items()}
            else:
                moved[item.name] = value.to(device)
        return ChunkBatch(**moved)

    @classmethod
    def concatenate(cls, batches: Sequence[ChunkBatch]) -> ChunkBatch:
        """The rows of all batches, in order.

        Raises:
            DataError: no batches, or batches of different observation keys or row shapes.
        """
        if not batches:
            raise DataError("ChunkBatch.concatenate got no batches; give at least one.")
        joined: dict[str, Any] = {}
        for item in fields(cls):
            values = [getattr(batch, item.name) for batch in batches]
            try:
                if isinstance(values[0], dict):
                    keys = values[0].keys() | {key for value in values for key in value}
                    joined[item.name] = {
                        key: torch.cat([v[key] for v in values]) for key in sorted(keys)
                    }
                else:
                    joined[item.name] = torch.cat(values)
            except (KeyError, RuntimeError) as error:
                raise DataError(
                    f"ChunkBatch.concatenate: '{item.name}' does not fit together ({error}); "
                    "the datasets need the same observations, actions and ChunkSpec."
                ) from error
        return cls(**joined)


class ChunkDataset:
    """Every decision window (t in 0 … T−1) of chosen episodes of a store.

    States, actions and rewards are read once and kept in RAM as float32; images are read on
    demand through a cache of at most `image_cache_bytes` decoded bytes. Windows are numbered
    in the order their episodes were added, so growing a dataset or building it at once with the
    same episodes gives the same numbering.

    Args:
        store: where the episodes are.
        chunk_spec: lengths of a decision.
        episodes: indices into the store; all of them when None.
        offline: what `is_offline` says of these rows.
        with_images: whether batches hold the cameras too.
        image_cache_bytes: bound of the decoded-image cache; unused without images.
    """

    def __init__(
        self,
        store: EpisodeStore,
        chunk_spec: ChunkSpec,
        *,
        episodes: Sequence[int] | None = None,
        offline: bool = True,
        with_images: bool = True,
        image_cache_bytes: int = DEFAULT_IMAGE_CACHE_BYTES,
    ) -> None:
        self.store = store
        self.chunk_spec = chunk_spec
        self.offline = offline
        self._image_keys = store.spec.image_keys if with_images else ()
        self._flat = FlatEpisodes(store.spec)
        self._frames = FrameCache(store, image_cache_bytes)
        self.add_episodes(range(len(store)) if episodes is None else episodes)

    @property
    def num_windows(self) -> int:
        """Number of decision windows: the summed length of all episodes."""
        return len(self._flat.window_step)

    @property
    def num_episodes(self) -> int:
        """Number of episodes added so far."""
        return len(self._flat.length)

    @property
    def episode_indices(self) -> tuple[int, ...]:
        """Store indices of the episodes, in the order they were added."""
        return tuple(self._flat.store_index.tolist())

    @property
    def cached_image_bytes(self) -> int:
        """Decoded image bytes held at the moment."""
        return self._frames.num_bytes

    def add_episodes(self, indices: Iterable[int]) -> None:
        """Read more episodes of the store; each adds its T windows behind the present ones.

        Raises:
            StoreError: an episode is missing or damaged; nothing is added then.
        """
        self._flat.add(self.store, list(indices))

    def add_new_episodes(self) -> int:
        """Add every episode appended to the store behind the last one added here.

        Returns:
            How many were added.
        """
        self.store.refresh()
        new = range(max(self.episode_indices, default=-1) + 1, len(self.store))
        self.add_episodes(new)
        return len(new)

    def gather(self, window_indices: np.ndarray) -> ChunkBatch:
        """The batch of these windows, one row each; see `ChunkBatch` for shapes.

        Args:
            window_indices: `[B]` integers in 0 … num_windows − 1.

        Raises:
            DataError: an index is out of range.
        """
        windows = np.asarray(window_indices, np.int64)
        if windows.size and not 0 <= windows.min() <= windows.max() < self.num_windows:
            raise DataError(
                f"window indices {windows.min()} … {windows.max()} do not fit a dataset of "
                f"{self.num_windows} windows; draw them below num_windows."
            )
        flat, spec = self._flat, self.chunk_spec
        episode, step = flat.window_episode[windows], flat.window_step[windows]
        length = flat.length[episode]
        chunk_start = step + spec.prefix_length
        num_steps = np.minimum(spec.execution_horizon, length - step)
        next_step = step + num_steps
        stops = flat.terminated[episode] & (next_step == length)
        in_chunk = chunk_start[:, None] + np.arange(spec.chunk_length) < length[:, None]
        return ChunkBatch(
            observation=self._observations(episode, step),
            prefix_actions=torch.from_numpy(flat.actions(episode, step, spec.prefix_length)),
            actions=torch.from_numpy(flat.actions(episode, chunk_start, spec.chunk_length)),
            step_valid=torch.from_numpy(in_chunk),
            rewards=torch.from_numpy(flat.rewards(episode, step, spec.execution_horizon)),
            num_steps=torch.from_numpy(num_steps),
            next_observation=self._observations(episode, next_step),
            next_prefix_actions=torch.from_numpy(
                flat.actions(episode, next_step, spec.prefix_length)
            ),
            bootstrap_mask=torch.from_numpy(np.where(stops, np.float32(0), np.float32(1))),
            is_offline=torch.full((len(windows),), self.offline, dtype=torch.bool),
            episode_success=torch.from_numpy(flat.success[episode]),
        )

    def _observations(self, episode: np.ndarray, step: np.ndarray) -> dict[str, Tensor]:
        """key → `[B, history_length, ...]`, the observation at `step` last."""
        steps = np.maximum(step[:, None] + np.arange(1 - self.chunk_spec.history_length, 1), 0)
        rows = self._flat.observation_rows(episode, steps)
        result = {
            key: torch.from_numpy(np.take(state, rows, axis=0))
            for key, state in self._flat.states.items()
        }
        if self._image_keys:
            result |= self._images(np.broadcast_to(episode[:, None], rows.shape), steps, rows)
        return result

    def _images(
        self, episode: np.ndarray, steps: np.ndarray, rows: np.ndarray
    ) -> dict[str, Tensor]:
        """Each distinct frame is fetched once, in storage order, then spread over the rows."""
        _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
        episodes = self._flat.store_index[episode.ravel()[first]]
        images: dict[str, Tensor] = {}
        for key in self._image_keys:
            frames = self._frames.frames(key, episodes, steps.ravel()[first])
            images[key] = torch.from_numpy(frames[inverse.reshape(rows.shape)])
        return images


def _generator(seed: int, stream: str, update_step: int) -> np.random.Generator:
    """Randomness as a pure function of its arguments: a resumed run needs no sampler state."""
    return np.random.default_rng([seed, zlib.crc32(stream.encode()), update_step])


def _require_windows(dataset: ChunkDataset, role: str) -> None:
    if dataset.num_windows == 0:
        raise DataError(
            f"the {role} dataset over '{dataset.store.path}' is empty; collect episodes first "
            "or choose others."
        )


class ChunkSampler:
    """Uniform windows with replacement; the batch of an update depends on nothing but
    (seed, stream, update_step) and the dataset, so a resumed run sees the same batches.

    Args:
        dataset: the windows; may grow between batches.
        batch_size: B.
        seed: of the run, ≥ 0.
        stream: separates samplers of one run, e.g. "imitation".
    """

    def __init__(self, dataset: ChunkDataset, batch_size: int, seed: int, stream: str) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it must be ≥ 1.")
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.stream = stream

    def batch(self, update_step: int) -> ChunkBatch:
        """The batch of this gradient step.

        Raises:
            DataError: the dataset is empty.
        """
        _require_windows(self.dataset, self.stream)
        generator = _generator(self.seed, self.stream, update_step)
        return self.dataset.gather(
            generator.integers(self.dataset.num_windows, size=self.batch_size)
        )


class MixtureSampler:
    """Batches of offline and online windows (Sec. IV-D: ρ, 0.5 in App. C2).

    The first round(offline_ratio · B) rows are offline, the rest online; while there is no
    online window, all rows are offline.

    Args:
        offline, online: the two datasets; `online` may grow between batches.
        batch_size: B.
        offline_ratio: ρ in [0, 1].
        seed, stream: as in `ChunkSampler`.
    """

    def __init__(
        self,
        offline: ChunkDataset,
        online: ChunkDataset,
        batch_size: int,
        offline_ratio: float,
        seed: int,
        stream: str,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it must be ≥ 1.")
        if not 0.0 <= offline_ratio <= 1.0:
            raise ConfigError(f"offline_ratio is {offline_ratio}; it must lie in [0, 1].")
        if offline.chunk_spec != online.chunk_spec:
            raise ConfigError(
                f"the offline dataset uses {offline.chunk_spec}, the online one "
                f"{online.chunk_spec}; give both the same ChunkSpec."
            )
        require_same_spec(
            offline.store.spec,
            online.store.spec,
            f"the offline data '{offline.store.path}'",
            f"the online data '{online.store.path}'",
        )
        self.offline = offline
        self.online = online
        self.batch_size = batch_size
        self.offline_ratio = offline_ratio
        self.seed = seed
        self.stream = stream

    @property
    def num_offline(self) -> int:
        """Offline rows in the next batch."""
        if self.online.num_windows == 0:
            return self.batch_size
        return round(self.offline_ratio * self.batch_size)

    def batch(self, update_step: int) -> ChunkBatch:
        """The batch of this gradient step, offline rows first.

        Raises:
            DataError: rows are due from an empty dataset.
        """
        generator = _generator(self.seed, self.stream, update_step)
        counts = (self.num_offline, self.batch_size - self.num_offline)
        parts: list[ChunkBatch] = []
        for dataset, count, role in zip(
            (self.offline, self.online), counts, ("offline", "online"), strict=True
        ):
            if count:
                _require_windows(dataset, role)
                parts.append(dataset.gather(generator.integers(dataset.num_windows, size=count)))
        return ChunkBatch.concatenate(parts)
