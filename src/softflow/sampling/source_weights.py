"""Which windows a batch takes: all alike, or weighted by where their episodes come from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePath

import numpy as np

from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError, DataError
from softflow.sampling.chunk_dataset import ChunkDataset

UNKNOWN = "unknown"


@dataclass(frozen=True)
class SourceWeights:
    """How often batches draw from each source.

    A row comes from a source with probability weight ÷ sum of weights, however many windows it
    has; inside a source all windows are alike.

    Args:
        weights: source → weight ≥ 0. Every source of the data is named, "unknown" meaning
            episodes without the field. Importers record a path as source: a folder in it, the
            file, or the file without its ending names it too, and so may name many at once.
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

    def names_of(self, store: EpisodeStore, episodes: Iterable[int]) -> list[str]:
        """The weighted name that each of these episodes goes by.

        Raises:
            DataError: a source goes by none or by several; names it and the sources there are.
            StoreError: an episode file is damaged.
        """
        sources = sources_of(store, episodes, self.field)
        named = {source: _matching(source, self.weights) for source in sources}
        if missing := sorted(source for source, names in named.items() if not names):
            raise DataError(
                f"the data '{store.path}' has episodes of {self.field} {_quoted(missing)}, for "
                "which no weight is given; give one, 0 to leave them out."
            )
        if ambiguous := sorted(source for source, names in named.items() if len(names) > 1):
            raise DataError(
                f"the {self.field} '{ambiguous[0]}' of '{store.path}' fits the weights of "
                f"{_quoted(named[ambiguous[0]])}; give names of which only one is in it."
            )
        return [named[source][0] for source in sources]

    def require_fit(self, store: EpisodeStore) -> None:
        """Raise unless every episode of a store has a weight, and every weight above 0 an episode.

        Raises:
            DataError, StoreError: as `names_of`.
        """
        everything = range(len(store))
        _require_present(self, set(self.names_of(store, everything)), store, everything)

    def among(self, dataset: ChunkDataset) -> SourceWeights:
        """The weights for a dataset of some of a store's episodes: those of the sources it has.

        Raises:
            DataError: they are all of weight 0; otherwise as `names_of`.
        """
        names = set(self.names_of(dataset.store, dataset.episode_indices))
        kept = {name: weight for name, weight in self.weights.items() if name in names}
        if names and not any(kept.values()):
            raise DataError(
                f"all episodes to learn from in '{dataset.store.path}' have weight 0: those of "
                f"{self.field} {_quoted(sorted(names))}; give one of them a weight above 0."
            )
        return replace(self, weights=kept) if names else self


class WindowDraws:
    """Draws windows of a dataset that may grow, all alike or weighted; safe in several threads.

    Args:
        dataset: the windows.
        weights: of every source in it; None draws all windows alike.

    Raises:
        DataError: the weights do not fit the sources of the data.
    """

    def __init__(self, dataset: ChunkDataset, weights: SourceWeights | None = None) -> None:
        self._dataset = dataset
        self._weights = weights
        self._weighted: WeightedWindows | None = None
        if weights is not None and dataset.num_windows:
            self._weighted = WeightedWindows(dataset, weights)

    def draw(self, generator: np.random.Generator, count: int) -> np.ndarray:
        """Numbers of `count` windows, with replacement.

        Raises:
            DataError: the dataset grew by a source without a weight.
        """
        weighted = self._now()
        if weighted is None:
            return generator.integers(self._dataset.num_windows, size=count)
        return weighted.draw(generator, count)

    @property
    def num_windows(self) -> int:
        """Windows that may be drawn: those of weight 0 do not count.

        Raises:
            DataError: the dataset grew by a source without a weight.
        """
        weighted = self._now()
        return self._dataset.num_windows if weighted is None else weighted.num_drawable

    def _now(self) -> WeightedWindows | None:
        """The windows by source, as the dataset is now; None if all are alike."""
        if self._weights is None or self._dataset.num_windows == 0:
            return None
        weighted = self._weighted
        if weighted is None or weighted.num_windows != self._dataset.num_windows:
            self._weighted = weighted = WeightedWindows(self._dataset, self._weights)
        return weighted


class WeightedWindows:
    """The windows of a dataset, as it is now, arranged by source.

    Attributes:
        num_windows: all of them; num_drawable: those of sources with a weight above 0.

    Args:
        dataset: the windows.
        weights: of every source in it.

    Raises:
        DataError: a source of the data has no weight, or a weighted source no window; names them.
    """

    def __init__(self, dataset: ChunkDataset, weights: SourceWeights) -> None:
        self.num_windows = dataset.num_windows
        lengths = dataset.episode_windows
        episodes = dataset.episode_indices
        found = weights.names_of(dataset.store, episodes)
        _require_present(weights, set(found), dataset.store, episodes)
        names = sorted(weights.weights)
        numbers = {name: number for number, name in enumerate(names)}
        number = np.array([numbers[name] for name in found], np.int64)
        order = np.argsort(number, kind="stable")
        first = np.cumsum(lengths) - lengths
        # Windows renumbered source after source.
        self._ends = np.cumsum(lengths[order])
        self._shift = first[order] - (self._ends - lengths[order])
        self._counts = np.bincount(number, lengths, minlength=len(names)).astype(np.int64)
        self._firsts = np.cumsum(self._counts) - self._counts
        share = np.array([weights.weights[name] for name in names], np.float64)
        self.num_drawable = int(self._counts[share > 0].sum())
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


def sources_of(store: EpisodeStore, episodes: Iterable[int], field: str) -> list[str]:
    """Where each of these episodes comes from, by a field of its metadata.

    Raises:
        StoreError: an episode file is damaged.
    """
    values = (store.summary(index).metadata.get(field) for index in episodes)
    return [UNKNOWN if value in (None, "") else str(value) for value in values]


def _matching(source: str, names: Collection[str]) -> list[str]:
    """The names that mean this source: the very same, else those that are a part of its path."""
    if source in names:
        return [source]
    path = PurePath(source)
    return sorted(set(names) & {*path.parts, path.stem})


def _require_present(
    weights: SourceWeights, found: set[str], store: EpisodeStore, episodes: Iterable[int]
) -> None:
    """Raise unless every name of a weight above 0 was found among these episodes."""
    weighted = {name for name, weight in weights.weights.items() if weight > 0}
    if unknown := sorted(weighted - found):
        known = sorted(set(sources_of(store, episodes, weights.field)))
        raise DataError(
            f"weights name the {weights.field} {_quoted(unknown)}, of which the data "
            f"'{store.path}' has no episode; it has {_quoted(known)}."
        )


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
