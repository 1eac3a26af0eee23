"""The files of a Zarr group, in a folder or in a zip; nothing outside it, nothing too long."""

from __future__ import annotations

import zipfile
from pathlib import Path

from softflow.data.files.limits import MAX_FRAME_PIXELS
from softflow.errors import DataError
from softflow.formats.remedies import remedy
from softflow.utils.documents import MAX_DOCUMENT_BYTES
from softflow.utils.files import require_inside

ENDS = "meta/episode_ends"
ARRAY, GROUP = ".zarray", ".zgroup"
MAX_PIECE_BYTES = 8 * MAX_FRAME_PIXELS
"""Of one stored piece, as it lies on the disk."""
MAX_ARRAYS = 1000


class Entries:
    """The files below the group that holds a replay buffer.

    Args:
        path: the folder, a folder with one `*.zarr` in it, or a zip file.

    Raises:
        DataError: there is no such group; says what to do.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive: zipfile.ZipFile | None = None
        self._sizes: dict[str, int] = {}
        if path.is_file():
            self._open_archive()
        else:
            self._folder = _folder_of(path)

    def _open_archive(self) -> None:
        try:
            self._archive = zipfile.ZipFile(self.path)
        except (OSError, zipfile.BadZipFile) as error:
            raise DataError(
                f"cannot read {self.path}: {error}; {remedy(self.path, error)}"
            ) from error
        entries = {entry.filename: entry for entry in self._archive.infolist()}
        found = [name for name in entries if name.endswith(f"{ENDS}/{ARRAY}")]
        if len(found) != 1:
            raise _no_buffer(self.path)
        self._prefix = found[0].removesuffix(f"{ENDS}/{ARRAY}")
        self._sizes = {name: entry.file_size for name, entry in entries.items()}

    def arrays(self) -> list[str]:
        """The path of every array, sorted.

        Raises:
            DataError: more than `MAX_ARRAYS`.
        """
        if self._archive is not None:
            ends = f"/{ARRAY}"
            names = [n for n in self._sizes if n.startswith(self._prefix) and n.endswith(ends)]
            found = [name.removeprefix(self._prefix).removesuffix(ends) for name in names]
        else:
            self._require_no_links()
            files = self._folder.rglob(ARRAY)
            found = [str(file.parent.relative_to(self._folder)) for file in files]
        if len(found) > MAX_ARRAYS:
            raise DataError(f"{self.path} holds more than {MAX_ARRAYS} arrays; is it another one?")
        return sorted(found)

    def _require_no_links(self) -> None:
        """A group or array that is a link would not be gone into, and so be left out silently."""
        for group in (self._folder, self._folder / "data", self._folder / "meta"):
            for entry in group.iterdir() if group.is_dir() else ():
                if entry.is_symlink():
                    raise DataError(f"{entry} is a link, which is not followed; copy what it means")

    def read(self, name: str, limit: int = MAX_DOCUMENT_BYTES) -> bytes | None:
        """The content of a file; None if there is none.

        Raises:
            DataError: longer than `limit`, outside the folder, or damaged.
        """
        if self._archive is None:
            return self._read_file(self._folder / name, limit)
        entry = self._prefix + name
        if entry not in self._sizes:
            return None
        self._require_short(self._sizes[entry], limit, name)
        try:
            with self._archive.open(entry) as file:
                return file.read(limit)
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise DataError(
                f"{self.path}, {name}: {error}; the file is damaged, download it again"
            ) from error

    def _read_file(self, file: Path, limit: int) -> bytes | None:
        if not file.is_file():
            return None
        require_inside(self._folder, file)
        self._require_short(file.stat().st_size, limit, file.name)
        return file.read_bytes()

    def _require_short(self, size: int, limit: int, name: str) -> None:
        if size > limit:
            raise DataError(
                f"{self.path}, {name} has {size:,} bytes; at most {limit:,} are read of such a file"
            )

    def close(self) -> None:
        """Close the zip, if it is one."""
        if self._archive is not None:
            self._archive.close()


def holds_buffer(path: Path) -> bool:
    """Whether a path looks like a replay buffer: only names are looked at."""
    try:
        Entries(path).close()
    except DataError:
        return False
    return True


def _folder_of(path: Path) -> Path:
    inner = [path, *sorted(path.glob("*.zarr"))]
    found = [folder for folder in inner if (folder / ENDS / ARRAY).is_file()]
    if len(found) != 1:
        raise _no_buffer(path)
    require_inside(path, found[0])
    return found[0]


def _no_buffer(path: Path) -> DataError:
    zarr3 = path.is_dir() and (path / ENDS / "zarr.json").is_file()
    why = "it is of Zarr format 3, write it with zarr_format=2" if zarr3 else "check the path"
    return DataError(f"{path} holds no replay buffer (one group with {ENDS}/{ARRAY}); {why}")
