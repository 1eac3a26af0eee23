"""What a bag may declare: checked before `rosbags` decodes it, or while it does.

`rosbags` decompresses chunks, messages and files to whatever comes out, reads YAML as it is, and
lets SQLite read whatever a path and a database say. So this module looks first, and gives the
decompressors and the YAML reader of `rosbags` a limit, for everybody in this process.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import lz4.frame
import msgspec
import yaml
from rosbags.rosbag2 import ReaderError, reader, storage_mcap, storage_sqlite3

from softflow.data.files.limits import GIB, MIB
from softflow.errors import DataError, brief
from softflow.formats.documents import converted, read_bytes
from softflow.formats.remedies import LFS_START, first_bytes, remedy
from softflow.utils.files import inside

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

METADATA = "metadata.yaml"
MAX_CHUNK_BYTES = GIB
"""A chunk of an MCAP file, or a message, decompressed."""
MAX_RATIO = 1000
"""Bytes that a byte of an MCAP file may become, beyond the first GiB."""
DISK_SHARE = 0.5
"""Of the free space for temporary files, for a compressed bag."""
MAX_YAML_BYTES = MIB
MAX_YAML_DEPTH = 32
MAX_ALIASES = 20
"""In files that people write; what recorders write has none."""
MAX_FRAMES = 1000
"""Of Zstandard, one after the other in one chunk."""
TABLES = ("messages", "topics", "schema", "metadata", "message_definitions")
URI_LETTERS = frozenset("?#%")


class Files(msgspec.Struct):
    """What is needed of the bag's description."""

    relative_file_paths: list[str]


class Description(msgspec.Struct):
    """metadata.yaml."""

    rosbag2_bagfile_information: Files


def require_bounded(path: Path) -> None:
    """Raise unless a bag, a folder or a storage file, may be opened.

    Raises:
        DataError: it names files elsewhere, or a database that does more than hold messages.
    """
    try:
        files = _storage_files(path) if path.is_dir() else [path]
        missing = [file for file in files if not file.is_file()]
    except (DataError, OSError) as error:
        why = error if isinstance(error, DataError) else brief(error)
        raise DataError(f"cannot read the bag '{path}': {why}") from error
    if missing:
        raise DataError(
            f"cannot read the bag '{path}': {missing[0]} is missing, though {METADATA} names it; "
            f"{_renamed(path, files, missing[0])}"
        )
    for file in files:
        if first_bytes(file).startswith(LFS_START):
            raise DataError(f"cannot read the bag '{path}': {file}: {remedy(file)}")
        if wrong := URI_LETTERS & set(str(file)):
            raise DataError(
                f"{str(file)!r}: bags with '{min(wrong)}' in their path are not opened, because "
                "SQLite takes it for a command; rename it"
            )
        if file.suffix == ".db3":
            status = file.stat()
            _require_plain_tables(file, status.st_size, status.st_mtime_ns)


def _renamed(folder: Path, named: list[Path], missing: Path) -> str:
    """What to do about a file that is missing: another one that nobody names may be it."""
    there = [f for f in sorted(folder.glob(f"*{missing.suffix}")) if f not in named]
    there = [file for file in there if not file.name.startswith(".")]
    if not there:
        return "copy it again"
    return f"if {there[0].name} is that file, rename it to {missing.name}, else copy it again"


def _storage_files(folder: Path) -> list[Path]:
    content = read_bytes(inside(folder, METADATA))
    require_plain_yaml(content, f"{folder / METADATA}")
    try:
        value = yaml.load(content, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise DataError(f"{folder / METADATA} is no YAML: {error}"[:300]) from error
    described = converted(value, Description, str(folder / METADATA))
    names = described.rosbag2_bagfile_information.relative_file_paths
    # Recorders of some versions put the folder's name before that of the file.
    return [inside(folder, Path(name).name) for name in names if _inside(folder, name)]


def _inside(folder: Path, name: str) -> bool:
    inside(folder, name)
    if Path(name).name in ("", "..", "."):
        raise DataError(f"{folder / METADATA} names {name!r:.200}, which is no file")
    return True


def require_plain_yaml(content: bytes | str, where: str, aliases: int = 0) -> None:
    """Raise unless YAML is short and flat, and holds no types and few anchors.

    A few lines that refer to each other grow without end when they are put together.

    Raises:
        DataError: it is not; or it is no YAML at all.
    """
    if len(content) > MAX_YAML_BYTES:
        raise DataError(f"{where} is longer than the {MAX_YAML_BYTES:,} bytes that are read")
    depth = found = 0
    try:
        for event in yaml.parse(content, Loader=yaml.CSafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent)
            depth -= isinstance(event, yaml.CollectionEndEvent)
            found += isinstance(event, yaml.AliasEvent)
            tag = getattr(event, "tag", None)
            if depth > MAX_YAML_DEPTH or found > aliases or tag:
                what = f"a type ({tag})" if tag else "too many references, or is nested too deeply"
                raise DataError(f"{where} has {what:.100}; write it without")
    except (yaml.YAMLError, UnicodeError, ValueError) as error:
        raise DataError(f"{where} is no YAML: {error}"[:500]) from error


@lru_cache(maxsize=4096)
def _require_plain_tables(file: Path, size: int, changed_ns: int) -> None:
    """Raise unless a database holds tables, and each of its pages once.

    Views and virtual tables compute their rows; pages that are reached twice make rows without end.
    """
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro&immutable=1", uri=True)) as database:
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_CHUNK_BYTES - 1)
            database.execute("PRAGMA trusted_schema = OFF")
            found = database.execute("SELECT type, name, sql FROM sqlite_master LIMIT 1000")
            for kind, name, sql in found.fetchall():
                is_table = kind == "table" and str(sql).upper().startswith("CREATE TABLE")
                if kind in ("view", "trigger") or (name in TABLES and not is_table):
                    raise DataError(f"{file}: '{name!r:.40}' is a {kind} that computes its rows")
            for name in TABLES:
                if any(row[-1] for row in database.execute(f"PRAGMA table_xinfo({name})")):
                    raise DataError(f"{file}: '{name}' has columns that are computed")
            for (told,) in database.execute("PRAGMA quick_check(100)"):
                if "2nd reference" in str(told):
                    raise DataError(f"{file}: pages of the database are reached twice ({told:.80})")
    except (sqlite3.Error, UnicodeError, TypeError) as error:
        raise DataError(
            f"cannot read the bag '{file}' ({error}); copy it again from where it was recorded, or "
            "repair it: ros2 bag reindex FOLDER"
        ) from error


def require_bounded_chunks(storages: Iterable[Any]) -> None:
    """Raise if the chunks of opened MCAP files decompress to more than is read.

    Those that lie over each other in time are in memory together.

    Raises:
        DataError: they declare it.
    """
    for storage in storages:
        chunks = getattr(storage, "chunks", [])
        total = sum(chunk.uncompressed_size for chunk in chunks)
        limit = GIB + MAX_RATIO * storage.path.stat().st_size
        edges = [(c.message_start_time, 1, c.uncompressed_size) for c in chunks]
        edges += [(c.message_end_time, 2, -c.uncompressed_size) for c in chunks]
        together = most = 0
        for _, _, size in sorted(edges):
            together += size
            most = max(most, together)
        if total > limit or most > 4 * MAX_CHUNK_BYTES:
            raise DataError(
                f"{storage.path} declares chunks of {total:,} bytes, {most:,} of them at the same "
                f"time; at most {limit:,} and {4 * MAX_CHUNK_BYTES:,} are read: write it again "
                "with ros2 bag convert"
            )


# ---- limits inside of rosbags ------------------------------------------------------------------


def _unzstd(data: bytes, limit: int = MAX_CHUNK_BYTES) -> bytes:
    """Zstandard frames, up to a limit."""
    pieces: list[bytes] = []
    size = 0
    while data:
        decoder = zstd.ZstdDecompressor()
        pieces.append(decoder.decompress(data, limit - size + 1))
        size, data = size + len(pieces[-1]), decoder.unused_data
        if size > limit or not decoder.eof or len(pieces) > MAX_FRAMES:
            raise ReaderError(f"compressed data is cut off, or more than {limit:,} bytes")
    return b"".join(pieces)


def _unlz4(data: bytes, limit: int = MAX_CHUNK_BYTES) -> bytes:
    """An LZ4 frame, up to a limit."""
    decoder = lz4.frame.LZ4FrameDecompressor()
    result = decoder.decompress(data, limit + 1)
    if len(result) > limit or not decoder.eof:
        raise ReaderError(f"compressed data is cut off, or more than {limit:,} bytes")
    return result


class _BoundedZstd:
    """What `rosbags` uses of its module `zstd`, with limits."""

    decompress = staticmethod(_unzstd)

    @staticmethod
    def open(file: BinaryIO, _mode: str) -> _Bounded:
        """A compressed storage file, which fills no more than a share of the disk."""
        free = shutil.disk_usage(tempfile.gettempdir()).free
        return _Bounded(zstd.ZstdFile(file), int(free * DISK_SHARE))


class _Bounded:
    """A file that ends with an error where it becomes too long."""

    def __init__(self, file: Any, limit: int) -> None:
        self._file, self._left = file, limit

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise ReaderError("the compressed bag fills more than half of the disk")
        return data

    def __enter__(self) -> _Bounded:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def _bounded_qos(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def parsed(value: Any) -> Any:
        if isinstance(value, str):
            require_plain_yaml(value, "offered_qos_profiles")
        return parse(value)

    return parsed


def _give_limits() -> None:
    decompressors: Any = storage_mcap.DECOMPRESSORS
    decompressors["zstd"] = lambda data, size: _unzstd(data, min(size, MAX_CHUNK_BYTES))
    decompressors["lz4"] = lambda data, size: _unlz4(data, min(size, MAX_CHUNK_BYTES))
    module: Any
    for module in (reader, storage_mcap, storage_sqlite3):
        module.parse_qos = _bounded_qos(module.parse_qos)
    reader.zstd = _BoundedZstd  # pyright: ignore[reportAttributeAccessIssue]


_give_limits()
