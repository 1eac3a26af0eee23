"""The arrays in an episode file, read as softflow writes them and in no other way.

An episode file is a Zarr v3 group, and any Zarr reads it. softflow itself does not ask Zarr to:
an array there may name any codec that is installed, some of which run what they decode, and a chunk
may decode to more than its array declares. Here an array is numbers of a plain type, in pieces of
whole rows, each one Zstandard frame in an uncompressed zip entry, or frames of a camera, each one
JPEG there; all else is refused by its name.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
from numcodecs.zstd import decompress

from softflow.data.files.jpeg_frames import CODEC, JpegFrames, decoded_frame
from softflow.data.files.limits import array_bytes, require_episode_bytes
from softflow.errors import DataError, StoreError
from softflow.utils.documents import MAX_DOCUMENT_BYTES

Document = TypeVar("Document")
METADATA = "zarr.json"
DATA_TYPES = (
    *("bool", "float16", "float32", "float64"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"


class Named(msgspec.Struct):
    """What Zarr gives a name and settings: codecs, grids, encodings."""

    name: str
    configuration: dict[str, Any] = {}


class ArrayDocument(msgspec.Struct):
    """`zarr.json` of an array."""

    zarr_format: Literal[3]
    node_type: Literal["array"]
    shape: list[int]
    data_type: str
    chunk_grid: Named
    chunk_key_encoding: Named
    codecs: list[Named]
    storage_transformers: list[Any] = []


class ForeignArrayError(StoreError):
    """An array that is whole, but not stored as softflow stores it."""


@dataclass(frozen=True)
class SealedArray:
    """An array whose declarations were checked; nothing of it is decoded.

    Args:
        name: its path in the group.
        shape: `[rows, ...]`.
        dtype: of its numbers.
        piece_rows: rows in a piece; the last one is filled up to as many.
        entries: of the zip, one a piece.
        is_jpeg: each piece is a JPEG, of one frame; otherwise a Zstandard frame.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    piece_rows: int
    entries: list[zipfile.ZipInfo]
    is_jpeg: bool = False

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return array_bytes(self.shape[1:], self.dtype.itemsize)


class SealedGroup:
    """The group in an opened episode file.

    Whatever is wrong with the file surfaces as StoreError, or as what zipfile, json, msgspec and
    numcodecs raise: use it inside `episode_reading.read_with`.

    Args:
        archive: the zip file.
        path: where it is, for messages.
    """

    def __init__(self, archive: zipfile.ZipFile, path: Path) -> None:
        self._archive, self.path = archive, path
        self._entries = {entry.filename: entry for entry in archive.infolist()}

    def document(self, name: str, kind: type[Document]) -> Document:
        """`zarr.json` of the group (`name` "") or of something in it, held against a schema."""
        entry = self._entry(f"{name}/{METADATA}".lstrip("/"))
        if entry.file_size > MAX_DOCUMENT_BYTES:
            raise StoreError(
                f"'{self.path}': {entry.filename} declares {entry.file_size:,} bytes; at most "
                f"{MAX_DOCUMENT_BYTES:,} are read."
            )
        # json keeps what is no Unicode, as in names of files, where msgspec's own decoder does not.
        return msgspec.convert(json.loads(self._archive.read(entry)), kind)

    def array(self, name: str) -> SealedArray:
        """What is declared of an array, checked.

        Raises:
            ForeignArrayError: it is stored in another way than softflow's.
            StoreError: larger than an episode may be.
        """
        document = self.document(name, ArrayDocument)
        self._require_ours(name, document)
        shape, dtype = tuple(document.shape), np.dtype(document.data_type).newbyteorder("<")
        try:
            require_episode_bytes(array_bytes(shape, dtype.itemsize), f"'{self.path}': '{name}'")
        except DataError as error:
            raise StoreError(f"{error}.") from error
        piece_rows = document.chunk_grid.configuration["chunk_shape"][0]
        entries = self._pieces(name, shape, -(-shape[0] // piece_rows))
        is_jpeg = document.codecs[0].name == CODEC
        return SealedArray(name, shape, dtype, piece_rows, entries, is_jpeg)

    def _require_ours(self, name: str, document: ArrayDocument) -> None:
        """Refuse what Zarr allows and softflow does not write, by name."""
        codecs = [codec.name for codec in document.codecs]
        settings = document.codecs[0].configuration if codecs else {}
        keys = document.chunk_key_encoding
        pieces = document.chunk_grid.configuration.get("chunk_shape")
        told = ""
        if document.data_type not in DATA_TYPES:
            told = f"data type {document.data_type}"
        elif codecs not in (["bytes", "zstd"], [CODEC]):
            told = f"codecs {', '.join(codecs)}"
        elif codecs == [CODEC] and not _are_frames(document, pieces):
            told = f"{CODEC} of {document.data_type} {document.shape} in pieces of {pieces}"
        elif settings.get("endian", "little") != "little" or document.storage_transformers:
            told = "numbers of another byte order, or transformed ones"
        elif (keys.name, keys.configuration.get("separator", "/")) != ("default", "/"):
            told = f"pieces named by '{keys.name}'"
        elif not _are_rows(pieces, document.shape) or document.chunk_grid.name != "regular":
            told = f"chunks {pieces} of {document.shape}"
        if told:
            raise ForeignArrayError(
                f"'{name}' in '{self.path}' was stored by other software ({told}); softflow reads "
                "what it writes: append the episode to a store again with EpisodeStore.append."
            )

    def _pieces(self, name: str, shape: tuple[int, ...], count: int) -> list[zipfile.ZipInfo]:
        zeros = "/0" * (len(shape) - 1)
        # A file with fewer entries than that need not be searched for each of them.
        known = range(min(count, len(self._entries)))
        names = [f"{name}/c/{number}{zeros}" for number in known]
        found = [self._entry(piece) for piece in names if piece in self._entries]
        if len(found) != count:
            short = name.rpartition("/")[2]
            raise ValueError(f"'{short}' has {len(found)} of {count} chunks")
        return found

    def _entry(self, name: str) -> zipfile.ZipInfo:
        if name not in self._entries:
            if ".zgroup" in self._entries:
                raise ForeignArrayError(
                    f"'{self.path}' is of Zarr format 2, which softflow neither writes nor reads; "
                    "append the episode to a store again with EpisodeStore.append."
                )
            raise ValueError(f"it has no '{name}'")
        entry = self._entries[name]
        if entry.compress_type != zipfile.ZIP_STORED:
            raise ForeignArrayError(
                f"'{self.path}' was compressed by other software, or is damaged; copy it again, "
                "or append the episode to a store again with EpisodeStore.append."
            )
        if entry.file_size != entry.compress_size:
            raise ValueError(f"'{name}' has two sizes")
        return entry

    def read(self, array: SealedArray) -> tuple[np.ndarray, str]:
        """Decode an array, and the checksum of what was stored; see `checksum`.

        No more memory than it declares, and one piece.
        """
        if not array.is_jpeg:
            values = self.rows(array, 0, array.shape[0])
            return values, checksum(values)
        # Other versions of a JPEG library may decode to other grey levels: its bytes are checked.
        digest = hashlib.sha256()
        values = np.empty(array.shape, array.dtype)
        for row, entry in enumerate(array.entries):
            payload = self._archive.read(entry)
            digest.update(payload)
            values[row] = decoded_frame(payload, array.shape[1:])
        return values, digest.hexdigest()

    def rows(self, array: SealedArray, start: int, stop: int) -> np.ndarray:
        """Decode rows `start` … `stop` − 1 of an array, as far as there are any."""
        stop = min(stop, array.shape[0])
        start = min(start, stop)
        values = np.empty((stop - start, *array.shape[1:]), array.dtype)
        size = array.piece_rows
        for number in range(start // size, -(-stop // size) if stop > start else 0):
            rows = self._piece(array, self._archive.read(array.entries[number]))
            first, last = max(start, number * size), min(stop, (number + 1) * size)
            values[first - start : last - start] = rows[
                first - number * size : last - number * size
            ]
        return values

    def _piece(self, array: SealedArray, payload: bytes) -> np.ndarray:
        """The rows of a piece."""
        if array.is_jpeg:
            return decoded_frame(payload, array.shape[1:])[None]
        piece = decoded(payload, array.piece_rows * array.row_bytes)
        return piece.view(array.dtype).reshape(-1, *array.shape[1:])


def checksum(stored: np.ndarray | JpegFrames) -> str:
    """SHA-256 of an array: of its numbers, or of the JPEGs that its frames are stored as."""
    if isinstance(stored, JpegFrames):
        return hashlib.sha256(b"".join(stored.pieces)).hexdigest()
    return hashlib.sha256(np.ascontiguousarray(stored).data).hexdigest()


def decoded(payload: bytes | memoryview, size: int) -> np.ndarray:
    """The `size` bytes of a Zstandard frame, uint8; read-only.

    Raises:
        ValueError: it is no such frame, or one of another size. Nothing was decoded then.
    """
    content = frame_bytes(payload)
    if content != size:
        raise ValueError(f"a piece declares {content} bytes, {size} were expected")
    # With room for just as many, numcodecs writes no more, whatever follows the frame.
    values = np.frombuffer(decompress(payload, bytearray(size)), np.uint8)
    values.setflags(write=False)
    return values


def frame_bytes(payload: bytes | memoryview) -> int:
    """What the header of a Zstandard frame says that it decodes to (RFC 8878, 3.1.1.1).

    Raises:
        ValueError: no such frame, or its header does not say.
    """
    head = bytes(payload[:18])
    if len(head) < 6 or head[:4] != _ZSTD_MAGIC:
        raise ValueError("a piece is no Zstandard frame")
    single_segment = head[4] >> 5 & 1
    width = (single_segment, 2, 4, 8)[head[4] >> 6]
    start = 5 + (not single_segment) + (0, 1, 2, 4)[head[4] & 3]
    if width == 0 or len(head) < start + width:
        raise ValueError("a piece does not say its size")
    return int.from_bytes(head[start : start + width], "little") + (256 if width == 2 else 0)


def _are_rows(pieces: Any, shape: list[int]) -> bool:
    """Whether an array is cut along its first axis only, into pieces no longer than it is."""
    if not isinstance(pieces, list) or len(pieces) != len(shape) or not shape or prod(shape) < 1:
        return False
    whole = all(type(size) is int for size in pieces) and all(size > 0 for size in shape)
    return whole and pieces[1:] == shape[1:] and 1 <= pieces[0] <= shape[0]


def _are_frames(document: ArrayDocument, pieces: Any) -> bool:
    """Whether an array is pictures of 8-bit colour, a piece each."""
    shape = document.shape
    colour = document.data_type == "uint8" and len(shape) == 4 and shape[-1] == 3
    return colour and pieces == [1, *shape[1:]]
