"""Where the frames of an episode file lie, so that one of them is read and decoded by itself.

A camera is stored in pieces of a few frames, each a Zstandard frame in an uncompressed zip entry.
Once the places of the pieces are known, reading one takes two reads and one decompression; Zarr's
own machinery would cost several times the decompression.
"""

from __future__ import annotations

import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from numcodecs.zstd import decompress

from softflow.data.episode_file import DATA, FINAL, check_format
from softflow.data.episode_reading import damaged
from softflow.errors import StoreError

_LOCAL_HEADER = struct.Struct("<26xHH")
_USUAL_NAME_BYTES = 128


@dataclass(frozen=True, eq=False)
class PieceTable:
    """The pieces of one camera in one episode file.

    Args:
        key: of the camera.
        frame_shape: (height, width, 3).
        frames_per_piece: of all but the final frame's piece, which holds just that.
        num_frames: frames that the numbered pieces hold: T, in format 1 also the final one.
        entries: `[pieces, 3]` int64: offset of the zip entry, its bytes, their CRC-32. The piece of
            the final frame is the last.

    Attributes:
        intact: `[pieces]` bool, pieces whose checksum matched when they were first read; it is not
            computed again, because it takes longer than decompressing does.
    """

    key: str
    frame_shape: tuple[int, ...]
    frames_per_piece: int
    num_frames: int
    entries: np.ndarray
    intact: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "intact", np.zeros(len(self.entries), bool))

    def place(self, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number of the piece that holds each frame `[N]`, and the frame's position in it."""
        final = steps == self.num_frames
        pieces = np.where(final, len(self.entries) - 1, steps // self.frames_per_piece)
        return pieces, np.where(final, 0, steps % self.frames_per_piece)

    def read(self, file: int, path: Path, piece: SupportsIndex) -> np.ndarray:
        """Read and decode a piece: uint8 `[frames, height, width, 3]`, read-only.

        Args:
            file: descriptor of the opened episode file.
            path: its path, for messages.
            piece: its number.

        Raises:
            DamagedEpisodeError: its bytes are not what was written.
        """
        return self.decode(self.compressed(file, path, piece))

    def compressed(self, file: int, path: Path, piece: SupportsIndex) -> memoryview:
        """The bytes of a piece as they lie in the file; raises as `read`."""
        offset, size, crc32 = self.entries[piece].tolist()
        # Name and extra field of the local header, whose lengths only the header tells.
        read = os.pread(file, _LOCAL_HEADER.size + _USUAL_NAME_BYTES + size, offset)
        start = _LOCAL_HEADER.size
        if len(read) >= start:
            start += sum(_LOCAL_HEADER.unpack_from(read))
        if len(read) < start + size:
            read = os.pread(file, start + size, offset)
        payload = memoryview(read)[start : start + size]
        if not self.intact[piece]:
            if zlib.crc32(payload) != crc32:
                raise damaged(path, f"checksum of piece {piece} of '{self.key}' does not match")
            self.intact[piece] = True
        return payload

    def decode(self, payload: memoryview) -> np.ndarray:
        """The frames of a compressed piece."""
        return np.frombuffer(decompress(payload), np.uint8).reshape(-1, *self.frame_shape)


def piece_tables(path: Path, keys: Iterable[str]) -> dict[str, PieceTable]:
    """The pieces of these cameras of an episode file.

    Raises:
        DamagedEpisodeError: pieces are missing.
        StoreError: the file is of a newer format, or its frames were compressed by other software.
        Exception: anything zipfile and json raise on a damaged file; use inside `reading`.
    """
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
        attributes = json.loads(archive.read("zarr.json"))["attributes"]
        version = attributes.get("format_version")
        check_format(version, path)
        tables: dict[str, PieceTable] = {}
        for key in keys:
            names = [key] if version == 1 else [DATA + key, FINAL + key]
            arrays = [_array(json.loads(archive.read(f"{name}/zarr.json")), path) for name in names]
            found = [
                _entries(entries, name, array, path)
                for name, array in zip(names, arrays, strict=True)
            ]
            shape, frames_per_piece = arrays[0]
            tables[key] = PieceTable(
                key, shape[1:], frames_per_piece, shape[0], np.concatenate(found)
            )
    return tables


def _array(metadata: dict[str, Any], path: Path) -> tuple[tuple[int, ...], int]:
    """Shape of a Zarr array of frames, and frames in a piece."""
    shape = tuple(metadata["shape"])
    pieces = tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"])
    codecs = [codec["name"] for codec in metadata["codecs"]]
    encoding = metadata["chunk_key_encoding"]
    separator = encoding.get("configuration", {}).get("separator", "/")
    if (
        codecs != ["bytes", "zstd"]
        or pieces[1:] != shape[1:]
        or (encoding["name"], separator) != ("default", "/")
    ):
        raise StoreError(
            f"the frames in '{path}' were stored by other software (codecs {', '.join(codecs)}, "
            f"chunks {pieces}); append the episode to a store again with EpisodeStore.append."
        )
    return shape, pieces[0]


def _entries(
    archive: dict[str, zipfile.ZipInfo], name: str, array: tuple[tuple[int, ...], int], path: Path
) -> np.ndarray:
    """`PieceTable.entries` of one array; DamagedEpisodeError if pieces are missing."""
    shape, frames_per_piece = array
    expected = -(-shape[0] // frames_per_piece)
    zeros = "/0" * (len(shape) - 1)
    found = [archive.get(f"{name}/c/{number}{zeros}") for number in range(expected)]
    present = [entry for entry in found if entry is not None]
    if len(present) != expected:
        short = name.rpartition("/")[2]
        raise damaged(path, f"'{short}' has {len(present)} of {expected} chunks")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in present):
        raise StoreError(
            f"'{path}' was compressed by other software; append the episode to a store again with "
            "EpisodeStore.append."
        )
    rows = [(entry.header_offset, entry.file_size, entry.CRC) for entry in present]
    return np.array(rows, np.int64).reshape(-1, 3)
