"""The numbered files of a growing LeRobot dataset: tables and videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from softflow.data.data_spec import DataSpec
from softflow.formats.lerobot.extras import png
from softflow.formats.lerobot.layout import CHUNK_FILE
from softflow.formats.lerobot.video import VideoWriter

MIB = 1024**2


class Numbering(Protocol):
    """Which file comes next, and when."""

    def next_path(self) -> Path:
        """The next file; its folder is made."""
        ...

    def is_full(self, size: int) -> bool:
        """Whether a file of so many bytes is followed by another one."""
        ...

    @property
    def place(self) -> tuple[int, int]:
        """Chunk and file number of the newest file."""
        ...


class SharedFiles:
    """v3.0: FOLDER/chunk-000/file-000, file-001, …, many episodes in each.

    Args:
        folder: data, or videos/<camera>.
        suffix: of a file.
        chunk_size: after so many files comes chunk-001.
        limit: bytes from which on a file is followed by the next one.
    """

    def __init__(self, folder: Path, suffix: str, chunk_size: int, limit: int) -> None:
        self._folder, self._suffix = folder, suffix
        self._chunk_size, self._limit, self._count = chunk_size, limit, -1

    def next_path(self) -> Path:
        """The next file; its folder is made."""
        self._count += 1
        name = CHUNK_FILE.format(chunk_index=self.place[0], file_index=self.place[1])
        path = self._folder / f"{name}{self._suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def is_full(self, size: int) -> bool:
        """Whether a file of so many bytes is followed by another one."""
        return size >= self._limit

    @property
    def place(self) -> tuple[int, int]:
        """Chunk and file number of the newest file."""
        return divmod(self._count, self._chunk_size)


class EpisodeFiles:
    """v2.1: FOLDER/chunk-000/[CAMERA/]episode_000000, episode_000001, …, a file an episode.

    Args:
        folder: data, or videos.
        suffix: of a file.
        chunk_size: after so many files comes chunk-001.
        camera: of the videos; "" for tables.
    """

    def __init__(self, folder: Path, suffix: str, chunk_size: int, camera: str = "") -> None:
        self._folder, self._suffix, self._camera = folder, suffix, camera
        self._chunk_size, self._count = chunk_size, -1

    def next_path(self) -> Path:
        """The next file; its folder is made."""
        self._count += 1
        folder = self._folder / f"chunk-{self.place[0]:03d}" / self._camera
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"episode_{self._count:06d}{self._suffix}"

    def is_full(self, size: int) -> bool:
        """Always: an episode a file."""
        return True

    @property
    def place(self) -> tuple[int, int]:
        """Chunk and file number of the newest file."""
        return divmod(self._count, self._chunk_size)


class DataFiles:
    """The tables: one row group an episode.

    Args:
        features: as in meta/info.json; videos are left out.
        numbering: which files.
    """

    def __init__(self, features: dict[str, dict[str, Any]], numbering: Numbering) -> None:
        self._features = {k: v for k, v in features.items() if v["dtype"] != "video"}
        self._schema = pa.schema([(key, _type(value)) for key, value in self._features.items()])
        self._numbering = numbering
        self._writer: pq.ParquetWriter | None = None
        self._path = Path()

    def append(self, columns: dict[str, np.ndarray]) -> dict[str, int]:
        """Write an episode, feature -> [T, ...]; gives where it is, as in meta/episodes."""
        if self._writer is None or self._numbering.is_full(self._path.stat().st_size):
            self.close()
            self._path = self._numbering.next_path()
            self._writer = pq.ParquetWriter(self._path, self._schema)
        arrays = [
            _array(columns[key], feature["dtype"] == "image", self._schema.field(key).type)
            for key, feature in self._features.items()
        ]
        self._writer.write_table(pa.table(arrays, schema=self._schema))
        chunk, file = self._numbering.place
        return {"data/chunk_index": chunk, "data/file_index": file}

    def close(self) -> None:
        """Write the index of the newest file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


class VideoFiles:
    """The videos of a camera: frames of one episode after the other.

    Args:
        key: the camera.
        spec: its size and rate.
        numbering: which files.
    """

    def __init__(self, key: str, spec: DataSpec, numbering: Numbering) -> None:
        self._key, self._spec, self._numbering = key, spec, numbering
        self._writer: VideoWriter | None = None
        self.info: dict[str, Any] = {}

    def append(self, frames: np.ndarray) -> dict[str, Any]:
        """Write an episode, uint8 [T, height, width, 3]; gives where, as in meta/episodes."""
        if self._writer is None or self._numbering.is_full(self._writer.size):
            self.close()
            height, width = frames.shape[1:3]
            path = self._numbering.next_path()
            self._writer = VideoWriter(path, self._spec.control_hz, height, width)
            self.info = self._writer.info
        start_s = self._writer.time_s
        self._writer.append(frames)
        chunk, file = self._numbering.place
        values = {
            "chunk_index": chunk,
            "file_index": file,
            "from_timestamp": start_s,
            "to_timestamp": self._writer.time_s,
        }
        return {f"videos/{self._key}/{name}": value for name, value in values.items()}

    def close(self) -> None:
        """Write what the encoder still holds, and the index of the newest file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def _type(feature: dict[str, Any]) -> pa.DataType:
    """The column type that LeRobot gives a feature."""
    if feature["dtype"] == "image":
        return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    value = pa.type_for_alias(feature["dtype"])
    shape = tuple(feature["shape"])
    if shape == (1,):
        return value
    if len(shape) == 1:
        return pa.list_(value, shape[0])
    for _ in shape:
        value = pa.list_(value)
    return value


def _array(values: np.ndarray, is_image: bool, kind: pa.DataType) -> pa.Array:
    """[T, ...] as a column."""
    if is_image:
        rows: list[Any] = [{"bytes": png(frame), "path": None} for frame in values]
        return pa.array(rows, kind)
    if pa.types.is_fixed_size_list(kind):
        flat = pa.array(np.ascontiguousarray(values).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, type=kind)
    if pa.types.is_nested(kind):
        return pa.array(values.tolist(), kind)
    return pa.array(np.ascontiguousarray(values).reshape(-1), kind)
