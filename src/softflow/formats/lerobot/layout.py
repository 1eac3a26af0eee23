"""Where a LeRobot dataset keeps each episode: meta/info.json, and the lists of episodes and tasks.

v2.0, v2.1    meta/episodes.jsonl, meta/tasks.jsonl
              data/chunk-000/episode_000007.parquet
              videos/chunk-000/<camera>/episode_000007.mp4
v3.0          meta/episodes/chunk-000/file-000.parquet, meta/tasks.parquet
              data/chunk-000/file-000.parquet              many episodes
              videos/<camera>/chunk-000/file-000.mp4       many episodes
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import pyarrow as pa
import pyarrow.parquet as pq

from softflow.errors import DataError, StoreError
from softflow.utils.files import read_json

EPISODE_FILES = ("v2.0", "v2.1")
"""Versions with one table and one video per camera for each episode."""
SHARED_FILES = "v3.0"
"""The version with many episodes in each file."""
CAMERA_TYPES = ("video", "image")
CHUNK_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
V2_CHUNK_SIZE = 1000


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
    features: dict[str, dict[str, Any]]
    fps: float
    robot_type: str
    _info: Mapping[str, Any]

    @classmethod
    def of(cls, path: Path) -> Layout:
        """The layout of the dataset in a folder.

        Raises:
            DataError: not such a dataset, damaged, or of a version nobody here knows.
        """
        file = path / "meta" / "info.json"
        try:
            info = read_json(file)
        except StoreError as error:
            raise DataError(
                f"{path} is not a LeRobot dataset: {str(error).rstrip('.')}; give the folder with "
                "meta/ and data/ in it"
            ) from error
        with damage_named(file):
            version = str(info["codebase_version"])
            if version not in (*EPISODE_FILES, SHARED_FILES):
                raise DataError(
                    f"{file}: codebase_version is {version}; softflow reads "
                    f"{', '.join(EPISODE_FILES)} and {SHARED_FILES}, convert the dataset with "
                    "LeRobot's own scripts"
                )
            layout = cls(
                path,
                version,
                {key: _feature(key, value, file) for key, value in info["features"].items()},
                float(info["fps"]),
                str(info.get("robot_type") or ""),
                info,
            )
        if "action" not in layout.features:
            raise DataError(
                f"{file}: no feature 'action' (it has {sorted(layout.features)}); rename the "
                "action column, there and in the tables, to 'action'"
            )
        return layout

    @property
    def cameras(self) -> list[str]:
        """Features that are pictures or videos."""
        return [key for key, value in self.features.items() if value["dtype"] in CAMERA_TYPES]

    @property
    def states(self) -> list[str]:
        """Features `observation.*` of floating-point numbers."""
        return [
            key
            for key, value in self.features.items()
            if key.startswith("observation.") and value["dtype"].startswith("float")
        ]

    def places(self, cameras: list[str]) -> dict[str, Place]:
        """Every episode by name, in order, with the clips of these cameras.

        Raises:
            DataError: the list of episodes is missing, damaged or empty.
        """
        videos = [key for key in cameras if self.features[key]["dtype"] == "video"]
        find = self._shared_files if self.version == SHARED_FILES else self._episode_files
        places = {place.name: place for place in sorted(find(videos), key=lambda p: p.index)}
        if not places:
            raise DataError(f"{self.path}/meta lists no episodes; choose another dataset")
        promised = self._info.get("total_episodes", len(places))
        if promised != len(places):
            raise DataError(
                f"{self.path}/meta lists {len(places)} episodes, but meta/info.json says "
                f"{promised}; the list was cut, download the dataset again"
            )
        return places

    def tasks(self) -> dict[int, str]:
        """task_index -> what was to be done, in words; empty when the dataset has no such list."""
        if self.version != SHARED_FILES:
            file = self.path / "meta" / "tasks.jsonl"
            rows = _lines(file) if file.exists() else iter(())
        else:
            file = self.path / "meta" / "tasks.parquet"
            with damage_named(file):
                rows = iter(pq.read_table(file).to_pylist() if file.exists() else [])
        with damage_named(file):
            # pandas keeps the words as its index, which has no name of its own in every version.
            return {
                int(row["task_index"]): str(next(v for k, v in row.items() if k != "task_index"))
                for row in rows
            }

    def _episode_files(self, videos: list[str]) -> Iterator[Place]:
        file = self.path / "meta" / "episodes.jsonl"
        for row in _lines(file):
            with damage_named(file):
                index = int(row["episode_index"])
                chunk = index // int(self._info.get("chunks_size", V2_CHUNK_SIZE))
                where = {"episode_index": index, "episode_chunk": chunk}
                clips = {key: Clip(self._file("video", video_key=key, **where)) for key in videos}
                yield Place(
                    index,
                    int(row["length"]),
                    self._file("data", **where),
                    tuple(row.get("tasks") or ()),
                    clips,
                )

    def _shared_files(self, videos: list[str]) -> Iterator[Place]:
        folder = self.path / "meta" / "episodes"
        for file in sorted(folder.glob("*/*.parquet")):
            with damage_named(file):
                names = pq.read_schema(file).names
                wanted = [name for name in names if not name.startswith("stats/")]
                for row in pq.read_table(file, columns=wanted).to_pylist():
                    yield self._shared_place(row, videos)

    def _shared_place(self, row: dict[str, Any], videos: list[str]) -> Place:
        def in_chunk(kind: str, prefix: str, **more: str) -> Path:
            chunk, number = int(row[f"{prefix}/chunk_index"]), int(row[f"{prefix}/file_index"])
            return self._file(kind, chunk_index=chunk, file_index=number, **more)

        index, length = int(row["episode_index"]), int(row["length"])
        clips: dict[str, Clip] = {}
        for key in videos:
            start, end = (float(row[f"videos/{key}/{end}_timestamp"]) for end in ("from", "to"))
            clips[key] = Clip(in_chunk("video", f"videos/{key}", video_key=key), start, end)
        tasks = tuple(row.get("tasks") or ())
        return Place(index, length, in_chunk("data", "data"), tasks, clips)

    def _file(self, kind: str, **where: Any) -> Path:
        return self.path / str(self._info[f"{kind}_path"]).format(**where)


def _feature(key: str, value: Any, file: Path) -> dict[str, Any]:
    """dtype, shape (a tuple) and names of a feature."""
    if not isinstance(value, Mapping) or "dtype" not in value or "shape" not in value:
        raise DataError(f"{file}: feature '{key}' has no dtype or shape; restore the file")
    return {**value, "dtype": str(value["dtype"]), "shape": tuple(map(int, value["shape"]))}


def component_names(names: Any) -> tuple[str, ...]:
    """The names of a feature's components, which recorders write in four ways.

    A list; a list in a list; {"motors": list}; {"x": 0, "y": 1}.
    """
    if isinstance(names, Mapping):
        whole = all(isinstance(value, int) for value in names.values())
        return tuple(names) if whole else component_names(list(names.values()))
    if isinstance(names, list):
        return tuple(name for part in names for name in component_names(part))
    return (str(names),) if names is not None else ()


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; download it again") from error
    for number, line in enumerate(lines, start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise DataError(
                f"{path} line {number} is not JSON ({error}); download the file again"
            ) from error


@contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """Errors of the Parquet, picture and video libraries, with the file and what to do.

    Raises:
        DataError: instead of theirs.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is missing, though the dataset's meta/ promises it; download it again"
        ) from error
    # PIL tells of a broken PNG with a SyntaxError.
    except (
        OSError,
        pa.ArrowException,
        av.FFmpegError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        SyntaxError,
    ) as error:
        raise DataError(
            f"cannot read {path}: {type(error).__name__}: {error}; download the file again, it "
            "may have been cut"
        ) from error
