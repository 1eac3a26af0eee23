"""What a failed reading of an episode file proves: that the file is damaged, or nothing about it.

Only a damaged file may be set aside. Damage is proven by the bytes themselves, read once more and
whole: they are no zip file, an entry does not match its CRC-32, or all entries match and hold
something else than an episode. Whatever the system refuses (memory, time, a server that is away,
threads) proves nothing, and the file stays where it is.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from softflow.data.files.limits import EPISODE_LIMIT_VARIABLE, GIB, episode_bytes
from softflow.errors import StoreError, brief, causes
from softflow.utils.files import require_regular

Result = TypeVar("Result")

_MISFITS = (
    *(LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError),
    struct.error,
)
"""What whole bytes of another content make json, msgspec and numcodecs raise, among much else."""


class DamagedEpisodeError(StoreError):
    """An episode file is incomplete or its content does not match its checksums."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever reading an episode file raises into a StoreError that names it.

    Raises:
        DamagedEpisodeError: the file is damaged, which its bytes prove.
        StoreError: it is gone, no regular file, or cannot be read at the moment.
    """
    require_regular(path)
    try:
        yield
    except StoreError:
        raise
    # A damaged zip surfaces as almost any exception: BadZipFile, KeyError, struct.error, …
    except Exception as error:
        raise _verdict(path, error) from error


def damaged(path: Path, what: str) -> DamagedEpisodeError:
    """The error that says what is wrong with an episode file, and what to do."""
    return DamagedEpisodeError(
        f"episode file '{path}' is damaged ({what}); copy it again from the machine that recorded "
        "it, or go on without it: `softflow data filter STORE OUT --drop-invalid` copies the "
        "episodes that are whole."
    )


def read_with(path: Path, read: Callable[[zipfile.ZipFile], Result]) -> Result:
    """What a function reads in an episode file.

    If it fails, it reads once more, in the file's bytes: then nothing but they can be the reason.

    Raises:
        DamagedEpisodeError: the file is damaged, which its bytes prove.
        StoreError: it is gone, no regular file, or cannot be read at the moment.
    """
    require_regular(path)
    try:
        with zipfile.ZipFile(path) as archive:
            return read(archive)
    except Exception as error:
        if isinstance(error, StoreError) and not isinstance(error, DamagedEpisodeError):
            raise
    try:
        with zipfile.ZipFile(io.BytesIO(_content(path))) as archive:
            return read(archive)
    except StoreError:
        raise
    except Exception as error:
        if _refusal(error):
            raise _undecided(path, error) from error
        raise damaged(path, brief(error)) from error


def _verdict(path: Path, error: Exception) -> StoreError:
    """Which error it is that reading a part of a file ran into."""
    try:
        with zipfile.ZipFile(io.BytesIO(_content(path))) as archive:
            # Declared sizes of what softflow did not write may be anything.
            ours = all(entry.compress_type == zipfile.ZIP_STORED for entry in archive.infolist())
            if ours and (bad := archive.testzip()):
                return damaged(path, f"checksum of '{bad}' does not match")
    except StoreError as proven:
        return proven
    except Exception as flaw:
        if _refusal(flaw):
            return _undecided(path, flaw)
        return damaged(path, brief(flaw))
    if all(isinstance(cause, _MISFITS) for cause in causes(error)) and not _refusal(error):
        return damaged(path, brief(error))
    return _undecided(path, error)


def _content(path: Path) -> bytes:
    """The bytes of an episode file.

    Raises:
        DamagedEpisodeError: they do not end as a zip file does.
        StoreError: the file is gone, or cannot be read at the moment.
    """
    try:
        if (size := path.stat().st_size) > (limit := episode_bytes()):
            raise StoreError(
                f"episode file '{path}' has {size:,} bytes; at most {limit:,} are read of one. If "
                f"it is whole, set {EPISODE_LIMIT_VARIABLE}={math.ceil(size / GIB)}"
            )
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise StoreError(
            f"episode file '{path}' is gone; copy it back, or open the store again to go on "
            "without it."
        ) from error
    except (OSError, MemoryError) as error:
        raise _undecided(path, error) from error
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise damaged(path, f"{len(content):,} bytes that do not end as a zip file does")
    return content


def _undecided(path: Path, error: Exception) -> StoreError:
    """The error for a file that could not be read, though it may be whole."""
    refused = _refusal(error)
    if isinstance(refused, MemoryError):
        what, fix = "not enough memory", "close other programs"
    elif refused is not None:
        what, fix = refused.strerror, "check permissions, open files and the disk"
    else:
        what, fix = brief(error), "append it to a store again"
    return StoreError(
        f"cannot read episode file '{path}': {what}; {fix}, then run the same command again. The "
        "file stays as it is."
    )


def _refusal(error: Exception) -> OSError | MemoryError | None:
    """What the system refused, if that is behind an error; other OSErrors carry no number."""
    for cause in causes(error):
        if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno):
            return cause
    return None
