"""LeRobot datasets v2.1 and v3.0, in: Parquet tables, MP4 or PNG cameras, tasks.

v2.1 has one table and one video per camera and episode, v3.0 many episodes in each file and a table
(`meta/episodes`) that says which rows and which seconds belong to whom.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from softflow.data.batch import IMAGE_PREFIX, OBSERVATION_PREFIX, DataSpec, Episode
from softflow.data.files import read_json
from softflow.errors import DataError, StoreError
from softflow.formats.source import repeated_last, require_equal_lengths

VERSIONS = ("v2.1", "v3.0")
IMAGE_TYPES = ("video", "image")
DEFAULT_DATA_PATH = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"


@dataclass(frozen=True)
class _Place:
    """Where one episode lies: its table, and its stretch of each camera's video."""

    index: int
    length: int
    table: Path
    tasks: tuple[str, ...]
    videos: dict[str, tuple[Path, float]] = field(default_factory=dict)
    """camera -> video file, and the second in it at which the episode starts."""


class LeRobotSource:
    """A LeRobot dataset on this disk.

    Args:
        path: the folder that holds `meta/info.json`.
        cameras: features to take, such as "observation.images.front"; all when None.
        end_at_success: cut an episode behind its first `next.success` and terminate it there.

    Raises:
        DataError: not such a dataset, of another version, or damaged; names the file and the fix.
    """

    def __init__(
        self, path: Path, *, cameras: Sequence[str] | None = None, end_at_success: bool = True
    ) -> None:
        self.path, self._end_at_success = path, end_at_success
        self._info = self._read_json("meta/info.json")
        self.version = str(self._info.get("codebase_version"))
        if self.version not in VERSIONS:
            raise DataError(
                f"{path}/meta/info.json is of version {self.version}; softflow reads "
                f"{' and '.join(VERSIONS)}: convert it with LeRobot's own scripts"
            )
        self._features: dict[str, dict[str, Any]] = self._info["features"]
        self._cameras = self._chosen_cameras(cameras)
        self._states = [
            key
            for key, feature in self._features.items()
            if key.startswith(OBSERVATION_PREFIX) and feature["dtype"] not in IMAGE_TYPES
        ]
        self._places = self._find_episodes()
        self.spec = self._spec()

    def episodes(self) -> list[str]:
        """episode_000000, episode_000001, …"""
        return list(self._places)

    def read(self, name: str) -> Episode:
        """An episode; its final observation, which LeRobot does not record, is the last one."""
        place = self._places[name]
        table = self._table(place)
        lengths = {f"meta ({name})": place.length, "rows": table.num_rows}
        observations = {key: self._column(table, key, place) for key in self._states}
        for camera in self._cameras:
            frames = self._frames(camera, table, place)
            lengths[camera] = len(frames)
            observations[camera] = frames
        require_equal_lengths(lengths, str(place.table))
        actions = self._column(table, "action", place)
        return self._episode(
            {key: repeated_last(value) for key, value in observations.items()},
            actions,
            table,
            place,
        )

    def _episode(
        self,
        observations: dict[str, np.ndarray],
        actions: np.ndarray,
        table: pa.Table,
        place: _Place,
    ) -> Episode:
        metadata: dict[str, Any] = {
            "source": str(self.path),
            "operator": self._info.get("robot_type") or "unknown",
            "final_observation": "repeated",
        }
        if place.tasks:
            metadata["task"] = place.tasks[0]
        labelled = "next.reward" in table.column_names or "next.success" in table.column_names
        if not labelled:
            metadata["unlabelled"] = True
        rewards = self._optional(table, "next.reward", place, len(actions))
        succeeded = np.flatnonzero(self._optional(table, "next.success", place, len(actions)) > 0)
        success = len(succeeded) > 0
        length = int(succeeded[0]) + 1 if success and self._end_at_success else len(actions)
        return Episode(
            {key: value[: length + 1] for key, value in observations.items()},
            actions[:length],
            rewards[:length],
            terminated=success,
            truncated=not success,
            success=success,
            metadata=metadata,
        )

    # ---- what the dataset holds -------------------------------------------------------------

    def _chosen_cameras(self, wanted: Sequence[str] | None) -> list[str]:
        there = [key for key, feature in self._features.items() if feature["dtype"] in IMAGE_TYPES]
        if absent := [key for key in wanted or () if key not in there]:
            raise DataError(f"{self.path} has no camera '{absent[0]}'; it has {there or 'none'}")
        return list(there if wanted is None else wanted)

    def _find_episodes(self) -> dict[str, _Place]:
        find = self._places_v21 if self.version == "v2.1" else self._places_v30
        places = {f"episode_{place.index:06d}": place for place in find()}
        if not places:
            raise DataError(f"{self.path} holds no episodes; choose another dataset")
        return places

    def _places_v21(self) -> Iterator[_Place]:
        chunk_size = int(self._info.get("chunks_size", 1000))
        for line in self._lines("meta/episodes.jsonl"):
            index = int(line["episode_index"])
            where = {"episode_index": index, "episode_chunk": index // chunk_size}
            videos = {
                key: (self.path / self._info["video_path"].format(video_key=key, **where), 0.0)
                for key in self._cameras
                if self._features[key]["dtype"] == "video"
            }
            table = self.path / self._info.get("data_path", DEFAULT_DATA_PATH).format(**where)
            yield _Place(index, int(line["length"]), table, tuple(line.get("tasks", ())), videos)

    def _places_v30(self) -> Iterator[_Place]:
        for file in sorted((self.path / "meta" / "episodes").glob("**/*.parquet")):
            with _reading(file):
                rows = pq.read_table(file).to_pylist()
            for row in rows:
                yield self._place_v30(row)

    def _place_v30(self, row: dict[str, Any]) -> _Place:
        def named(pattern: str, prefix: str, **more: str) -> Path:
            chunk, file = row[f"{prefix}/chunk_index"], row[f"{prefix}/file_index"]
            return self.path / self._info[pattern].format(
                chunk_index=chunk, file_index=file, **more
            )

        videos = {
            key: (
                named("video_path", f"videos/{key}", video_key=key),
                float(row[f"videos/{key}/from_timestamp"]),
            )
            for key in self._cameras
            if self._features[key]["dtype"] == "video"
        }
        table = named("data_path", "data")
        tasks = tuple(row.get("tasks") or ())
        return _Place(int(row["episode_index"]), int(row["length"]), table, tasks, videos)

    def _spec(self) -> DataSpec:
        shapes = {key: tuple(self._features[key]["shape"]) for key in self._states}
        shapes |= {key: self._image_shape(key) for key in self._cameras}
        low, high = self._action_range()
        keys = [*self._states, "action"]
        named = {key: _flat_names(self._features[key].get("names")) for key in keys}
        whole = {**shapes, "action": (len(low),)}
        return DataSpec(
            shapes,
            len(low),
            tuple(low),
            tuple(high),
            float(self._info["fps"]),
            names={key: names for key, names in named.items() if (len(names),) == whole[key]},
        )

    def _image_shape(self, key: str) -> tuple[int, int, int]:
        """(height, width, 3); some writers say (3, height, width)."""
        if not key.startswith(IMAGE_PREFIX):
            raise DataError(f"{self.path}: camera '{key}' should be named {IMAGE_PREFIX}<camera>")
        shape = tuple(self._features[key]["shape"])
        height, width = shape[1:] if shape[0] == 3 and shape[2] != 3 else shape[:2]
        return int(height), int(width), 3

    def _action_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest action of the data; one table at a time."""
        low: np.ndarray | None = None
        high: np.ndarray | None = None
        for path in dict.fromkeys(place.table for place in self._places.values()):
            with _reading(path):
                column = _matrix(pq.read_table(path, columns=["action"]).column("action"))
            least, most = column.min(axis=0), column.max(axis=0)
            low = least if low is None else np.minimum(low, least)
            high = most if high is None else np.maximum(high, most)
        assert low is not None
        assert high is not None
        return low, high

    # ---- arrays -----------------------------------------------------------------------------

    def _table(self, place: _Place) -> pa.Table:
        with _reading(place.table):
            table = pq.read_table(place.table, filters=[("episode_index", "==", place.index)])
        for key in [*self._states, "action"]:
            if key not in table.column_names:
                raise DataError(
                    f"{place.table} has no column '{key}', which meta/info.json promises (it has "
                    f"{table.column_names}); download the file again"
                )
        return table

    def _column(self, table: pa.Table, key: str, place: _Place) -> np.ndarray:
        """float32 [T, *shape]."""
        with _reading(place.table):
            values = _matrix(table.column(key))
        return values.reshape(len(values), *self._features[key]["shape"])

    def _optional(self, table: pa.Table, key: str, place: _Place, length: int) -> np.ndarray:
        if key not in table.column_names:
            return np.zeros(length, np.float32)
        with _reading(place.table):
            return _matrix(table.column(key)).reshape(length)

    def _frames(self, key: str, table: pa.Table, place: _Place) -> np.ndarray:
        """uint8 [T, height, width, 3]."""
        if key in place.videos:
            path, start_s = place.videos[key]
            return _video_frames(path, start_s, table.num_rows, float(self._info["fps"]))
        with _reading(place.table):
            pictures = [cell["bytes"] for cell in table.column(key).to_pylist()]
            return np.stack(
                [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in pictures]
            )

    def _read_json(self, name: str) -> dict[str, Any]:
        try:
            return read_json(self.path / name)
        except StoreError as error:
            raise DataError(
                f"{self.path} is not a LeRobot dataset: {error}; give the folder with meta/ and "
                "data/ in it"
            ) from error

    def _lines(self, name: str) -> Iterator[dict[str, Any]]:
        path = self.path / name
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


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """A column of numbers or of equally long lists as float32 [T, n] or [T]."""
    values = np.asarray(column.to_pylist(), dtype=np.float32)
    return values


def _flat_names(names: Any) -> tuple[str, ...]:
    """Names are a list, a list in a list, or a dictionary of lists, depending on who recorded."""
    if isinstance(names, dict):
        return tuple(name for part in names.values() for name in _flat_names(part))
    if isinstance(names, list):
        return tuple(name for part in names for name in _flat_names(part))
    return (str(names),) if names is not None else ()


def _video_frames(path: Path, start_s: float, count: int, fps: float) -> np.ndarray:
    """`count` frames from second `start_s` on, fewer if the video ends before."""
    frames: list[np.ndarray] = []
    with _reading(path), av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        if start_s > 0 and stream.time_base is not None:
            container.seek(int(start_s / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            if frame.time is not None and frame.time < start_s - 0.5 / fps:
                continue
            frames.append(frame.to_ndarray(format="rgb24"))
            if len(frames) == count:
                break
    return np.stack(frames) if frames else np.zeros((0, 1, 1, 3), np.uint8)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Errors of Parquet, PNG and video libraries, with the file and what to do."""
    try:
        yield
    except (OSError, pa.ArrowException, av.FFmpegError, ValueError, KeyError) as error:
        raise DataError(
            f"cannot read {path}: {type(error).__name__}: {error}; download the file again, it "
            "may have been cut"
        ) from error
