"""Numbers that describe a dataset, gathered in one pass with one episode in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from softflow.curation.components import REWARD, component_name, component_sizes, rows_of
from softflow.curation.row_sample import RowSample, sample_rows
from softflow.data.data_spec import DataSpec, is_image_key
from softflow.data.episode import Episode

QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)
CHANNELS = ("red", "green", "blue")


@dataclass(frozen=True)
class KeyStatistics:
    """One array over all episodes; every number has shape `[components]`.

    Args:
        key: observation, "action" or "next.reward"; of a camera the components are its colours.
        names: what the components are called, or their numbers.
        count: rows (of a camera: pixels) seen.
        low, high, mean, std: smallest, largest, mean, and standard deviation over all rows.
        quantiles: `[len(QUANTILES), components]`.
        exact_quantiles: whether they are of all rows, not of a sample.
    """

    key: str
    names: tuple[str, ...]
    count: int
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    quantiles: np.ndarray
    exact_quantiles: bool


class RowStatistics:
    """Minimum, maximum, mean, spread and quantiles of rows `[n, components]` that arrive in parts.

    Mean and variance are combined part by part (Chan et al. 1979), which stays exact where a sum of
    squares cancels.
    """

    def __init__(self, components: int) -> None:
        self.count = 0
        self.low = np.full(components, np.inf)
        self.high = np.full(components, -np.inf)
        self.mean = np.zeros(components)
        self._squares = np.zeros(components)
        self._sample = RowSample(sample_rows(components))

    def add(self, rows: np.ndarray) -> None:
        """More rows, at least one."""
        self._sample.add(rows)
        rows = rows.astype(np.float64)
        count, mean = len(rows), rows.mean(axis=0)
        self.low = np.minimum(self.low, rows.min(axis=0))
        self.high = np.maximum(self.high, rows.max(axis=0))
        total = self.count + count
        # Infinity in the data makes the numbers of its component NaN, which is said there.
        with np.errstate(invalid="ignore"):
            apart = mean - self.mean
            squares = ((rows - mean) ** 2).sum(axis=0)
            self._squares += squares + apart**2 * self.count * count / total
            self.mean = self.mean + apart * count / total
        self.count = total

    def result(self, key: str, names: tuple[str, ...]) -> KeyStatistics:
        """The statistics of all rows so far, at least one."""
        with np.errstate(invalid="ignore"):
            quantiles = np.quantile(self._sample.rows.astype(np.float64), QUANTILES, axis=0)
        std = np.sqrt(self._squares / self.count)
        numbers = (self.low, self.high, self.mean, std, quantiles)
        return KeyStatistics(key, names, self.count, *numbers, self._sample.exact)


class FrameStatistics:
    """The same of camera frames, exactly: how often each of the 256 values occurs per colour."""

    def __init__(self) -> None:
        self._counts = np.zeros((3, 256), np.int64)

    def add(self, frames: np.ndarray) -> None:
        """More frames, uint8 `[n, height, width, 3]`."""
        for channel in range(3):
            values = frames[..., channel].reshape(-1)
            self._counts[channel] += np.bincount(values, minlength=256)

    def result(self, key: str) -> KeyStatistics:
        """The statistics of all frames so far, at least one."""
        values = np.arange(256)
        columns = [self._one(counts, values) for counts in self._counts]
        low, high, mean, std = (np.array([c[i] for c in columns]) for i in range(4))
        quantiles = np.stack([c[4] for c in columns], axis=1)
        count = int(self._counts[0].sum())
        return KeyStatistics(key, CHANNELS, count, low, high, mean, std, quantiles, True)

    @staticmethod
    def _one(
        counts: np.ndarray, values: np.ndarray
    ) -> tuple[float, float, float, float, np.ndarray]:
        present = values[counts > 0]
        mean = float(np.average(values, weights=counts))
        std = float(np.sqrt(np.average((values - mean) ** 2, weights=counts)))
        ranks = np.asarray(QUANTILES) * (counts.sum() - 1)
        below = np.searchsorted(np.cumsum(counts), np.floor(ranks), side="right")
        above = np.searchsorted(np.cumsum(counts), np.ceil(ranks), side="right")
        quantiles = below + (above - below) * (ranks - np.floor(ranks))
        return float(present[0]), float(present[-1]), mean, std, quantiles


def key_statistics(
    episodes: Iterable[Episode], spec: DataSpec, with_images: bool = False
) -> list[KeyStatistics]:
    """Statistics of every array, states first, then action, reward and, if asked for, cameras.

    Args:
        episodes: read once, one at a time; the final observation counts like the others.
        spec: what they hold.
        with_images: also of the cameras the episodes come with.

    Returns:
        Empty if there was no episode.
    """
    sizes = component_sizes(spec) | {REWARD: 1}
    rows = {key: RowStatistics(size) for key, size in sizes.items()}
    frames = {key: FrameStatistics() for key in spec.image_keys if with_images}
    for episode in episodes:
        for key, statistics in rows.items():
            statistics.add(rows_of(episode, key))
        for key, statistics in frames.items():
            statistics.add(episode.observations[key])
    if not rows[REWARD].count:
        return []
    numbers = [s.result(key, component_names(spec, key)) for key, s in rows.items()]
    return numbers + [s.result(key) for key, s in frames.items()]


def component_names(spec: DataSpec, key: str) -> tuple[str, ...]:
    """What each component of an array is called; its number where it has no name."""
    if is_image_key(key):
        return CHANNELS
    size = (component_sizes(spec) | {REWARD: 1})[key]
    return tuple(component_name(spec, key, i) or str(i) for i in range(size))
