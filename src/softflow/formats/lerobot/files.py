"""The numbered files of a growing LeRobot v3.0 dataset: tables and videos of many episodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from softflow.data.data_spec import DataSpec
from softflow.formats.lerobot.extras import png
from softflow.formats.lerobot.layout import CHUNK_FILE
from softflow.formats.lerobot.video import VideoWriter

MIB = 1024**2


class _Numbering:
    """chunk-000/file-000, file-001, …, and after `chunk_size` files chunk-001."""

    def __init__(self, folder: Path, suffix: str, chunk_size: int) -> None:
        self._folder, self._suffix, self._chunk_size = folder, suffix, chunk_size
        self._count = -1

    def next_path(self) -> Path:
        """The next file; its folder is made."""
        self._count += 1
        name = CHUNK_FILE.format(chunk_index=self.place[0], file_index=self.place[1])
        path = self._folder / f"{name}{self._suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def place(self) -> tuple[int, int]:
        """Chunk and file number of the newest file."""
        return divmod(self._count, self._chunk_size)


class DataFiles:
    """data/chunk-000/file-000.parquet, …: rows of many episodes, one row group an episode.

    Args:
        path: the folder of the dataset.
        features: as in meta/info.json; videos are left out.
        file_mib: a file larger than this is followed by the next one.
        chunk_size: files in a chunk folder.
    """

    def __init__(
        self, path: Path, features: dict[str, dict[str, Any]], file_mib: int, chunk_size: int
    ) -> None:
        self._features = {k: v for k, v in features.items() if v["dtype"] != "video"}
        self._schema = pa.schema([(key, _type(value)) for key, value in self._features.items()])
        self._numbering = _Numbering(path / "data", ".parquet", chunk_size)
        self._limit = file_mib * MIB
        self._writer: pq.ParquetWriter | None = None
        self._path = path

    def append(self, columns: dict[str, np.ndarray]) -> dict[str, int]:
        """Write an episode, feature -> [T, ...]; gives where it is, as in meta/episodes."""
        if self._writer is None or self._path.stat().st_size >= self._limit:
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
    """videos/<camera>/chunk-000/file-000.mp4, …: frames of many episodes, one after the other.

    Args:
        path: the folder of the dataset.
        key: the camera.
        spec: its size and rate.
        file_mib, chunk_size: as in `DataFiles`.
    """

    def __init__(
        self, path: Path, key: str, spec: DataSpec, file_mib: int, chunk_size: int
    ) -> None:
        self._key, self._spec, self._limit = key, spec, file_mib * MIB
        self._numbering = _Numbering(path / "videos" / key, ".mp4", chunk_size)
        self._writer: VideoWriter | None = None
        self.info: dict[str, Any] = {}

    def append(self, frames: np.ndarray) -> dict[str, Any]:
        """Write an episode, uint8 [T, height, width, 3]; gives where, as in meta/episodes."""
        if self._writer is None or self._writer.size >= self._limit:
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
