"""What every importer offers; `importing` copies it into an episode store."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.errors import DataError

_NUMBERED = re.compile(r".*\.\d+", re.DOTALL)


class Source(Protocol):
    """A foreign dataset, of which one episode at a time is in memory."""

    path: Path
    """The file or folder it is read from."""

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


def joined(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Arrays [T, ...] side by side as float32 [T, n], and a name for each of the n components."""
    columns = [
        array.reshape(len(array), math.prod(array.shape[1:])).astype(np.float32)
        for array in arrays.values()
    ]
    names = [
        name
        for key, column in zip(arrays, columns, strict=True)
        for name in component_names(key, column.shape[1])
    ]
    return np.concatenate(columns, axis=1), tuple(names)


def component_names(key: str, width: int) -> list[str]:
    """What `joined` calls the components of one array: "eef_pos.0", "eef_pos.1"; or "height"."""
    if width == 1 and not _NUMBERED.fullmatch(key):
        return [key]
    return [f"{key}.{component}" for component in range(width)]


def split(state: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The inverse of `joined` for arrays [T, n_i]: state [T, n] cut at `named_parts`."""
    return {key: state[:, columns] for key, columns in named_parts(names).items()}


def named_parts(names: Sequence[str]) -> dict[str, list[int]]:
    """key -> positions of its components, in their order; laid side by side they are all of them.

    "eef_pos.0", "eef_pos.1", "eef_pos.2" in a row are the part "eef_pos"; a name that is in no such
    row is a part of its own.

    Raises:
        DataError: a name is given twice.
    """
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"'{twice[0]}' names more than one component; give each its own name")
    parts = _numbered_rows(names)
    while len({key for key, _ in parts}) < len(parts):
        # A row "height.0", "height.1" beside a lone "height": the row gives way.
        alone = {key for key, row in parts if key == names[row[0]]}
        parts = [
            piece
            for key, row in parts
            for piece in (
                [(names[index], [index]) for index in row] if key in alone else [(key, row)]
            )
        ]
    return dict(parts)


def _numbered_rows(names: Sequence[str]) -> list[tuple[str, list[int]]]:
    """Neighbours "key.0", "key.1", … under their key, every other name alone under its own."""
    rows: list[tuple[str, list[int]]] = []
    for index, name in enumerate(names):
        key, _, number = name.rpartition(".")
        row = rows[-1][1] if rows else []
        if key and row and names[row[0]] == f"{key}.0" and number == str(len(row)):
            row.append(index)
        else:
            rows.append((key if key and number == "0" else name, [index]))
    return rows


def repeated_last(values: np.ndarray) -> np.ndarray:
    """Observations [T, ...] with the last one twice, where nobody recorded the final one."""
    return np.concatenate([values, values[-1:]])


def one_a_step(values: np.ndarray, where: str) -> np.ndarray:
    """[T] of [T] or [T, 1].

    Raises:
        DataError: more values a step: nobody knows which one is meant.
    """
    if values.size != len(values):
        raise DataError(
            f"{where} has shape {values.shape}, one value a step was expected; keep that one in "
            "the file, and leave the others out"
        )
    return values.reshape(len(values))


def require_distinct(keys: Mapping[str, str], where: str) -> None:
    """Raise if two parts of a dataset would become one key of the store.

    Args:
        keys: part -> key.
        where: the dataset.

    Raises:
        DataError: names both.
    """
    taken: dict[str, str] = {}
    for part, key in keys.items():
        if (other := taken.setdefault(key, part)) != part:
            raise DataError(
                f"{where}: '{other}' and '{part}' would both become '{key}'; choose one of them "
                "(--cameras), or rename one in the dataset"
            )


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
