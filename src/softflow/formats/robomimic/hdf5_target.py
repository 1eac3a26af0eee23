"""A file to write HDF5 into, for which a full disk is an error and not a crash of the process."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any


class DiskFile(io.FileIO):
    """Give it to `h5py.File(disk, "w")`, and call `require_room` now and then, and at the end.

    HDF5 ends the process if a write fails while it closes a file. So this one accepts everything:
    from the first refusal on it keeps in memory what the disk did not take, which is little, since
    the next `require_room` raises.

    Args:
        path: the file, made anew.

    Raises:
        OSError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "w+b")
        self._refused: OSError | None = None
        self._kept: list[tuple[int, bytes]] = []

    def require_room(self) -> None:
        """Raise what the disk said when it refused a write, if it did.

        Raises:
            OSError: disk full, quota or limit of file size reached, …
        """
        if self._refused is not None:
            raise self._refused

    def write(self, data: Any) -> int:
        """Write all of it, or keep it."""
        view, start = memoryview(data).cast("B"), self.tell()
        done = 0
        try:
            while self._refused is None and done < len(view):
                done += super().write(view[done:]) or 0
        except OSError as error:
            self._refused = error
        if done < len(view):
            self._kept.append((start, bytes(view)))
            self.seek(start + len(view))
        return len(view)

    def readinto(self, buffer: Any) -> int:
        """Read what is on the disk, and above it what was kept."""
        view, start = memoryview(buffer).cast("B"), self.tell()
        count = super().readinto(view) or 0
        for position, kept in self._kept:
            first, last = max(position, start), min(position + len(kept), start + len(view))
            if first < last:
                view[first - start : last - start] = kept[first - position : last - position]
                count = max(count, last - start)
        self.seek(start + count)
        return count

    def truncate(self, size: int | None = None) -> int:
        """Change the length, as far as the disk allows."""
        try:
            return super().truncate(size)
        except OSError as error:
            self._refused = self._refused or error
            return size or 0
