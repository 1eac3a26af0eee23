"""One writer a store: a lock that ends with its process, and a name where locks do not reach."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import json
import os
import socket
from pathlib import Path
from typing import Any

from softflow.errors import StoreError, WriterBusyError
from softflow.utils.files import require_regular

LOCAL_LOCKS = ("fuse", "cifs", "smb")
"""File systems (by the beginning of their type) whose locks may hold on one machine only."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}


class WriterLock:
    """Held until `release`, or until the process ends, however it ends.

    On a network folder whose locks another machine does not see, a writer's name in the file
    counts instead: it stays when that writer is killed, and then a person has to remove it.

    Args:
        folder: of the store.
        name: of the lock's file in it.
        what: is written there, for messages.

    Raises:
        WriterBusyError: somebody else writes there.
        StoreError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, name: str = "writer.lock", what: str = "store") -> None:
        self._path, self._what = folder / name, what
        require_regular(self._path)
        try:
            if self._path.is_symlink():
                raise StoreError(
                    f"'{self._path}' is a link; what it leads to would be overwritten. Remove the "
                    "link."
                )
            # Unbuffered, so that closing it on a full disk has nothing left to write.
            self._file = self._path.open("a+b", buffering=0)
        except OSError as error:
            raise StoreError(
                f"cannot write to the {what} '{folder}': {error.strerror or error}; make it "
                "writable for this user."
            ) from error
        try:
            self._take(folder)
        except BaseException:
            self._file.close()
            raise

    def _take(self, folder: Path) -> None:
        try:
            locked = self._lock()
        except BlockingIOError as error:
            raise self._busy(folder) from error
        except OSError as error:
            raise StoreError(
                f"cannot lock the {self._what} '{folder}': {error.strerror or error}; keep it on "
                "a disk that works."
            ) from error
        holder = _read(self._file)
        if not locked and holder.get("host") == socket.gethostname() and _lives(holder.get("pid")):
            raise self._busy(folder)
        if self._may_be_elsewhere(folder, holder, locked):
            raise StoreError(
                f"the {self._what} '{folder}' has a writer on the computer '{holder['host']}' "
                f"(process {holder.get('pid')}), or had one that was killed; if nothing writes "
                f"there any more, delete '{self._path}'."
            )
        self._write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}).encode(), folder)

    def _lock(self) -> bool:
        """Take the system's lock; False where the file system has none."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return False
            raise
        return True

    def _may_be_elsewhere(self, folder: Path, holder: dict[str, Any], locked: bool) -> bool:
        if holder.get("host") in (None, socket.gethostname()):
            return False
        return not locked or file_system(folder).startswith(LOCAL_LOCKS)

    def _busy(self, folder: Path) -> WriterBusyError:
        return WriterBusyError(
            f"the {self._what} '{folder}' already has a writer ({json.dumps(_read(self._file))}); "
            "wait for it to end, stop it, or leave the folder to it: reading is always possible."
        )

    def _write(self, content: bytes, folder: Path) -> None:
        try:
            self._file.truncate(0)
            self._file.write(content)
        except OSError as error:
            raise StoreError(
                f"cannot write to the {self._what} '{folder}': {error.strerror}; free some space "
                "there."
            ) from error

    def release(self) -> None:
        """Give the lock back, and take the name out of the file; a disk that refuses keeps it."""
        if not self._file.closed:
            with contextlib.suppress(OSError):
                self._file.truncate(0)
            with contextlib.suppress(OSError):
                self._file.close()


def file_system(folder: Path) -> str:
    """The type of the file system of a folder, such as "ext4" or "fuse.sshfs"; "" if unknown."""
    place, found, kind = folder.resolve(), Path(), ""
    try:
        mounts = Path("/proc/self/mounts").read_text()
    except OSError:
        return ""
    for line in mounts.splitlines():
        words = line.split(" ")
        # Spaces in names are written as octal numbers there.
        mount = Path(words[1].replace("\\040", " "))
        if place.is_relative_to(mount) and len(mount.parts) >= len(found.parts):
            found, kind = mount, words[2]
    return kind


def _read(file: io.FileIO) -> dict[str, Any]:
    """Who holds the lock; nobody if the file is empty or torn."""
    try:
        file.seek(0)
        content = json.loads(file.read())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _lives(pid: Any) -> bool:
    return isinstance(pid, int) and Path(f"/proc/{pid}").exists()
