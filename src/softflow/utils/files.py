"""Files written whole or not at all, and read back with errors that name them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from softflow.errors import DataError, SoftflowError, StoreError, brief, causes
from softflow.utils.documents import MAX_DOCUMENT_BYTES, parse_json

TEMP_SUFFIX = ".tmp"


@contextmanager
def written_whole(path: str | os.PathLike[str], new: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the same folder; once the block wrote it, it becomes `path`.

    The content is flushed to the disk before the rename, and the rename before returning, so a
    crash or power cut at any moment leaves the old file, or the new one, complete. If the block
    raises, the temporary file is removed and `path` is as before.

    Args:
        path: the file to write.
        new: it must not be there yet; if the system refuses to flush its name, it goes again.

    Raises:
        StoreError: the system refused (disk full, no permission, …), or `path` is there already.
    """
    path = Path(path)
    temp = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMP_SUFFIX}")
    try:
        yield temp
        sync_to_disk(temp)
        _put_in_place(temp, path, new)
    except SoftflowError:
        raise
    except Exception as error:
        # What closes a half-written file may raise something else behind the refusal.
        if refused := _refusal(error):
            raise _write_error(path, refused) from error
        raise
    finally:
        with contextlib.suppress(OSError, MemoryError):
            temp.unlink()


def _put_in_place(temp: Path, path: Path, new: bool) -> None:
    """Give a finished file its name; with `new`, that name is free before and after a failure."""
    if new and is_there(path):
        raise StoreError(f"'{path}' is there already, and is never replaced; move it away.")
    temp.replace(path)
    try:
        sync_to_disk(path.parent)
    except (OSError, MemoryError):
        if new:
            path.unlink()
        raise


def _refusal(error: BaseException | None) -> OSError | MemoryError | None:
    """What the system refused, if that lies behind an error."""
    return next((e for e in causes(error) if isinstance(e, (OSError, MemoryError))), None)


def is_there(path: str | os.PathLike[str]) -> bool:
    """Whether something has this name, be it a link that leads nowhere.

    `Path.exists` says no as well where the system does not tell: who believed that would write
    over what is there.

    Raises:
        StoreError: the system does not tell.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise _read_error(path, error) from error
    return True


def entries_of(folder: str | os.PathLike[str]) -> list[Path]:
    """What a folder holds, in no order; nothing if it is not there.

    Raises:
        StoreError: the system does not tell, or it is no folder.
    """
    if not is_there(folder):
        return []
    try:
        return list(Path(folder).iterdir())
    except OSError as error:
        raise _read_error(folder, error) from error


def require_regular(path: str | os.PathLike[str]) -> None:
    """Raise for what has a name but no content of its own: opening a pipe waits for ever.

    Nothing of that name is no fault here; opening it says so.

    Raises:
        StoreError: it is a pipe, socket, device or folder, or a link that leads nowhere.
    """
    try:
        mode = Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        if Path(path).is_symlink():
            raise StoreError(
                f"'{path}' is a link to '{Path(path).readlink()}', which is not there; bring that "
                "back, or remove the link."
            ) from error
        return
    except OSError as error:
        raise _read_error(path, error) from error
    if not stat.S_ISREG(mode):
        raise StoreError(f"'{path}' is {_kind(mode)}, not a file; move it away, or remove it.")


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def real_path(path: Path) -> Path:
    """Where a path leads, links followed; it need not be there.

    Raises:
        StoreError: a link on the way leads back to itself.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:
        raise StoreError(f"'{path}' leads nowhere: {brief(error)}; remove that link.") from error


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
    require_regular(path)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_DOCUMENT_BYTES + 1)
        return parse_json(content), content
    except OSError as error:
        raise _read_error(path, error) from error
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
    require_regular(path)
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _read_error(path, error) from error


def _read_error(path: str | os.PathLike[str], error: OSError) -> StoreError:
    return StoreError(f"cannot read '{path}': {error.strerror or error}; check the path.")


def _write_error(path: Path, error: OSError | MemoryError) -> StoreError:
    """What was refused, where, and what to do about it."""
    if isinstance(error, MemoryError):
        return StoreError(
            f"cannot write '{path}': not enough memory; close other programs and run the same "
            "command again. Nothing was left half-written."
        )
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        fix = f"{_free(path.parent)}free some space on that disk and run the same command again"
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


def _free(folder: Path) -> str:
    try:
        return f"{shutil.disk_usage(folder).free / 1024**2:.1f} MiB were left; "
    except OSError:
        return ""
