"""What every importer offers, and the one loop that copies it into an episode store."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from softflow.data.batch import DataSpec, Episode
from softflow.data.episode_store import EpisodeStore
from softflow.errors import DataError
from softflow.progress import ProgressReporter

IMPORTED = "imported"
"""Metadata key that says which episode of which file this one was."""


class Source(Protocol):
    """A foreign dataset, of which one episode at a time is in memory."""

    @property
    def spec(self) -> DataSpec:
        """What its episodes hold."""
        ...

    def episodes(self) -> list[str]:
        """The names of its episodes, in the order in which they are to be imported."""
        ...

    def read(self, name: str) -> Episode:
        """One of them; a DataError names the file, the place, and the fix."""
        ...


def import_into(source: Source, store_path: Path, progress: ProgressReporter) -> int:
    """Copy what is not there yet into a store, new or existing; an interrupted import goes on.

    Returns:
        How many episodes were imported now.

    Raises:
        DataError: the store holds data of another kind, or an episode is unusable.
    """
    names = source.episodes()
    with EpisodeStore.open_or_create(store_path, source.spec) as store:
        there = {summary.metadata.get(IMPORTED) for summary in store.summaries()}
        missing = [name for name in names if name not in there]
        progress.begin("import", len(names), len(names) - len(missing))
        for done, name in enumerate(missing, len(names) - len(missing) + 1):
            episode = source.read(name)
            episode.metadata[IMPORTED] = name
            store.append(episode)
            progress.advance(done, name)
    return len(missing)


def joined(arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Arrays [T, n_i] side by side as float32 [T, sum n_i], and a name for each component."""
    columns = [array.reshape(len(array), -1).astype(np.float32) for array in arrays.values()]
    names = [
        f"{key}.{component}" if column.shape[1] > 1 else key
        for key, column in zip(arrays, columns, strict=True)
        for component in range(column.shape[1])
    ]
    return np.concatenate(columns, axis=1), tuple(names)


def split(state: np.ndarray, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The inverse of `joined`: [T, n] by the part of each name before its last dot."""
    parts: dict[str, list[int]] = {}
    for index, name in enumerate(names):
        stem, dot, number = name.rpartition(".")
        key = stem if dot and number.isdigit() else name
        parts.setdefault(key, []).append(index)
    return {key: state[:, columns] for key, columns in parts.items()}


def repeated_last(values: np.ndarray) -> np.ndarray:
    """Observations [T, ...] with the last one twice, where nobody recorded the final one."""
    return np.concatenate([values, values[-1:]])


def require_equal_lengths(lengths: dict[str, int], where: str) -> int:
    """The one length of the arrays of an episode.

    Raises:
        DataError: they differ; names each.
    """
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"'{key}' {length}" for key, length in lengths.items())
        raise DataError(
            f"{where}: arrays of different lengths ({told}); the recording was cut short or mixed "
            "up, leave this episode out or repair it"
        )
    return next(iter(lengths.values()))
