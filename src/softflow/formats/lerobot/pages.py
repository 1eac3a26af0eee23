"""What the pages of a Parquet file declare, checked before any of them is decoded.

A page of a few bytes may say that it holds billions of values or gigabytes, and whoever decodes it
believes it. Their headers are small and lie in the file one behind the other (Thrift, compact
protocol; parquet-format's README and `parquet.thrift`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from softflow.data.files.limits import GIB, MIB
from softflow.errors import DataError

BATCH_ROWS = 256
BATCH_BYTES = 256 * MIB
"""Rows decoded together: pictures may be in them."""
MAX_TABLE_ROWS = 2**24
MAX_PAGE_BYTES = GIB
"""Of a page, decompressed: pyarrow writes 1024 values, however long they are, before it looks."""
USUAL_PAGE_BYTES = 64 * MIB
MAX_RATIO = 1000
"""Bytes that a byte of a page larger than the usual becomes."""
MAX_PAGE_VALUES = 2**24
MAX_CHUNK_VALUES = 2**28
"""Of a column in a row group."""
DELTA_BYTE_ARRAY = 7
"""An encoding of texts in which each repeats the one before, so that bytes become gigabytes."""
_HEADER_BYTES, _LONG_HEADER_BYTES = 1 << 12, 16 * MIB


class Sizes(NamedTuple):
    """What some columns of a row group decode to.

    Args:
        decoded: bytes of their pages.
        longest: bytes of the longest text that rows may refer to again and again.
    """

    decoded: int
    longest: int

    @property
    def batch_rows(self) -> int:
        """Rows that may be decoded together."""
        return max(1, min(BATCH_ROWS, BATCH_BYTES // max(self.longest, 1)))


def column_sizes(file: pq.ParquetFile, path: Path, columns: Iterable[str]) -> list[Sizes]:
    """What these columns of each row group decode to.

    Raises:
        DataError: a page declares more than is read.
        Exception: whatever a damaged header makes of itself; use inside `damage_named`.
    """
    metadata, wanted = file.metadata, tuple(columns)
    if metadata.num_rows > MAX_TABLE_ROWS:
        raise _too_large(path, f"{metadata.num_rows:,} rows", f"{MAX_TABLE_ROWS:,}")
    leaves = [metadata.schema.column(place) for place in range(metadata.num_columns)]
    repeated = {
        place: leaf.max_repetition_level > 0
        for place, leaf in enumerate(leaves)
        if _root(leaf.path, file.schema_arrow.names) in wanted
    }
    sizes: list[Sizes] = []
    with path.open("rb") as raw:
        for group in range(metadata.num_row_groups):
            chunks = {place: metadata.row_group(group).column(place) for place in repeated}
            found = [_chunk(raw, path, chunks[p], is_list) for p, is_list in repeated.items()]
            longest = max((size.longest for size in found), default=0)
            sizes.append(Sizes(sum(size.decoded for size in found), longest))
    return sizes


def _root(path: str, names: list[str]) -> str:
    """The column that a leaf such as `observation.state.list.element` belongs to."""
    fitting = [name for name in names if path == name or path.startswith(f"{name}.")]
    return max(fitting, key=len, default="")


def _chunk(raw: BinaryIO, path: Path, chunk: Any, is_list: bool) -> Sizes:
    if chunk.num_values == 0:
        return Sizes(0, 0)
    start = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        start = min(start, chunk.dictionary_page_offset)
    size = values = longest = 0
    for at, page in _pages(raw, start, start + chunk.total_compressed_size):
        told = page.get(5) or page.get(7) or page.get(8) or {}
        _require_small(path, f"a page of '{chunk.path_in_schema}'", page, told)
        if told.get(4 if 8 in page else 2) == DELTA_BYTE_ARRAY:
            raise DataError(
                f"{path}: '{chunk.path_in_schema}' is encoded as DELTA_BYTE_ARRAY, which softflow "
                "does not decode; write the table with pyarrow's own settings"
            )
        if 7 in page and chunk.physical_type == "BYTE_ARRAY":
            longest = max(longest, _longest(raw, at, page, chunk.compression))
        size, values = size + page[2], values + (0 if 7 in page else told.get(1, 0))
    if values > MAX_CHUNK_VALUES or (is_list and values * longest > MAX_PAGE_BYTES):
        what = f"{values:,} values of up to {longest or 8:,} bytes in '{chunk.path_in_schema}'"
        raise _too_large(path, what, f"{MAX_CHUNK_VALUES:,} and {MAX_PAGE_BYTES:,} bytes")
    return Sizes(size, longest)


def _require_small(path: Path, where: str, page: dict[int, Any], told: dict[int, Any]) -> None:
    limit = min(MAX_PAGE_BYTES, max(USUAL_PAGE_BYTES, MAX_RATIO * page[3]))
    if page[2] > limit:
        raise _too_large(path, f"{where} of {page[2]:,} bytes", f"{limit:,}")
    if told.get(1, 0) > MAX_PAGE_VALUES:
        raise _too_large(path, f"{where} of {told[1]:,} values", f"{MAX_PAGE_VALUES:,}")


def _longest(raw: BinaryIO, at: int, page: dict[int, Any], codec: str) -> int:
    """Bytes of the longest text in a dictionary: each is a length of four bytes, and the text."""
    raw.seek(at)
    data = raw.read(page[3])
    if codec != "UNCOMPRESSED":
        try:
            data = pa.decompress(data, page[2], codec.lower(), asbytes=True)
        except (pa.ArrowException, ValueError):
            return page[2]  # of a kind of LZ4 that only Parquet knows
    longest = place = 0
    while place + 4 <= len(data):
        length = int.from_bytes(data[place : place + 4], "little")
        longest, place = max(longest, length), place + 4 + length
    return min(longest, page[2])


def _too_large(path: Path, what: str, limit: str) -> DataError:
    return DataError(
        f"{path} declares {what}; at most {limit} are read: write it in smaller files and pages"
    )


def _pages(raw: BinaryIO, start: int, stop: int) -> Iterator[tuple[int, dict[int, Any]]]:
    """Where every page of a column in a row group begins, and its header: field -> value."""
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
        yield start + length, page
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
