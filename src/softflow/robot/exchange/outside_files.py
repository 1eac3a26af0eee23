"""Files that another machine wrote: which there are, and copies that are what they should be.

A folder that is shared may hold anything: halves of files, links, pipes, a million entries. It is
listed up to a bound, and a file is used only as a local copy whose bytes were counted and hashed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from softflow.errors import StoreError, brief
from softflow.utils.files import written_whole

MAX_ENTRIES = 100_000
"""Of a shared folder; more are an accident or an attack, and no run has as many episodes."""
_PIECE = 1 << 20
_READ_AS_IT_IS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def names_in(folder: Path) -> list[str]:
    """What a folder holds, by name; nothing if it is not there.

    Raises:
        StoreError: the system does not tell, or it holds more than `MAX_ENTRIES`.
    """
    names: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if len(names) == MAX_ENTRIES:
                    raise StoreError(
                        f"'{folder}' holds more than {MAX_ENTRIES:,} files; move what does not "
                        "belong there away"
                    )
                names.append(entry.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"cannot look into '{folder}': {error.strerror or error}") from error
    return sorted(names)


def copied(source: Path, target: Path, most: int) -> str:
    """Copy a file, whole or not at all; gives the SHA-256 of the copy.

    Raises:
        StoreError: it is a link, a pipe, another thing that is no file, longer than `most` bytes,
            or the system refuses to read or write.
    """
    descriptor = _opened(source)
    with os.fdopen(descriptor, "rb") as reader, written_whole(target) as temp:
        digest, left = hashlib.sha256(), most
        with temp.open("wb") as writer:
            while piece := _read(reader.fileno(), source):
                left -= len(piece)
                if left < 0:
                    raise StoreError(f"'{source}' has more than {most:,} bytes")
                digest.update(piece)
                writer.write(piece)
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file as its folder has them; -1 if it is gone, a link, or no file.

    Raises:
        StoreError: the system does not tell.
    """
    try:
        facts = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return -1
    except OSError as error:
        raise StoreError(f"cannot look at '{path}': {error.strerror or error}") from error
    return facts.st_size if stat.S_ISREG(facts.st_mode) else -1


def _opened(path: Path) -> int:
    """A descriptor of a regular file, never of what a link leads to; a pipe is not waited for."""
    try:
        descriptor = os.open(path, _READ_AS_IT_IS)
    except OSError as error:
        raise StoreError(f"cannot read '{path}': {brief(error)}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StoreError(f"'{path}' is not a file; remove it")
    return descriptor


def _read(descriptor: int, path: Path) -> bytes:
    try:
        return os.read(descriptor, _PIECE)
    except OSError as error:
        raise StoreError(f"cannot read '{path}': {error.strerror or error}") from error
