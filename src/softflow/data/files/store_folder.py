"""The folders of a store, and the names of the episode files in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from softflow.errors import StoreError
from softflow.utils.files import entries_of

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
