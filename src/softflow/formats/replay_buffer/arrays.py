"""Arrays of Zarr format 2, read with care: plain numbers, known codecs, no more than was declared.

A Zarr array may name any codec that is installed, some of which run what they decode. Those of
Diffusion Policy and UMI are Blosc, and for cameras JPEG XL or JPEG 2000 of the package imagecodecs.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, Literal

import msgspec
import numpy as np
from numcodecs.blosc import decompress as blosc_decompress
from numcodecs.lz4 import decompress as lz4_decompress

from softflow.data.files.limits import array_bytes, require_episode_bytes
from softflow.data.files.sealed_arrays import decoded as zstd_decoded
from softflow.errors import ConfigError, DataError, brief
from softflow.formats.documents import parsed
from softflow.formats.replay_buffer.entries import ARRAY, MAX_PIECE_BYTES, Entries

BLOSC_HEADER = 16
MAX_CHUNK_BYTES = 1 << 30
MIN_ROWS = 100
"""An episode should have room for so many rows of each array."""
Codec = Callable[[bytes, tuple[int, ...], np.dtype[Any]], np.ndarray]


PICTURES = {"imagecodecs_jpegxl": "JPEG XL", "imagecodecs_jpeg2k": "JPEG 2000"}
"""Codecs of pictures -> what they are called."""


class Document(msgspec.Struct):
    """`.zarray`."""

    zarr_format: Literal[2]
    shape: list[int]
    chunks: list[int]
    dtype: str | list[Any]
    order: str = "C"
    compressor: dict[str, Any] | None = None
    filters: list[Any] | None = None
    fill_value: Any = 0
    dimension_separator: str = "."


@dataclass(frozen=True)
class ZarrArray:
    """An array whose declarations were checked; nothing of it is decoded.

    Args:
        name: its path in the group.
        shape: [rows, ...].
        dtype: of its numbers.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    _document: Document
    _entries: Entries

    @classmethod
    def of(cls, entries: Entries, name: str) -> ZarrArray:
        """What an array declares.

        Raises:
            DataError: it holds no numbers, or is stored in a way that nobody here reads.
        """
        where = f"{entries.path}, {name}"
        said = parsed(entries.read(f"{name}/{ARRAY}") or b"", Document, where)
        shape, chunks = tuple(said.shape), tuple(said.chunks)
        kind = said.dtype if isinstance(said.dtype, str) else "a record"
        told = ""
        if not (isinstance(said.dtype, str) and kind[:1] in "<>|" and kind[1:2] in "biuf"):
            told = f"numbers of kind {kind:.40}"
        elif said.filters:
            told = "filters"
        elif said.order != "C" or said.dimension_separator not in ("", ".", "/"):
            told = f"the order {said.order} and names with '{said.dimension_separator:.9}'"
        elif len(shape) != len(chunks) or not shape or min(chunks) < 1 or min(shape) < 0:
            told = f"chunks {chunks} of {shape}"
        if told:
            raise DataError(f"{where} has {told}; write it anew as plain numbers")
        dtype = np.dtype(kind)
        if array_bytes(chunks, dtype.itemsize) > MAX_CHUNK_BYTES:
            raise DataError(f"{where} declares chunks {chunks}; write it with smaller ones")
        require_episode_bytes(array_bytes(shape[1:], dtype.itemsize) * MIN_ROWS, where)
        return cls(name, shape, dtype, said, entries)

    @property
    def kind(self) -> str:
        """What it is made of: uint8, or "uint8, JPEG XL"."""
        codec = str((self._document.compressor or {}).get("id"))
        return ", ".join(filter(None, (str(self.dtype), PICTURES.get(codec, ""))))

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"{self._entries.path}, {self.name}"

    def rows(self, first: int, stop: int) -> tuple[np.ndarray, int]:
        """Rows `first` to `stop` - 1, and how many pieces of them were never written.

        Those are what the array declares for them (`fill_value`).

        Raises:
            DataError: a piece is damaged, or decodes to another size; or too large for an episode.
        """
        declared = array_bytes((stop - first, *self.shape[1:]), self.dtype.itemsize)
        require_episode_bytes(declared, self.where)
        values = np.empty((stop - first, *self.shape[1:]), self.dtype)
        chunks = self._document.chunks
        across = [range(-(-size // part)) for size, part in zip(self.shape, chunks, strict=True)]
        across[0] = range(first // chunks[0], -(-stop // chunks[0]))
        absent = 0
        for place in product(*across):
            piece = self._piece(place)
            absent += piece is None
            self._put(values, first, place, piece)
        return values, absent

    def _put(
        self, values: np.ndarray, first: int, place: tuple[int, ...], piece: np.ndarray | None
    ) -> None:
        """Copy the part of a piece that lies in these rows."""
        target: list[slice] = []
        source: list[slice] = []
        for axis, (number, part) in enumerate(zip(place, self._document.chunks, strict=True)):
            offset = first if axis == 0 else 0
            start = max(number * part, offset)
            stop = min((number + 1) * part, offset + values.shape[axis])
            target.append(slice(start - offset, stop - offset))
            source.append(slice(start - number * part, stop - number * part))
        fill = self._document.fill_value or 0
        values[tuple(target)] = fill if piece is None else piece[tuple(source)]

    def _piece(self, place: tuple[int, ...]) -> np.ndarray | None:
        separator = self._document.dimension_separator or "."
        name = f"{self.name}/{separator.join(map(str, place))}"
        payload = self._entries.read(name, MAX_PIECE_BYTES)
        if payload is None:
            return None
        chunks = tuple(self._document.chunks)
        settings = self._document.compressor or {"id": "none"}
        codec = CODECS.get(str(settings.get("id")))
        if codec is None:
            raise DataError(
                f"{self.where} is stored with {settings.get('id')!s:.40}; softflow reads "
                f"{', '.join(CODECS)}: write it anew with one of them"
            )
        try:
            return codec(payload, chunks, self.dtype)
        except (ConfigError, MemoryError):
            raise
        # Each library has errors of its own for what is no such piece.
        except Exception as error:
            raise DataError(
                f"{self._entries.path}, {name}: {brief(error)}; the piece is damaged, download it "
                "again"
            ) from error


def _numbers(content: bytes | np.ndarray, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if len(content) != prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(content)} bytes, {prod(shape) * dtype.itemsize} were expected")
    return np.frombuffer(content, dtype).reshape(shape)


def _plain(payload: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return _numbers(payload, shape, dtype)


def _blosc(payload: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = prod(shape) * dtype.itemsize
    content, stored = (int.from_bytes(payload[at : at + 4], "little") for at in (4, 12))
    if len(payload) < BLOSC_HEADER or content != size or stored != len(payload):
        raise ValueError(f"a Blosc piece of {len(payload)} bytes that does not hold {size}")
    return _numbers(blosc_decompress(payload, bytearray(size)), shape, dtype)


def _zstd(payload: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return _numbers(zstd_decoded(payload, prod(shape) * dtype.itemsize), shape, dtype)


def _deflated(payload: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    # 32: with the header of zlib or of gzip, whichever it has.
    size = prod(shape) * dtype.itemsize
    content = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(payload, size + 1)
    return _numbers(content, shape, dtype)


def _lz4(payload: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    size = prod(shape) * dtype.itemsize
    if int.from_bytes(payload[:4], "little") != size:
        raise ValueError(f"an LZ4 piece that does not declare {size} bytes")
    return _numbers(lz4_decompress(payload, bytearray(size)), shape, dtype)


def _picture(name: str) -> Codec:
    """A codec of imagecodecs; it holds a picture against the size of what it is decoded into."""

    def decode(payload: bytes, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        try:
            import imagecodecs
        except ModuleNotFoundError as error:
            raise ConfigError(
                "cameras of this dataset are JPEG XL or JPEG 2000; install what decodes them: "
                "pip install 'softflow[umi]'"
            ) from error
        pixels = np.empty(tuple(size for size in shape if size != 1) or (1,), dtype)
        return np.asarray(getattr(imagecodecs, name)(payload, out=pixels)).reshape(shape)

    return decode


CODECS: dict[str, Codec] = {
    "none": _plain,
    "blosc": _blosc,
    "zstd": _zstd,
    "zlib": _deflated,
    "gzip": _deflated,
    "lz4": _lz4,
    "imagecodecs_jpegxl": _picture("jpegxl_decode"),
    "imagecodecs_jpeg2k": _picture("jpeg2k_decode"),
}
