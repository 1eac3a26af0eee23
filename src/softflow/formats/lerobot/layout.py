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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec

from softflow.errors import DataError
from softflow.formats.documents import converted, parsed, read_bytes, read_document
from softflow.formats.lerobot.opening import damage_named, list_of, opened_table
from softflow.formats.remedies import LFS_START, remedy
from softflow.utils.files import inside, require_inside

EPISODE_FILES = ("v2.0", "v2.1")
"""Versions with one table and one video per camera for each episode."""
SHARED_FILES: Final = "v3.0"
"""The version with many episodes in each file."""
CAMERA_TYPES = ("video", "image")
DEEP_GREY = ("gray10", "gray12", "gray14", "gray16")
"""How names of FFmpeg's grey pixels of more than 8 bits begin."""
NUMBERS = re.compile(r"float(16|32|64)|u?int(8|16|32|64)|bool")
DATA_PATHS = {
    False: "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
    True: "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
}
"""Where LeRobot itself puts tables: many episodes in a file or not."""
VIDEO_PATHS = {
    False: "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    True: "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
}
NEEDED = {
    "fps": '"fps": the rows a second at which it was recorded',
    "features": '"features": name -> dtype and shape of every column',
    "data_path": '"data_path", such as "{}"',
}
CHUNK_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
V2_CHUNK_SIZE = 1000
TABLES_TOLD = 3
_PLACE = re.compile(r"\{(\w+)(?::(0\d)d)?\}")
Count = Annotated[int, msgspec.Meta(ge=0)]
Template = Annotated[str, msgspec.Meta(max_length=1000)]
Line = TypeVar("Line")


class Feature(msgspec.Struct):
    """A feature in meta/info.json: kind, shape and, in any form, names of its components."""

    dtype: str
    shape: tuple[Count, ...]
    names: Any = None
    info: dict[str, Any] | None = None
    video_info: dict[str, Any] | None = None

    @property
    def is_camera(self) -> bool:
        """Whether it is pictures or video, colour or depth."""
        return self.dtype in CAMERA_TYPES

    @property
    def is_depth(self) -> bool:
        """Whether it says of itself that its pixels are distances."""
        told = {**(self.video_info or {}), **(self.info or {})}
        marks = (told.get("video.is_depth_map"), told.get("is_depth_map"))
        return True in marks or str(told.get("video.pix_fmt", "")).startswith(DEEP_GREY)

    @property
    def is_numbers(self) -> bool:
        """Whether its cells are numbers: of floating point, whole, or true and false."""
        return bool(NUMBERS.fullmatch(self.dtype))


class Info(msgspec.Struct):
    """meta/info.json."""

    codebase_version: str
    fps: Annotated[float, msgspec.Meta(gt=0)]
    features: dict[str, Feature]
    data_path: Template
    video_path: Template | None = None
    chunks_size: Annotated[int, msgspec.Meta(ge=1)] = V2_CHUNK_SIZE
    total_episodes: Count | None = None
    total_frames: Count | None = None
    robot_type: str | None = None


class EpisodeLine(msgspec.Struct):
    """A line of meta/episodes.jsonl."""

    episode_index: Count
    length: Count
    tasks: list[str] | None = None
    success: Any = None


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
        success: whether the list of episodes says that it succeeded; None: it says nothing.
    """

    index: int
    length: int
    table: Path
    tasks: tuple[str, ...]
    clips: dict[str, Clip] = field(default_factory=dict)
    success: bool | None = None

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
        said = read_document(file, dict[str, Any])
        version = f"v{str(said.get('codebase_version')).removeprefix('v')}"
        if version not in (*EPISODE_FILES, SHARED_FILES):
            raise DataError(
                f"{file}: codebase_version is {version:.40}; softflow reads "
                f"{', '.join(EPISODE_FILES)} and {SHARED_FILES}, convert the dataset with "
                "LeRobot's own scripts"
            )
        if absent := [key for key in NEEDED if said.get(key) is None]:
            needed = NEEDED[absent[0]].format(DATA_PATHS[version == SHARED_FILES])
            raise DataError(
                f"{file} has no '{absent[0]}', so it cannot be read as it is; add {needed}"
            )
        info = converted(said | {"codebase_version": version}, Info, str(file))
        return cls(path, version, info.features, info.fps, info.robot_type or "", info)

    @property
    def cameras(self) -> list[str]:
        """Features that are pictures or videos."""
        return [key for key, value in self.features.items() if value.is_camera]

    def places(self, cameras: list[str]) -> dict[str, Place]:
        """Every episode by name, in order, with the clips of these cameras.

        Raises:
            DataError: the list of episodes is missing, damaged or empty, or says two things of one.
        """
        videos = [key for key in cameras if self.features[key].dtype == "video"]
        find = self._shared_files if self.version == SHARED_FILES else self._episode_files
        places: dict[str, Place] = {}
        for place in sorted(find(videos), key=lambda p: p.index):
            if places.setdefault(place.name, place) != place:
                raise DataError(
                    f"{self.path}/meta lists {place.name} twice, and otherwise the second time "
                    f"({places[place.name].length} rows, then {place.length}); remove one of them"
                )
        if not places:
            raise DataError(f"{self.path}/meta lists no episodes; choose another dataset")
        return places

    def oddities(self, places: dict[str, Place]) -> Iterator[str]:
        """What meta/info.json promises otherwise than meta/ lists, and tables that nobody lists."""
        promised, rows = self._info.total_episodes, self._info.total_frames
        listed = sum(place.length for place in places.values())
        if promised not in (None, len(places)):
            yield (
                f"{self.path}/meta lists {len(places)} episodes, but meta/info.json says "
                f"{promised}: those listed are read; if others are missing, download it again"
            )
        if rows not in (None, listed):
            yield f"{self.path}/meta lists {listed} rows, but meta/info.json says {rows}"
        tables = {place.table for place in places.values()}
        there = inside(self.path, "data").rglob("*.parquet")
        unlisted = sorted({path for path in there if not path.name.startswith(".")} - tables)
        if unlisted:
            names = ", ".join(str(table.relative_to(self.path)) for table in unlisted[:TABLES_TOLD])
            more = f" and {len(unlisted) - TABLES_TOLD} more" if unlisted[TABLES_TOLD:] else ""
            yield f"{self.path}/meta lists no episode of {names}{more}: not read"

    def list_columns(self) -> dict[str, str]:
        """What the list of episodes tells of each: name -> kind of value."""
        if self.version != SHARED_FILES:
            lines = read_bytes(inside(self.path, "meta/episodes.jsonl")).splitlines()
            first = parsed(next(filter(None, lines), b"{}"), dict[str, Any], "meta/episodes.jsonl")
            return {name: type(value).__name__ for name, value in first.items()}
        for found in self._lists():
            with damage_named(found), opened_table(found) as file:
                return {field.name: str(field.type) for field in file.schema_arrow}
        return {}

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
            chunk = index // self._info.chunks_size
            where = {"episode_index": index, "episode_chunk": chunk}
            # A chunk by its newer name, and a file that is an episode.
            where |= {"chunk_index": chunk, "file_index": index}
            clips = {key: Clip(self._file("video", video_key=key, **where)) for key in videos}
            tasks = tuple(line.tasks or ())
            table = self._file("data", **where)
            yield Place(index, line.length, table, tasks, clips, truth(line.success))

    def _shared_files(self, videos: list[str]) -> Iterator[Place]:
        for found in self._lists():
            require_inside(self.path, found)
            rows = list_of(found, leave_out="stats/")
            with damage_named(found):
                yield from [self._shared_place(row, videos) for row in rows]

    def _lists(self) -> list[Path]:
        """The tables that list episodes, without what macOS leaves beside them."""
        found = sorted((self.path / "meta" / "episodes").glob("*/*.parquet"))
        return [path for path in found if not path.name.startswith(".")]

    def _shared_place(self, row: dict[str, Any], videos: list[str]) -> Place:
        index, length = int(row["episode_index"]), int(row["length"])
        itself = {"episode_index": index, "episode_chunk": index // self._info.chunks_size}

        def in_chunk(kind: str, prefix: str, **more: str) -> Path:
            chunk, number = int(row[f"{prefix}/chunk_index"]), int(row[f"{prefix}/file_index"])
            return self._file(kind, chunk_index=chunk, file_index=number, **itself, **more)

        clips: dict[str, Clip] = {}
        for key in videos:
            start, end = (float(row[f"videos/{key}/{end}_timestamp"]) for end in ("from", "to"))
            clips[key] = Clip(in_chunk("video", f"videos/{key}", video_key=key), start, end)
        tasks = tuple(map(str, row.get("tasks") or ()))
        success = truth(row.get("success"))
        return Place(index, length, in_chunk("data", "data"), tasks, clips, success)

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


def truth(said: Any) -> bool | None:
    """What the list of episodes says: true, false, 1 or 0; None for anything else."""
    return bool(said) if isinstance(said, int | float) and said in (0, 1) else None


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
    content = read_bytes(path)
    if content.startswith(LFS_START):
        raise DataError(f"{path} is no list of episodes; {remedy(path)}")
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            yield parsed(line, kind, f"{path} line {number}")
