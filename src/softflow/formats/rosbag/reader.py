"""ROS recordings on this disk: where they lie, what they hold, their messages one by one."""

from __future__ import annotations

import re
import struct
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from rosbags.interfaces import Connection
from rosbags.rosbag2 import Reader
from rosbags.rosbag2.reader import DirectoryReader

from softflow.errors import DataError, SoftflowError, brief
from softflow.formats.remedies import ROS1_START, first_bytes, remedy
from softflow.formats.rosbag.bounds import METADATA, require_bounded, require_bounded_chunks
from softflow.formats.rosbag.resampling import NANOSECONDS
from softflow.formats.rosbag.types import HEADER, NAME_FIELDS, MessageTypes
from softflow.utils.files import require_inside

ROS1_SUFFIX = ".bag"
STORAGE_SUFFIXES = (".mcap", ".db3")
_LITTLE_ENDIAN = 1
_STAMP_AT = 4
"""A serialised message starts with four bytes that say how; the stamp of its header follows."""


class RawMessage(NamedTuple):
    """A message as it was recorded."""

    topic: str
    receive_ns: int
    data: bytes


def find_bags(path: Path) -> dict[str, Path]:
    """The bags at a path, by a name that stays the same: run_1, run_2, …, run_10.

    A folder with `metadata.yaml` is a bag, and so is every other `.mcap` or `.db3` file.

    Raises:
        DataError: there is none.
    """
    if not path.exists():
        raise DataError(f"there is no '{path}'; give a bag or a folder of bags")
    if path.is_file() and first_bytes(path).startswith(ROS1_START):
        raise DataError(f"cannot read '{path}': {remedy(path)}")
    if path.is_file() or (path / METADATA).exists():
        return {path.resolve().name: path}
    found: dict[str, Path] = {}
    for file in path.rglob("*"):
        if file.name == METADATA:
            found[file.parent.relative_to(path).as_posix()] = file.parent
        elif file.name.startswith("."):
            continue  # what macOS leaves beside files
        elif file.suffix in STORAGE_SUFFIXES and not (file.parent / METADATA).exists():
            require_inside(path, file)
            found[file.relative_to(path).as_posix()] = file
    if not found and (old := sorted(path.rglob(f"*{ROS1_SUFFIX}"))):
        raise DataError(f"'{path}' holds bags of ROS 1 alone, such as {old[0]}: {remedy(old[0])}")
    if not found:
        raise DataError(
            f"'{path}' holds no bags: neither a folder with {METADATA} nor a .mcap or .db3 file; "
            "give the folder that ros2 bag record wrote, or one that holds several of those"
        )
    return {name: found[name] for name in sorted(found, key=_with_numbers)}


def require_whole_recording(file: Path) -> None:
    """Refuse `run/run_0.mcap` without metadata: ros2 bag record names its files like that.

    Raises:
        DataError: the recording was cut off before its metadata was written.
    """
    if re.fullmatch(rf"{re.escape(file.resolve().parent.name)}_\d+", file.stem):
        raise DataError(
            f"'{file.parent}' has no {METADATA}, which ros2 bag record writes when it ends: the "
            f"recording was cut off. Run: ros2 bag reindex {file.parent}  (or rename the file to "
            "import it as it is)"
        )


def _with_numbers(name: str) -> list[tuple[int, str]]:
    """Sorts run_2 before run_10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


class Recording:
    """One opened bag.

    Args:
        path: a folder with `metadata.yaml`, or a storage file.
        reader: the opened reader of it.
        definitions: `.msg` files, or folders of them, for types it does not define itself.
    """

    def __init__(self, path: Path, reader: Reader, definitions: Sequence[Path]) -> None:
        self.path, self._reader = path, reader
        # A folder's reader serves no message of a topic whose quality of service is written
        # differently in metadata.yaml and in the storage, as ROS itself does. Ask with the
        # storages' own descriptions.
        self.storages = storages_of(reader)
        """The opened files of the bag."""
        connections = (file.connections for file in self.storages)
        self._connections: list[Connection] = [c for found in connections for c in found]
        described = [*reader.connections, *self._connections]
        self.topics = dict(sorted((c.topic, c.msgtype) for c in described))
        """Topic → type, also of topics without messages."""
        self._types = MessageTypes(self._connections, definitions)

    @property
    def types(self) -> MessageTypes:
        """What the messages are made of."""
        return self._types

    def announced(self, topic: str) -> int:
        """How many messages of a topic there should be, as the recorder counted."""
        return sum(c.msgcount for c in self._reader.connections if c.topic == topic)

    def require_topic(self, topic: str) -> str:
        """The type of a topic.

        Raises:
            DataError: the bag does not have it, or under several types; lists what there is.
        """
        if topic not in self.topics:
            there = "".join(f"\n  {name}  {kind}" for name, kind in self.topics.items())
            raise DataError(
                f"{self.path} has no topic '{topic}'; it has{there or ' none'}\nCorrect the mapping"
            )
        kinds = sorted({c.msgtype for c in self._connections if c.topic == topic})
        if len(kinds) > 1:
            raise DataError(
                f"{self.path}: '{topic}' has messages of several types, {' and '.join(kinds)}; "
                "record them as topics of their own"
            )
        return self.topics[topic]

    def messages(
        self, topics: Collection[str], start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[RawMessage]:
        """Messages of these topics received from `start_ns` on and before `stop_ns`, as stored.

        Raises:
            DataError: the file is damaged.
        """
        wanted = [c for c in self._connections if c.topic in topics]
        if not wanted:
            return
        with reading(self.path):
            for connection, receive_ns, data in self._reader.messages(wanted, start_ns, stop_ns):
                yield RawMessage(connection.topic, receive_ns, data)

    def decode(self, message: RawMessage) -> object:
        """What a message says, as an object with the fields of its type.

        Raises:
            DataError: it does not fit its type, or nobody knows the type.
        """
        return self._types.decode(self.topics[message.topic], message.data, self.told(message))

    def joint_groups(self, topic: str, messages: int = 100) -> list[tuple[str, ...]]:
        """The joints that the first messages of a topic tell of: a group for each publisher.

        Raises:
            DataError: the file or a message is damaged.
        """
        found: dict[frozenset[str], tuple[str, ...]] = {}
        for _, message in zip(range(messages), self.messages({topic}), strict=False):
            decoded = self.decode(message)
            for field in NAME_FIELDS:
                if isinstance(there := getattr(decoded, field, None), list) and there:
                    found.setdefault(frozenset(map(str, there)), tuple(map(str, there)))
        return list(found.values())

    def stamp_ns(self, message: RawMessage) -> int:
        """The stamp in a message's header; 0 without one.

        Raises:
            DataError: as `decode`.
        """
        place = self._types.header_place(self.topics[message.topic])
        if place is None:
            return 0
        if place > 0:
            stamp = getattr(self.decode(message), HEADER).stamp
            return stamp.sec * NANOSECONDS + stamp.nanosec
        # Images are large: the stamp is read without decoding the rest.
        try:
            order = "<" if message.data[1] == _LITTLE_ENDIAN else ">"
            seconds, nanoseconds = struct.unpack_from(f"{order}iI", message.data, _STAMP_AT)
        except (struct.error, IndexError) as error:
            raise DataError(f"{self.told(message)}: cut off in its header ({error})") from error
        return seconds * NANOSECONDS + nanoseconds

    def told(self, message: RawMessage) -> str:
        """How errors name a message."""
        seconds = (message.receive_ns - self._reader.start_time) / NANOSECONDS
        return f"{self.path}, {message.topic}, received {seconds:.6f} s after the bag's start"


def storages_of(reader: Reader) -> list[Any]:
    """The opened files behind a reader."""
    storage = reader.storage
    return storage.storages if isinstance(storage, DirectoryReader) else [storage]


@contextmanager
def opened(path: Path, definitions: Sequence[Path] = ()) -> Iterator[Recording]:
    """A bag, open for reading.

    Raises:
        DataError: it is damaged, was not closed, or is of a kind nobody knows.
    """
    _require_closed(path)
    require_bounded(path)
    with reading(path):
        reader = Reader(path)
        reader.open()
    try:
        require_bounded_chunks(storages_of(reader))
        yield Recording(path, reader, definitions)
    finally:
        reader.close()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a damaged bag makes `rosbags` raise into a DataError that names it."""
    try:
        yield
    except SoftflowError:
        raise
    except MemoryError as error:
        raise DataError(
            f"{path} does not fit into memory; it is damaged, or has messages that are too large"
        ) from error
    # Damage surfaces as almost any exception: ReaderError, struct.error, apsw's, zstd's, …
    except Exception as error:
        raise DataError(
            f"cannot read the bag '{path}' ({brief(error)}); copy it again from "
            "where it was recorded, or repair it: mcap recover FILE, or for .db3 ros2 bag reindex "
            "FOLDER"
        ) from error


def _require_closed(path: Path) -> None:
    """SQLite keeps the newest messages beside the file until it is closed; nobody reads those."""
    for journal in path.glob("*.db3-wal") if path.is_dir() else [Path(f"{path}-wal")]:
        if journal.exists() and journal.stat().st_size > 0:
            raise DataError(
                f"'{journal}' holds messages that are not in the bag yet, because the recorder was "
                "cut off; take them in: sqlite3 "
                f"{journal.name.removesuffix('-wal')} 'PRAGMA wal_checkpoint(TRUNCATE)'"
            )
