"""Files written whole or not at all, and read back with errors that name them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from softflow.errors import DataError, StoreError, brief
from softflow.utils.documents import MAX_DOCUMENT_BYTES, parse_json

TEMP_SUFFIX = ".tmp"


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a temporary path in the same folder; once the block wrote it, it becomes `path`.

    The content is flushed to the disk before the rename, and the rename before returning, so a
    crash or power cut at any moment leaves the old file, or the new one, complete. If the block
    raises, the temporary file is removed and `path` is as before.

    Raises:
        StoreError: the system refused (disk full, no permission, …).
    """
    path = Path(path)
    temp = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMP_SUFFIX}")
    try:
        yield temp
        sync_to_disk(temp)
        temp.replace(path)
        sync_to_disk(path.parent)
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        temp.unlink(missing_ok=True)


def sync_to_disk(path: Path) -> None:
    """Flush a file's content, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network folders cannot flush a folder's entries; their server does it when it likes.
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.ENOTSUP)):
            raise
    finally:
        os.close(descriptor)


def write_bytes(path: str | os.PathLike[str], payload: bytes) -> None:
    """Write `payload` to `path`, whole or not at all.

    Raises:
        StoreError: the system refused (disk full, no permission, …); `path` is as before.
    """
    with written_whole(path) as temp:
        temp.write_bytes(payload)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write `value` as indented JSON, whole or not at all.

    Raises:
        StoreError: the system refused, or the value has no JSON form (NaN included).
    """
    try:
        text = json.dumps(value, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise StoreError(
            f"cannot write '{path}': the value has no JSON form ({error}); use plain str, int, "
            "finite float, bool, list and dict."
        ) from error
    write_bytes(path, (text + "\n").encode())


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value of a JSON file.

    Raises:
        StoreError: the file is missing, unreadable, damaged, or beyond the bounds of
            `softflow.utils.documents`.
    """
    return read_json_bytes(Path(path))[0]


def read_object(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        StoreError: as `read_json`, or it holds something else.
    """
    value = read_json(path)
    if not isinstance(value, dict):
        raise StoreError(
            f"'{path}' is damaged: it holds a {type(value).__name__}, expected a JSON object; "
            "restore it from a copy, or delete it and run the command that wrote it again."
        )
    return value


def read_json_bytes(path: Path) -> tuple[Any, bytes]:
    """The value of a JSON file, and its text; raises as `read_json`."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_DOCUMENT_BYTES + 1)
        return parse_json(content), content
    except OSError as error:
        raise StoreError(f"cannot read '{path}': {error.strerror}; check the path.") from error
    except MemoryError as error:
        raise StoreError(
            f"'{path}' needs more memory than there is; it is damaged, or close other programs"
        ) from error
    except ValueError as error:
        raise StoreError(
            f"'{path}' is damaged: it is not JSON ({error}); restore it from a copy, or delete "
            "it and run the command that wrote it again."
        ) from error


def inside(folder: Path, name: str | os.PathLike[str]) -> Path:
    """The path that a file of a stranger names relative to its folder; see `require_inside`."""
    require_inside(folder, folder / name)
    return folder / name


def require_inside(folder: Path, path: Path) -> None:
    """Raise unless a path lies in a folder, wherever links on the way lead.

    Downloads of the Hugging Face cache are links to blobs beside them; those count as inside.

    Raises:
        DataError: it leads out of the folder, or nowhere.
    """
    told = str(path).removeprefix(f"{folder}{os.sep}")
    try:
        root, target = folder.resolve(), path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"'{folder}' names a file {told!r:.200}: {brief(error)}") from error
    roots = [root]
    if root.parent.name == "snapshots":
        roots.append(root.parent.parent / "blobs")
    if not any(target.is_relative_to(allowed) for allowed in roots):
        raise DataError(
            f"'{folder}' names a file outside of itself, {told!r:.200}, which softflow does not "
            "open; copy it into the folder, and name it there"
        )


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file's content.

    Raises:
        StoreError: the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(f"cannot read '{path}': {error.strerror}; check the path.") from error


def _write_error(path: Path, error: OSError) -> StoreError:
    """What was refused, where, and what to do about it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        free_mib = shutil.disk_usage(path.parent).free / 1024**2
        fix = (
            f"{free_mib:.1f} MiB were left; free some space on that disk and run the same command "
            "again"
        )
    elif error.errno == errno.EFBIG:
        fix = "the file-size limit of this process is reached; raise it (ulimit -f)"
    elif error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        fix = "make the folder writable for this user, or choose another folder"
    elif error.errno in (errno.ENOENT, errno.ENOTDIR):
        fix = "create the folder first, or correct the path"
    else:
        fix = "check the disk and run the same command again"
    return StoreError(
        f"cannot write '{path}': {error.strerror or error}; {fix}. Nothing was left half-written."
    )
