"""Samplers that draw decision windows for each gradient step."""

from __future__ import annotations

import zlib

import numpy as np

from softflow.data.data_spec import require_same_spec
from softflow.errors import ConfigError, DataError
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.mixing import Mixing
from softflow.sampling.source_weights import SourceWeights, WindowDraws


def _generator(seed: int, stream: str, update_step: int) -> np.random.Generator:
    """Randomness as a pure function of its arguments: a resumed run needs no sampler state."""
    return np.random.default_rng([seed, zlib.crc32(stream.encode()), update_step])


def _views(dataset: ChunkDataset, generator: np.random.Generator, count: int) -> np.ndarray | None:
    """Which view of its frames each row shows `[2, count]`; None where there is but one."""
    if dataset.num_views == 1:
        return None
    return generator.integers(dataset.num_views, size=(2, count))


def _require_windows(dataset: ChunkDataset, role: str) -> None:
    if dataset.num_windows == 0:
        raise DataError(
            f"the {role} dataset over '{dataset.store.path}' is empty; collect episodes first "
            "or choose others."
        )


class ChunkSampler:
    """Random windows with replacement; the batch of an update depends on nothing but
    (seed, stream, update_step) and the dataset, so a resumed run sees the same batches. Several
    threads may ask for batches at once.

    Args:
        dataset: the windows; may grow between batches.
        batch_size: B.
        seed: of the run, ≥ 0.
        stream: separates samplers of one run, e.g. "imitation".
        weights: how often to draw from each source of the data; None draws all windows alike.
        with_next: False leaves out what follows each window.

    Raises:
        ConfigError: batch_size is below 1.
        DataError: the weights do not fit the sources of the data.
    """

    def __init__(
        self,
        dataset: ChunkDataset,
        batch_size: int,
        seed: int,
        stream: str,
        weights: SourceWeights | None = None,
        *,
        with_next: bool = True,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it must be ≥ 1.")
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.stream = stream
        self.with_next = with_next
        self._draws = WindowDraws(dataset, weights)

    @property
    def data_version(self) -> int:
        """Changes whenever the dataset grew."""
        return self.dataset.num_windows

    def batch(self, update_step: int) -> ChunkBatch:
        """The batch of this gradient step.

        Raises:
            DataError: the dataset is empty, or grew by a source without a weight.
        """
        _require_windows(self.dataset, self.stream)
        generator = _generator(self.seed, self.stream, update_step)
        windows = self._draws.draw(generator, self.batch_size)
        views = _views(self.dataset, generator, len(windows))
        return self.dataset.gather(windows, with_next=self.with_next, views=views)


class MixtureSampler:
    """Batches of offline and online windows (Sec. IV-D, IV; App. C2), offline rows first.

    Args:
        offline, online: the two datasets; `online` may grow between batches.
        batch_size: B.
        mixing: how many rows are offline.
        seed, stream: as in `ChunkSampler`.
        weights: how often the offline rows come from each source; None draws all windows alike.

    Raises:
        ConfigError: batch_size is below 1, or the datasets have different lengths of a decision.
        DataError: the datasets or the weights do not fit.
    """

    def __init__(
        self,
        offline: ChunkDataset,
        online: ChunkDataset,
        batch_size: int,
        mixing: Mixing,
        seed: int,
        stream: str,
        weights: SourceWeights | None = None,
    ) -> None:
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it must be ≥ 1.")
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
        self.mixing = mixing
        self.seed = seed
        self.stream = stream
        self._draws = (WindowDraws(offline, weights), WindowDraws(online))

    @property
    def data_version(self) -> tuple[int, int]:
        """Changes whenever one of the datasets grew."""
        return self.offline.num_windows, self.online.num_windows

    def batch(self, update_step: int) -> ChunkBatch:
        """The batch of this gradient step, offline rows first.

        Raises:
            DataError: rows are due from an empty dataset, or the data grew by a source without a
                weight.
        """
        generator = _generator(self.seed, self.stream, update_step)
        sizes = (draws.num_windows for draws in self._draws)
        num_offline = self.mixing.num_offline(generator, self.batch_size, *sizes)
        counts = (num_offline, self.batch_size - num_offline)
        parts: list[ChunkBatch] = []
        for dataset, draws, count, role in zip(
            (self.offline, self.online), self._draws, counts, ("offline", "online"), strict=True
        ):
            if count:
                _require_windows(dataset, role)
                windows = draws.draw(generator, count)
                views = _views(dataset, generator, count)
                parts.append(dataset.gather(windows, views=views))
        return ChunkBatch.concatenate(parts)
