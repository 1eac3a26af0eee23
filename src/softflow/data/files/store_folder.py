"""The folders of a store, and the names of the episode files in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from softflow.errors import StoreError
from softflow.utils.files import TEMP_SUFFIX, entries_of, is_there

_EPISODE_NAME = re.compile(r"episode_(\d{6,})\.zarr\.zip$")


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    """What the system refuses while a file or folder is put in its place, as a StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot put '{path}' in its place: {error.strerror or error}; check the disk and the "
            "permissions of its folder, and run the same command again."
        ) from error


def numbers_in(folder: Path) -> list[int]:
    """Numbers of the episode files in a folder."""
    matches = (_EPISODE_NAME.match(entry.name) for entry in entries_of(folder))
    return [int(match.group(1)) for match in matches if match]


def make_folders(path: Path) -> None:
    """The folder of a store, with that of its episodes.

    Raises:
        StoreError: the system refuses.
    """
    try:
        (path / "episodes").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot create the store '{path}' with its folder 'episodes': "
            f"{error.strerror or error}; choose another folder or make it writable."
        ) from error


def require_there(path: Path) -> None:
    """Raise if the folder of a store was moved or deleted since it was opened.

    Raises:
        StoreError: it was.
    """
    if not is_there(path / "store.json"):
        raise StoreError(
            f"the store '{path}' is gone, or was moved away, since it was opened; move it back, or "
            "open it where it is now. Nothing was written."
        )


def leftovers_in(path: Path) -> list[Path]:
    """Temporary files of a store that whoever wrote them has not finished."""
    found = [f for folder in (path, path / "episodes") for f in sorted(entries_of(folder))]
    return [f for f in found if f.name.startswith(".") and f.name.endswith(TEMP_SUFFIX)]


def set_aside(path: Path, file: Path) -> None:
    """Move a file of a store out of the way, beside what was set aside under its name before.

    Raises:
        StoreError: the system refuses.
    """
    folder = path / "set_aside"
    with refusals(file):
        folder.mkdir(exist_ok=True)
        names = (f"{file.name}{suffix}" for suffix in ("", *(f".{i}" for i in range(1, 1000))))
        file.rename(next(folder / name for name in names if not is_there(folder / name)))
