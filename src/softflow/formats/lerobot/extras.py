"""What LeRobot has no place for, kept beside its own files so that nothing of a store is lost.

    meta/softflow/spec.json           the DataSpec: action space, exact rate, names
    meta/softflow/episodes.parquet    one row and row group an episode

Columns of episodes.parquet: episode_index, length, terminated, success, metadata (JSON), and
`final/observation.*`, the observation after the last action: float32, or a PNG file of a camera.
LeRobot's own tools neither read nor copy these files. A dataset they have rewritten is imported as
any other; one they have changed in place no longer fits, which is noticed by the lengths.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from softflow.data.data_spec import DataSpec, is_image_key
from softflow.data.episode import Episode
from softflow.errors import DataError, brief
from softflow.formats.documents import parsed, read_document
from softflow.formats.frames import decoded_picture
from softflow.formats.lerobot.layout import Place
from softflow.formats.lerobot.opening import damage_named
from softflow.formats.lerobot.rows import EpisodeRows
from softflow.formats.lerobot.tables import numbers
from softflow.utils.files import inside, write_json

FOLDER = Path("meta/softflow")
FORMAT_VERSION = 1
FINAL = "final/"


@dataclass(frozen=True)
class Kept:
    """What was kept of an episode.

    Args:
        final: key -> the observation after the last action.
        terminated, success, metadata: as in `Episode`.
    """

    final: dict[str, np.ndarray]
    terminated: bool
    success: bool
    metadata: dict[str, Any]


class SpecDocument(msgspec.Struct):
    """spec.json."""

    format_version: int
    spec: dict[str, Any] = {}


class Extras:
    """The extras of a dataset that softflow exported; `of` gives None for any other."""

    def __init__(self, folder: Path, spec: DataSpec) -> None:
        self._folder, self._file, self._spec = folder, folder / "episodes.parquet", spec
        self._rows = EpisodeRows()

    @classmethod
    def of(cls, path: Path) -> Extras | None:
        """The extras of the dataset in a folder, None where there are none.

        Raises:
            DataError: damaged, or of a newer softflow.
        """
        folder = path / FOLDER
        if not folder.exists():
            return None
        inside(path, FOLDER / "episodes.parquet")
        try:
            said = read_document(inside(path, FOLDER / "spec.json"), SpecDocument)
            if said.format_version <= FORMAT_VERSION:
                return cls(folder, DataSpec.from_json(said.spec))
        except (DataError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise DataError(
                f"{folder} is damaged ({brief(error)}); export again, or delete the folder to do "
                "without the final observations"
            ) from error
        raise DataError(
            f"{folder} has format_version {said.format_version}, this softflow reads up to "
            f"{FORMAT_VERSION}; upgrade it (pip install --upgrade softflow)"
        )

    def spec_for(self, shapes: dict[str, tuple[int, ...]], action_dim: int) -> DataSpec:
        """The exported store's spec, of these observations only.

        Raises:
            DataError: the dataset has other features by now.
        """
        known = self._spec.observation_shapes
        other = [
            key
            for key, shape in shapes.items()
            if key not in known or prod(known[key]) != prod(shape)
        ]
        if other or action_dim != self._spec.action_dim:
            raise self._misfit(f"feature '{[*other, 'action'][0]}' is another one")
        names = {k: v for k, v in self._spec.names.items() if k in shapes or k == "action"}
        shapes = {key: known[key] for key in shapes}
        return replace(self._spec, observation_shapes=shapes, names=names)

    def read(self, place: Place, spec: DataSpec) -> Kept:
        """What was kept of an episode.

        Raises:
            DataError: damaged, or of an episode that is another one by now.
        """
        keys = spec.observation_shapes
        columns = ["length", "terminated", "success", "metadata", *(FINAL + key for key in keys)]
        table = self._rows.read(self._file, place.index, columns)
        where = f"{self._file}, {place.name}"
        with damage_named(self._file):
            if table.num_rows != 1 or table.column("length")[0].as_py() != place.length:
                raise self._misfit(f"{place.name} has {place.length} rows now")
            final = {key: self._final(table, key, shape, where) for key, shape in keys.items()}
            return Kept(
                final,
                bool(table.column("terminated")[0].as_py()),
                bool(table.column("success")[0].as_py()),
                parsed(table.column("metadata")[0].as_py(), dict[str, Any], f"{where}: metadata"),
            )

    def _final(self, table: pa.Table, key: str, shape: tuple[int, ...], where: str) -> np.ndarray:
        if is_image_key(key):
            data = table.column(FINAL + key)[0].as_py()
            return decoded_picture(data, f"{where}: final '{key}'", shape)
        return numbers(table, FINAL + key, (prod(shape),), where).reshape(shape)

    def _misfit(self, what: str) -> DataError:
        return DataError(
            f"{self._folder} does not belong to this dataset any more ({what}); export again, or "
            "delete that folder to do without the final observations"
        )


class ExtrasWriter:
    """Writes the extras of a dataset, an episode at a time."""

    def __init__(self, path: Path, spec: DataSpec) -> None:
        folder = path / FOLDER
        folder.mkdir(parents=True)
        write_json(folder / "spec.json", {"format_version": FORMAT_VERSION, "spec": spec.to_json()})
        columns: list[tuple[str, pa.DataType]] = [
            ("episode_index", pa.int64()),
            ("length", pa.int64()),
            ("terminated", pa.bool_()),
            ("success", pa.bool_()),
            ("metadata", pa.string()),
        ]
        for key in spec.observation_shapes:
            kind = pa.binary() if is_image_key(key) else pa.list_(pa.float32())
            columns.append((FINAL + key, kind))
        self._schema = pa.schema(columns)
        self._writer = pq.ParquetWriter(folder / "episodes.parquet", self._schema)

    def append(self, index: int, episode: Episode) -> None:
        """Keep what LeRobot has no place for."""
        row: dict[str, Any] = {
            "episode_index": index,
            "length": episode.length,
            "terminated": bool(episode.terminated),
            "success": bool(episode.success),
            "metadata": json.dumps(episode.metadata),
        }
        for key, values in episode.observations.items():
            last = values[-1]
            row[FINAL + key] = png(last) if is_image_key(key) else last.reshape(-1)
        self._writer.write_table(pa.Table.from_pylist([row], self._schema))

    def close(self) -> None:
        """Write the index of the table."""
        self._writer.close()


def png(pixels: np.ndarray) -> bytes:
    """A picture, uint8 [height, width, 3], as a PNG file: lossless."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="png", compress_level=1)
    return file.getvalue()
