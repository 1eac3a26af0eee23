"""Folders of what can be made again from the episodes: where they are, one writer, checksums."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

from softflow.data.episode_store import EpisodeStore
from softflow.errors import StoreError

LOCK = "lock"
LARGEST_SHARE = 0.9
"""Of the free space of a disk, that a cache may fill."""
_BLOCK_BYTES = 1 << 20


class CacheRefusedError(StoreError):
    """The cache is needed but cannot be written: read-only folder, full disk, no locks."""


def cache_folder_of(store: EpisodeStore, cache_folder: Path | None, name: str = "cache") -> Path:
    """Where a cache of a store is: `name` beside the episodes, or in a given folder.

    There, each store has folders of its own.
    """
    if cache_folder is None:
        return store.path / name
    path = store.path.resolve()
    suffix = "" if name == "cache" else f"-{name}"
    return cache_folder / f"{path.name}-{zlib.crc32(str(path).encode()):08x}{suffix}"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[CacheRefusedError | None]:
    """Hold a folder's lock, made if it is not there; yields why not, where it cannot be written.

    Other processes wait meanwhile; a killed one holds it no more. A folder that nobody can write to
    is read without a lock: nobody removes what is in it.
    """
    refusal: CacheRefusedError | None = None
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context((folder / LOCK).open("ab"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            refusal = refused(folder, error)
        yield refusal


def refused(folder: Path, error: OSError) -> CacheRefusedError:
    """The error that says which folder the system refuses to write, and what to do."""
    return CacheRefusedError(
        f"cannot write the cache '{folder}': {error.strerror or error}; give cache_folder= another "
        "folder, on a local disk with space left"
    )


def require_space(folder: Path, num_bytes: int) -> None:
    """Raise before a disk is full, instead of when it is.

    Raises:
        CacheRefusedError: what is to be written would leave less than a tenth of what is free now.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if num_bytes > LARGEST_SHARE * free:
        raise CacheRefusedError(
            f"the cache '{folder}' needs {num_bytes / 1e9:,.1f} GB more, and {free / 1e9:,.1f} GB "
            "are free there; give cache_folder= another folder, on a local disk with more space"
        )


def crc32_of(path: Path, num_bytes: int | None = None) -> int:
    """CRC-32 of a file's content, or of its first bytes; 1 MiB of it in RAM at a time."""
    crc32, left = 0, path.stat().st_size if num_bytes is None else num_bytes
    with path.open("rb", buffering=0) as file:
        while left > 0 and (block := file.read(min(left, _BLOCK_BYTES))):
            crc32, left = zlib.crc32(block, crc32), left - len(block)
    return crc32
