"""Where the frames of an episode file lie, so that one of them is read and decoded by itself.

A camera is stored in pieces of a few frames, each a Zstandard frame in an uncompressed zip
entry, or in JPEGs of one frame each.
Once the places of the pieces are known, reading one takes two reads and one decompression; Zarr's
own machinery would cost several times the decompression.
"""

from __future__ import annotations

import math
import os
import struct
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import SupportsIndex

import numpy as np

from softflow.data.files.episode_file import array_names, facts_of
from softflow.data.files.episode_reading import damaged
from softflow.data.files.jpeg_frames import decoded_frame
from softflow.data.files.sealed_arrays import SealedGroup, decoded, frame_bytes
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
        is_jpeg: each piece is a JPEG of one frame.

    Attributes:
        intact: `[pieces]` bool, pieces whose checksum matched when they were first read; it is not
            computed again, because it takes longer than decompressing does.
    """

    key: str
    frame_shape: tuple[int, ...]
    frames_per_piece: int
    num_frames: int
    entries: np.ndarray
    is_jpeg: bool = False
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
        """The frames of a compressed piece; ValueError if they are more than a piece has."""
        if self.is_jpeg:
            return decoded_frame(payload, self.frame_shape)[None]
        size = frame_bytes(payload)
        if size > self.frames_per_piece * math.prod(self.frame_shape):
            raise ValueError(f"a piece of '{self.key}' declares {size} bytes")
        return decoded(payload, size).reshape(-1, *self.frame_shape)


def piece_tables(path: Path, keys: Iterable[str]) -> dict[str, PieceTable]:
    """The pieces of these cameras of an episode file.

    Raises:
        DamagedEpisodeError: pieces are missing.
        StoreError: the file is of a newer format, or its frames were compressed by other software.
        Exception: anything zipfile, json and msgspec raise on a damaged file; use inside `reading`.
    """
    tables: dict[str, PieceTable] = {}
    with zipfile.ZipFile(path) as archive:
        group = SealedGroup(archive, path)
        facts = facts_of(group, path)
        for key in keys:
            arrays = [group.array(name) for name in array_names(key, facts)]
            steps = arrays[0]
            if any(array.dtype != np.uint8 for array in arrays):
                raise StoreError(f"'{key}' in '{path}' is {steps.dtype}; frames are uint8.")
            rows = [
                (entry.header_offset, entry.file_size, entry.CRC)
                for array in arrays
                for entry in array.entries
            ]
            entries = np.array(rows, np.int64).reshape(-1, 3)
            rows_in_piece, count = steps.piece_rows, steps.shape[0]
            tables[key] = PieceTable(
                key, steps.shape[1:], rows_in_piece, count, entries, steps.is_jpeg
            )
    return tables
