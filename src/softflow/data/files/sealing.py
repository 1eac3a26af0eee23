"""Arrays into a Zarr v3 group in a zip file, a piece at a time, as `sealed_arrays` reads them.

Any Zarr reads the result. Zarr itself would write the same, and takes several times as long for it:
each of an episode's many pieces of frames goes through its event loop.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs.zstd import Zstd

from softflow.data.files.frame_storage import EXACT_LEVEL
from softflow.data.files.jpeg_frames import JpegFrames, codec_document
from softflow.data.files.sealed_arrays import METADATA

GROUP = {"zarr_format": 3, "node_type": "group"}


def write_group(
    path: Path,
    arrays: Mapping[str, np.ndarray | JpegFrames],
    piece_rows: Mapping[str, int],
    attributes: Mapping[str, Any],
) -> None:
    """Write a group.

    Args:
        path: the zip file, made anew.
        arrays: by their path in the group, `[rows, ...]` with at least one row; frames as numbers
            or encoded already.
        piece_rows: rows that are compressed together; an array that is not in it is one piece.
        attributes: of the group.

    Raises:
        OSError: the disk refuses.
    """
    folders = {parent for name in arrays for parent in _parents(name)}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        _write_document(archive, "", {"attributes": dict(attributes), **GROUP})
        for folder in sorted(folders):
            _write_document(archive, folder, {"attributes": {}, **GROUP})
        for name, array in arrays.items():
            if isinstance(array, JpegFrames):
                _write_frames(archive, name, array)
            else:
                rows = min(piece_rows.get(name, len(array)), len(array))
                _write_array(archive, name, array, rows)


def _parents(name: str) -> list[str]:
    """meta and meta/final for meta/final/observation.state."""
    parts = name.split("/")[:-1]
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def _write_document(archive: zipfile.ZipFile, name: str, document: dict[str, Any]) -> None:
    archive.writestr(f"{name}/{METADATA}".lstrip("/"), json.dumps(document))


def _write_array(archive: zipfile.ZipFile, name: str, array: np.ndarray, rows: int) -> None:
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    shape = (rows, *array.shape[1:])
    order = {} if array.dtype.itemsize == 1 else {"configuration": {"endian": "little"}}
    compressed = {"name": "zstd", "configuration": {"level": EXACT_LEVEL, "checksum": False}}
    codecs = [{"name": "bytes", **order}, compressed]
    _write_document(archive, name, _described(array.shape, array.dtype, shape, codecs))
    codec = Zstd(level=EXACT_LEVEL)
    across = "/0" * (array.ndim - 1)
    for number, start in enumerate(range(0, len(array), rows)):
        piece = np.ascontiguousarray(little[start : start + rows])
        if len(piece) < rows:
            # A piece has its full size, whatever of it is in the array.
            piece = np.concatenate([piece, np.zeros((rows - len(piece), *shape[1:]), piece.dtype)])
        archive.writestr(f"{name}/c/{number}{across}", bytes(codec.encode(piece)))


def _write_frames(archive: zipfile.ZipFile, name: str, frames: JpegFrames) -> None:
    piece = (1, *frames.shape[1:])
    codecs = [codec_document(frames.storage)]
    _write_document(archive, name, _described(frames.shape, np.dtype(np.uint8), piece, codecs))
    for number, picture in enumerate(frames.pieces):
        archive.writestr(f"{name}/c/{number}/0/0/0", picture)


def _described(
    shape: Sequence[int], dtype: np.dtype[Any], piece: Sequence[int], codecs: list[dict[str, Any]]
) -> dict[str, Any]:
    """`zarr.json` of an array."""
    return {
        "shape": list(shape),
        "data_type": dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(piece)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": np.zeros((), dtype).item(),
        "codecs": codecs,
        "attributes": {},
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }
