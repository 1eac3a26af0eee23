"""HDF5 files read with errors that name the file and the place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np

from softflow.errors import DataError

Result = TypeVar("Result")
DAMAGE = (OSError, RuntimeError, KeyError, ValueError)
"""h5py tells of a damaged place in a file with any of these."""


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, open for reading; whatever damage makes h5py raise in the block becomes one error.

    Raises:
        DataError: missing, a folder, not HDF5, cut short, or damaged.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; give an HDF5 file")
    if not path.is_file():
        raise DataError(f"there is no file {path}; check the path")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except DAMAGE as error:
        raise DataError(
            f"cannot read {path}: {error}; it is damaged, cut short or no HDF5 file, copy or "
            "download it again"
        ) from error


def usable(names: Sequence[str], read: Callable[[str], Result]) -> Iterator[Result]:
    """What `read` gives of every name, but for those parts of a file that are damaged.

    For what is looked for in all episodes before one is read: whoever reads a damaged one is told.

    Raises:
        DataError: the first error, if there is nothing else.
    """
    first_error: Exception | None = None
    found = False
    for name in names:
        try:
            result = read(name)
        except (DataError, *DAMAGE) as error:
            first_error = first_error or error
            continue
        found = True
        yield result
    if first_error is not None and not found:
        raise first_error


def member_group(parent: h5py.Group, name: str, fix: str) -> h5py.Group:
    """A group below `parent`.

    Raises:
        DataError: there is none; `fix` says what to do.
    """
    node = parent.get(name)
    if not isinstance(node, h5py.Group):
        raise DataError(
            f"{place_of(parent)} has no group '{name}' (it has {sorted(parent)[:9]}); {fix}"
        )
    return node


def member_array(parent: h5py.Group, name: str, fix: str) -> h5py.Dataset:
    """An array of numbers below `parent`, not read yet.

    Raises:
        DataError: there is none, or it holds something else; `fix` says what to do.
    """
    node = parent.get(name)
    if not isinstance(node, h5py.Dataset):
        raise DataError(
            f"{place_of(parent)} has no array '{name}' (it has {sorted(parent)[:9]}); {fix}"
        )
    if node.dtype.kind not in "biuf" or node.ndim == 0:
        raise DataError(
            f"{place_of(node)} is {node.dtype} of shape {node.shape}, not numbers over time; {fix}"
        )
    return node


def place_of(node: h5py.Group | h5py.Dataset) -> str:
    """The file and the path in it, for messages."""
    return f"{node.file.filename}, {node.name}"


def json_attributes(node: h5py.Group) -> dict[str, Any]:
    """The attributes of a group as JSON-able values: text, numbers, lists."""
    return {name: _plain(value) for name, value in node.attrs.items()}


def as_text(value: object) -> str:
    """A string as h5py gives it, bytes or not."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | str):
        return as_text(value)
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return value if isinstance(value, bool | int | float) else str(value)
