"""Which windows a batch takes: all alike, or weighted by where their episodes come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from softflow.data.chunk_dataset import ChunkDataset
from softflow.errors import ConfigError, DataError

UNKNOWN = "unknown"


@dataclass(frozen=True)
class SourceWeights:
    """How often batches draw from each source.

    A row comes from a source with probability weight ÷ sum of weights, however many windows it
    has; inside a source all windows are alike.

    Args:
        weights: source → weight ≥ 0. Every source of the data is named, "unknown" meaning
            episodes without the field.
        field: of the episodes' metadata, that tells their source, for example "operator".

    Raises:
        ConfigError: a weight is negative or not finite, or all are zero.
    """

    weights: Mapping[str, float]
    field: str = "source"

    def __post_init__(self) -> None:
        for source, weight in self.weights.items():
            if not (np.isfinite(weight) and weight >= 0):
                raise ConfigError(f"weight of source '{source}' is {weight}; give a number ≥ 0.")
        if not any(self.weights.values()):
            raise ConfigError(f"weights are {dict(self.weights)}; give at least one above 0.")


class WeightedWindows:
    """The windows of a dataset, as it is now, arranged by source.

    Args:
        dataset: the windows.
        weights: of every source in it.

    Raises:
        DataError: a source of the data has no weight, or a weighted source no window; names them.
    """

    def __init__(self, dataset: ChunkDataset, weights: SourceWeights) -> None:
        self.num_windows = dataset.num_windows
        lengths = dataset.episode_lengths
        sources = sources_of(dataset, weights.field)
        _require_same_names(sources, weights, str(dataset.store.path))
        names = sorted(weights.weights)
        numbers = {name: number for number, name in enumerate(names)}
        number = np.array([numbers[source] for source in sources], np.int64)
        order = np.argsort(number, kind="stable")
        first = np.cumsum(lengths) - lengths
        # Windows renumbered source after source.
        self._ends = np.cumsum(lengths[order])
        self._shift = first[order] - (self._ends - lengths[order])
        self._counts = np.bincount(number, lengths, minlength=len(names)).astype(np.int64)
        self._firsts = np.cumsum(self._counts) - self._counts
        share = np.array([weights.weights[name] for name in names], np.float64)
        self._share_ends = np.cumsum(share / share.sum())
        # Rounding must not leave a gap at the top, nor give it to a source of weight zero.
        self._share_ends[self._share_ends >= self._share_ends[-1]] = 1.0

    def draw(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Numbers of `count` windows, with replacement."""
        source = np.searchsorted(self._share_ends, generator.random(count), side="right")
        within = generator.integers(self._counts[source])
        renumbered = self._firsts[source] + within
        episode = np.searchsorted(self._ends, renumbered, side="right")
        return renumbered + self._shift[episode]


def sources_of(dataset: ChunkDataset, field: str) -> list[str]:
    """Where each episode of a dataset comes from, by a field of its metadata.

    Raises:
        StoreError: an episode file is damaged.
    """
    summaries = (dataset.store.summary(index) for index in dataset.episode_indices)
    return [str(summary.metadata.get(field, UNKNOWN)) for summary in summaries]


def _require_same_names(sources: list[str], weights: SourceWeights, where: str) -> None:
    known, weighted = set(sources), {s for s, weight in weights.weights.items() if weight > 0}
    if missing := sorted(known - set(weights.weights)):
        raise DataError(
            f"the data '{where}' has episodes of {weights.field} {_quoted(missing)}, for which no "
            "weight is given; give one, 0 to leave them out."
        )
    if unknown := sorted(weighted - known):
        raise DataError(
            f"weights name the {weights.field} {_quoted(unknown)}, of which the data '{where}' has "
            f"no episode; it has {_quoted(sorted(known))}."
        )


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
