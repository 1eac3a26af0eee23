"""What the pages of a Parquet file declare, checked before any of them is decoded.

A page of a few bytes may say that it holds billions of values or gigabytes, and whoever decodes it
believes it. Their headers are small and lie in the file one behind the other (Thrift, compact
protocol; parquet-format's README and `parquet.thrift`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow.parquet as pq

from softflow.data.limits import MIB
from softflow.errors import DataError

MAX_TABLE_ROWS = 2**24
MAX_PAGE_BYTES = 256 * MIB
"""Of a page, decompressed."""
MAX_PAGE_VALUES = 2**24
MAX_CHUNK_VALUES = 2**28
"""Of a column in a row group."""
MAX_DICTIONARY_BYTES = 4 * MIB
"""Values that many rows refer to: LeRobot's tables have 1 MiB."""
DELTA_BYTE_ARRAY = 7
"""An encoding of texts in which each repeats the one before, so that bytes become gigabytes."""
_HEADER_BYTES, _LONG_HEADER_BYTES = 1 << 12, 16 * MIB


def column_sizes(file: pq.ParquetFile, path: Path, columns: Iterable[str]) -> list[int]:
    """Bytes that these columns of each row group decode to.

    Raises:
        DataError: a page declares more than is read.
        Exception: whatever a damaged header makes of itself; use inside `damage_named`.
    """
    metadata, wanted = file.metadata, tuple(columns)
    if metadata.num_rows > MAX_TABLE_ROWS:
        raise _too_large(path, f"{metadata.num_rows:,} rows", f"{MAX_TABLE_ROWS:,}")
    places = [
        place
        for place in range(metadata.num_columns)
        if _root(metadata.schema.column(place).path, file.schema_arrow.names) in wanted
    ]
    sizes: list[int] = []
    with path.open("rb") as raw:
        for group in range(metadata.num_row_groups):
            chunks = [metadata.row_group(group).column(place) for place in places]
            sizes.append(sum(_chunk_size(raw, path, chunk) for chunk in chunks))
    return sizes


def _root(path: str, names: list[str]) -> str:
    """The column that a leaf such as `observation.state.list.element` belongs to."""
    fitting = [name for name in names if path == name or path.startswith(f"{name}.")]
    return max(fitting, key=len, default="")


def _chunk_size(raw: BinaryIO, path: Path, chunk: Any) -> int:
    if chunk.num_values == 0:
        return 0
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    size = values = 0
    for page in _pages(raw, start, start + chunk.total_compressed_size):
        told = page.get(5) or page.get(7) or page.get(8) or {}
        encoding = told.get(4 if 8 in page else 2)
        where = f"a page of '{chunk.path_in_schema}'"
        if page[2] > MAX_PAGE_BYTES:
            raise _too_large(path, f"{where} of {page[2]:,} bytes", f"{MAX_PAGE_BYTES:,}")
        if 7 in page and page[2] > MAX_DICTIONARY_BYTES:
            raise _too_large(path, f"{where} that others repeat", f"{MAX_DICTIONARY_BYTES:,}")
        if told.get(1, 0) > MAX_PAGE_VALUES:
            raise _too_large(path, f"{where} of {told[1]:,} values", f"{MAX_PAGE_VALUES:,}")
        if encoding == DELTA_BYTE_ARRAY:
            raise DataError(
                f"{path}: '{chunk.path_in_schema}' is encoded as DELTA_BYTE_ARRAY, which softflow "
                "does not decode; write the table with pyarrow's own settings"
            )
        size, values = size + page[2], values + told.get(1, 0)
    if values > MAX_CHUNK_VALUES:
        raise _too_large(path, f"a column of {values:,} values", f"{MAX_CHUNK_VALUES:,}")
    return size


def _too_large(path: Path, what: str, limit: str) -> DataError:
    return DataError(
        f"{path} declares {what}; at most {limit} are read: write it in smaller files and pages"
    )


def _pages(raw: BinaryIO, start: int, stop: int) -> Iterator[dict[int, Any]]:
    """The header of every page of a column in a row group: number of a field -> value."""
    while start < stop:
        raw.seek(start)
        try:
            page, length = _struct(raw.read(_HEADER_BYTES), 0)
        except IndexError:
            # Headers may hold the smallest and largest value, however long those are.
            raw.seek(start)
            page, length = _struct(raw.read(_LONG_HEADER_BYTES), 0)
        if page[2] < 0 or page[3] < 0:
            raise ValueError("a page of a negative size")
        yield page
        start += length + page[3]


def _struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """A struct of Thrift's compact protocol, and where it ends."""
    fields: dict[int, Any] = {}
    number = 0
    while data[at]:
        step, kind = data[at] >> 4, data[at] & 15
        at += 1
        if step:
            number += step
        else:
            number, at = _whole(data, at)
        fields[number], at = _value(data, at, kind)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (1, 2):  # true, false
        return kind == 1, at
    if kind == 3:  # a byte
        return data[at], at + 1
    if kind in (4, 5, 6):  # whole numbers
        return _whole(data, at)
    if kind == 7:  # a float of 8 bytes
        return None, at + 8
    if kind == 8:  # bytes
        length, at = _number(data, at)
        data[at + length - 1]  # there, or an IndexError
        return None, at + length
    if kind == 12:
        return _struct(data, at)
    raise ValueError(f"a page header with a field of kind {kind}")


def _whole(data: bytes, at: int) -> tuple[int, int]:
    """A signed number, zigzag."""
    number, at = _number(data, at)
    return number >> 1 ^ -(number & 1), at


def _number(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        number |= (data[at] & 127) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 128:
            return number, at
        if shift > 63:
            raise ValueError("a page header with a number that does not end")
