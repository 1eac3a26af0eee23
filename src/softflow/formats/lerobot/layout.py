"""Where a LeRobot dataset keeps each episode: meta/info.json, and the lists of episodes and tasks.

v2.0, v2.1    meta/episodes.jsonl, meta/tasks.jsonl
              data/chunk-000/episode_000007.parquet
              videos/chunk-000/<camera>/episode_000007.mp4
v3.0          meta/episodes/chunk-000/file-000.parquet, meta/tasks.parquet
              data/chunk-000/file-000.parquet              many episodes
              videos/<camera>/chunk-000/file-000.mp4       many episodes
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import pyarrow.parquet as pq

from softflow.data.files.limits import require_episode_bytes
from softflow.errors import DataError, SoftflowError, brief
from softflow.formats.documents import parsed, read_bytes, read_document
from softflow.formats.lerobot.pages import column_sizes
from softflow.utils.files import inside, require_inside

EPISODE_FILES = ("v2.0", "v2.1")
"""Versions with one table and one video per camera for each episode."""
SHARED_FILES = "v3.0"
"""The version with many episodes in each file."""
CAMERA_TYPES = ("video", "image")
CHUNK_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
V2_CHUNK_SIZE = 1000
_PLACE = re.compile(r"\{(\w+)(?::(0\d)d)?\}")
Count = Annotated[int, msgspec.Meta(ge=0)]
Template = Annotated[str, msgspec.Meta(max_length=1000)]
Line = TypeVar("Line")


class Feature(msgspec.Struct):
    """A feature in meta/info.json: kind, shape and, in any form, names of its components."""

    dtype: str
    shape: tuple[Count, ...]
    names: Any = None


class Info(msgspec.Struct):
    """meta/info.json."""

    codebase_version: str
    fps: Annotated[float, msgspec.Meta(gt=0)]
    features: dict[str, Feature]
    data_path: Template
    video_path: Template | None = None
    chunks_size: Annotated[int, msgspec.Meta(ge=1)] = V2_CHUNK_SIZE
    total_episodes: int | None = None
    robot_type: str | None = None


class Version(msgspec.Struct):
    """What meta/info.json of any version says."""

    codebase_version: str


class EpisodeLine(msgspec.Struct):
    """A line of meta/episodes.jsonl."""

    episode_index: Count
    length: Count
    tasks: list[str] | None = None


class TaskLine(msgspec.Struct):
    """A line of meta/tasks.jsonl."""

    task_index: int
    task: str


@dataclass(frozen=True)
class Clip:
    """A stretch of a video file.

    Args:
        path: the file.
        start_s: when in the file the stretch begins; None: it is the whole file.
        end_s: when it ends; None: when the episode does.
    """

    path: Path
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class Place:
    """Where one episode lies.

    Args:
        index: its `episode_index`.
        length: its number of rows.
        table: the Parquet file with these rows.
        tasks: what was to be done, in words; empty when only the rows know.
        clips: feature -> its stretch of video.
    """

    index: int
    length: int
    table: Path
    tasks: tuple[str, ...]
    clips: dict[str, Clip] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """episode_000007."""
        return f"episode_{self.index:06d}"


@dataclass(frozen=True)
class Layout:
    """What meta/info.json says.

    Args:
        path: the folder of the dataset.
        version: "v2.0", "v2.1" or "v3.0".
        features: feature -> dtype, shape, names.
        fps: rows per second.
        robot_type: empty when unknown.
    """

    path: Path
    version: str
    features: dict[str, Feature]
    fps: float
    robot_type: str
    _info: Info

    @classmethod
    def of(cls, path: Path) -> Layout:
        """The layout of the dataset in a folder.

        Raises:
            DataError: not such a dataset, damaged, or of a version nobody here knows.
        """
        file = inside(path, "meta/info.json")
        if not file.is_file():
            raise DataError(
                f"{path} is not a LeRobot dataset: there is no file {file}; check the path; give "
                "the folder with meta/ and data/ in it"
            )
        version = read_document(file, Version).codebase_version
        if version not in (*EPISODE_FILES, SHARED_FILES):
            raise DataError(
                f"{file}: codebase_version is {version:.40}; softflow reads "
                f"{', '.join(EPISODE_FILES)} and {SHARED_FILES}, convert the dataset with "
                "LeRobot's own scripts"
            )
        info = read_document(file, Info)
        layout = cls(path, version, info.features, info.fps, info.robot_type or "", info)
        if "action" not in layout.features:
            raise DataError(
                f"{file}: no feature 'action' (it has {sorted(layout.features)}); rename the "
                "action column, there and in the tables, to 'action'"
            )
        return layout

    @property
    def cameras(self) -> list[str]:
        """Features that are pictures or videos."""
        return [key for key, value in self.features.items() if value.dtype in CAMERA_TYPES]

    @property
    def states(self) -> list[str]:
        """Features `observation.*` of floating-point numbers."""
        return [
            key
            for key, value in self.features.items()
            if key.startswith("observation.") and value.dtype.startswith("float")
        ]

    def places(self, cameras: list[str]) -> dict[str, Place]:
        """Every episode by name, in order, with the clips of these cameras.

        Raises:
            DataError: the list of episodes is missing, damaged or empty.
        """
        videos = [key for key in cameras if self.features[key].dtype == "video"]
        find = self._shared_files if self.version == SHARED_FILES else self._episode_files
        places = {place.name: place for place in sorted(find(videos), key=lambda p: p.index)}
        if not places:
            raise DataError(f"{self.path}/meta lists no episodes; choose another dataset")
        promised = self._info.total_episodes
        if promised not in (None, len(places)):
            raise DataError(
                f"{self.path}/meta lists {len(places)} episodes, but meta/info.json says "
                f"{promised}; the list was cut, download the dataset again"
            )
        return places

    def tasks(self) -> dict[int, str]:
        """task_index -> what was to be done, in words; empty when the dataset has no such list."""
        if self.version != SHARED_FILES:
            file = inside(self.path, "meta/tasks.jsonl")
            lines = _lines(file, TaskLine) if file.exists() else ()
            return {line.task_index: line.task for line in lines}
        file = inside(self.path, "meta/tasks.parquet")
        rows = list_of(file) if file.exists() else []
        with damage_named(file):
            # pandas keeps the words as its index, which has no name of its own in every version.
            return {
                int(row["task_index"]): str(next((row[k] for k in row if k != "task_index"), ""))
                for row in rows
            }

    def _episode_files(self, videos: list[str]) -> Iterator[Place]:
        for line in _lines(inside(self.path, "meta/episodes.jsonl"), EpisodeLine):
            index = line.episode_index
            where = {"episode_index": index, "episode_chunk": index // self._info.chunks_size}
            clips = {key: Clip(self._file("video", video_key=key, **where)) for key in videos}
            tasks = tuple(line.tasks or ())
            yield Place(index, line.length, self._file("data", **where), tasks, clips)

    def _shared_files(self, videos: list[str]) -> Iterator[Place]:
        for found in sorted((self.path / "meta" / "episodes").glob("*/*.parquet")):
            require_inside(self.path, found)
            rows = list_of(found, leave_out="stats/")
            with damage_named(found):
                yield from [self._shared_place(row, videos) for row in rows]

    def _shared_place(self, row: dict[str, Any], videos: list[str]) -> Place:
        def in_chunk(kind: str, prefix: str, **more: str) -> Path:
            chunk, number = int(row[f"{prefix}/chunk_index"]), int(row[f"{prefix}/file_index"])
            return self._file(kind, chunk_index=chunk, file_index=number, **more)

        index, length = int(row["episode_index"]), int(row["length"])
        clips: dict[str, Clip] = {}
        for key in videos:
            start, end = (float(row[f"videos/{key}/{end}_timestamp"]) for end in ("from", "to"))
            clips[key] = Clip(in_chunk("video", f"videos/{key}", video_key=key), start, end)
        tasks = tuple(map(str, row.get("tasks") or ()))
        return Place(index, length, in_chunk("data", "data"), tasks, clips)

    def _file(self, kind: str, **where: Any) -> Path:
        """Where meta/info.json says that a file is; `inside` says whether that is in the dataset.

        Only plain places such as {video_key} and {file_index:03d} are filled in: Python's own
        templates reach into what they are given.
        """
        template = self._info.data_path if kind == "data" else self._info.video_path or ""
        unknown = [name for name, _ in _PLACE.findall(template) if name not in where]
        if unknown or not template or set("{}") & set(_PLACE.sub("", template)):
            raise DataError(
                f"{self.path}/meta/info.json: {kind}_path is {template!r:.200}; it may have "
                f"{', '.join(f'{{{name}}}' for name in where)}, numbers with digits such as :03d"
            )
        filled = _PLACE.sub(lambda m: f"{where[m[1]]:{m[2] + 'd' if m[2] else ''}}", template)
        return self.path / filled


def component_names(names: Any, depth: int = 4) -> tuple[str, ...]:
    """The names of a feature's components, which recorders write in four ways.

    A list; a list in a list; {"motors": list}; {"x": 0, "y": 1}. What is deeper has none.
    """
    if isinstance(names, Mapping):
        whole = all(isinstance(value, int) for value in names.values())
        return tuple(names) if whole else component_names(list(names.values()), depth)
    if isinstance(names, list):
        parts = names if depth else []
        return tuple(name for part in parts for name in component_names(part, depth - 1))
    return (str(names),) if names is not None else ()


def _lines(path: Path, kind: type[Line]) -> Iterator[Line]:
    for number, line in enumerate(read_bytes(path).split(b"\n"), start=1):
        if line.strip():
            yield parsed(line, kind, f"{path} line {number}")


def list_of(path: Path, leave_out: str = "\0") -> list[dict[str, Any]]:
    """The rows of a table that lists episodes or tasks, without columns of a prefix.

    Raises:
        DataError: missing, damaged, or larger than is read.
    """
    rows: list[dict[str, Any]] = []
    size = 0
    with damage_named(path), opened_table(path) as file:
        columns = [name for name in file.schema_arrow.names if not name.startswith(leave_out)]
        sizes = column_sizes(file, path, columns)
        require_episode_bytes(sum(group.decoded for group in sizes), str(path))
        batch_rows = min((group.batch_rows for group in sizes), default=1)
        for batch in file.iter_batches(batch_rows, columns=columns):
            size += batch.nbytes
            require_episode_bytes(size, str(path))
            rows += batch.to_pylist()
    return rows


def opened_table(path: Path, buffer_bytes: int = 0) -> pq.ParquetFile:
    """A Parquet file, of which only its own description is read.

    Raises:
        FileNotFoundError: it is missing, or no file.
    """
    if path.exists() and not path.is_file():
        raise ValueError("it is no file")
    return pq.ParquetFile(path, buffer_size=buffer_bytes)


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Errors of the Parquet, picture and video libraries, with the file and what to do.

    Raises:
        DataError: instead of theirs.
    """
    try:
        yield
    except SoftflowError:
        raise
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is missing, though the dataset's meta/ promises it; download it again"
        ) from error
    # Damage surfaces as almost any exception: Arrow's, FFmpeg's, OSError, KeyError, TypeError, …
    except Exception as error:
        if type(error) is MemoryError:
            raise DataError(f"{path} does not fit into memory; take fewer cameras") from error
        raise DataError(
            f"cannot read {path}: {brief(error)}; download the file again, it may have been cut"
        ) from error
