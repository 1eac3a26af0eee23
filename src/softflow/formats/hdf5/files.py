"""HDF5 files read with care: nothing outside the file, no foreign code, no more than it holds.

HDF5 lets a file say that its arrays lie in other files, that a name leads elsewhere, that a library
be loaded to decode an array, and that an array is larger than anything stored for it. So everything
is reached through `member_group`, `member_array` and `has`, and read through `values_of`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, TypeVar

import h5py
import numpy as np
from h5py import h5a, h5d, h5l, h5z  # pyright: ignore[reportAttributeAccessIssue]

from softflow.data.files.limits import (
    MIB,
    array_bytes,
    require_episode_bytes,
)
from softflow.errors import DataError, SoftflowError, brief
from softflow.formats.remedies import remedy
from softflow.utils.documents import MAX_DOCUMENT_BYTES

Result = TypeVar("Result")
COMPRESSORS = {h5z.FILTER_DEFLATE: "gzip", h5z.FILTER_LZF: "lzf"}
FILTERS = {**COMPRESSORS, h5z.FILTER_SHUFFLE: "shuffle", h5z.FILTER_FLETCHER32: "fletcher32"}
"""Filters that are part of HDF5 or h5py, none of which is looked for in a folder of plug-ins."""
MAX_CHUNK_BYTES = 1024 * MIB
"""Of one chunk of an array, as declared."""
UNCHECKED_BYTES = 256 * MIB
GZIP_RATIO = 1032
"""Deflate makes a byte into no more; a chunk that could exceed `UNCHECKED_BYTES` is looked into."""
MAX_LINKS = 16
"""Soft links followed for one name, as HDF5 itself has it."""
MAX_TEXTS = 256
"""Texts of variable length in one attribute."""
_NAMES_TOLD = 9


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, open for reading; whatever damage makes h5py raise in the block becomes one error.

    Raises:
        DataError: missing, a folder, not HDF5, cut short, damaged, or too large for the memory.
    """
    if path.is_dir():
        raise DataError(f"{path} is a folder; give an HDF5 file")
    if not path.is_file():
        raise DataError(f"there is no file {path}; check the path")
    try:
        with h5py.File(path, "r") as file:
            yield file
    except SoftflowError:
        raise
    except MemoryError as error:
        raise DataError(
            f"{path} does not fit into memory; cut the recording into shorter episodes, or take "
            "fewer or smaller cameras"
        ) from error
    # A damaged place surfaces as OSError, RuntimeError, KeyError, ValueError, TypeError, …
    except Exception as error:
        advice = "it is damaged, cut short or no HDF5 file, copy or download it again"
        advice = remedy(path, error, advice)
        raise DataError(f"cannot read {path}: {brief(error)}; {advice}") from error


def usable(names: Sequence[str], read: Callable[[str], Result]) -> Iterator[Result]:
    """What `read` gives of every name, but for those parts of a file that are damaged.

    For what is looked for in all episodes before one is read: whoever reads a damaged one is told.

    Raises:
        Exception: the first error, if there is nothing else.
    """
    first_error: Exception | None = None
    found = False
    for name in names:
        try:
            result = read(name)
        except Exception as error:
            first_error = first_error or error
            continue
        found = True
        yield result
    if first_error is not None and not found:
        raise first_error


# ---- what there is -----------------------------------------------------------------------------


def has(parent: h5py.Group, name: str) -> bool:
    """Whether there is something under that name, wherever it leads: nothing is opened."""
    return parent.id.links.exists(name.encode(errors="surrogateescape"))


def member(parent: h5py.Group, path: str, links: int = MAX_LINKS) -> Any:
    """What lies below `parent` in the same file; None if there is nothing.

    Raises:
        DataError: a name on the way leads to another file, or in a circle.
    """
    node: Any = parent.file["/"] if path.startswith("/") else parent
    for part in filter(None, path.split("/")):
        if not isinstance(node, h5py.Group) or part == "." or not has(node, part):
            return None
        kind = node.id.links.get_info(part.encode(errors="surrogateescape")).type
        if kind == h5l.TYPE_SOFT and links > 0:
            link: Any = node.get(part, getlink=True)
            node = member(node, as_text(link.path), links - 1)
        elif kind == h5l.TYPE_HARD:
            node = node[part]
        else:
            where = "in a circle" if kind == h5l.TYPE_SOFT else "to another file"
            raise DataError(
                f"{place_of(node)}/{part} leads {where}, where softflow does not follow; copy "
                "what it means into this file"
            )
    return node


def member_group(parent: h5py.Group, name: str, fix: str) -> h5py.Group:
    """A group below `parent`.

    Raises:
        DataError: there is none; `fix` says what to do.
    """
    node = member(parent, name)
    if not isinstance(node, h5py.Group):
        raise DataError(f"{place_of(parent)} has no group '{name}' ({_names(parent)}); {fix}")
    return node


def member_array(parent: h5py.Group, name: str, fix: str) -> h5py.Dataset:
    """An array of numbers below `parent`, not read yet.

    Raises:
        DataError: there is none, or it holds something else; `fix` says what to do.
    """
    node = member_dataset(parent, name)
    if node is None:
        raise DataError(f"{place_of(parent)} has no array '{name}' ({_names(parent)}); {fix}")
    if node.dtype.kind not in "biuf" or node.ndim == 0:
        raise DataError(
            f"{place_of(node)} is {node.dtype} of shape {node.shape}, not numbers over time; {fix}"
        )
    return node


def member_dataset(parent: h5py.Group, name: str) -> h5py.Dataset | None:
    """An array of anything, stored in this file and nowhere else; None if there is none.

    Raises:
        DataError: it lies in other files, or a filter would have to be loaded to read it.
    """
    node = member(parent, name)
    if not isinstance(node, h5py.Dataset):
        return None
    layout = node.id.get_create_plist()
    if layout.get_layout() == h5d.VIRTUAL or layout.get_external_count():
        raise DataError(
            f"{place_of(node)} lies in other files, which softflow does not open; copy it into "
            "this one"
        )
    filters = [layout.get_filter(number)[0] for number in range(layout.get_nfilters())]
    foreign = [number for number in filters if number not in FILTERS]
    if foreign or len({*filters}) < len(filters) or len(COMPRESSORS.keys() & {*filters}) > 1:
        told = f"filter {foreign[0]}" if foreign else f"the filters {filters}"
        raise DataError(
            f"{place_of(node)} is stored with {told}; softflow reads "
            f"{', '.join(FILTERS.values())}, each once and one compressor: write it with gzip"
        )
    return node


def _names(group: h5py.Group) -> str:
    names = [f"{name:.60}" for name, _ in zip(sorted(group), range(_NAMES_TOLD), strict=False)]
    return f"it has {names}"


# ---- what it holds -----------------------------------------------------------------------------


def require_room(arrays: Iterable[h5py.Dataset], where: str) -> None:
    """Raise a DataError if arrays declare more than an episode may have; nothing is read."""
    require_episode_bytes(sum(_bytes(array) for array in arrays), where)


def values_of(array: h5py.Dataset, rows: slice = slice(None)) -> np.ndarray:
    """The rows of an array, once it is certain that they are stored and no more than declared.

    Raises:
        DataError: larger than an episode may be, or not all of it is in the file.
    """
    require_stored(array)
    count = len(range(*rows.indices(len(array))))
    declared = array_bytes((count, *array.shape[1:]), array.dtype.itemsize)
    require_episode_bytes(declared, place_of(array))
    return np.asarray(array[rows])


def require_stored(array: h5py.Dataset) -> None:
    """Raise unless all of an array is in the file, and decodes to what it declares.

    Raises:
        DataError: a part was never written, or a chunk decodes to more than it may.
    """
    chunks = array.chunks
    if chunks is None:
        if array.id.get_storage_size() < _bytes(array):
            raise _never_written(array)
        return
    chunk_bytes = array_bytes(chunks, array.dtype.itemsize)
    if chunk_bytes > MAX_CHUNK_BYTES:
        raise DataError(
            f"{place_of(array)} declares chunks of {chunk_bytes:,} bytes; at most "
            f"{MAX_CHUNK_BYTES:,} are read: write it with smaller chunks"
        )
    count = prod(-(-size // part) for size, part in zip(array.shape, chunks, strict=True))
    if array.id.get_num_chunks() < count:
        raise _never_written(array)
    if array.compression == COMPRESSORS[h5z.FILTER_DEFLATE]:
        _require_honest_chunks(array, chunk_bytes)


def _require_honest_chunks(array: h5py.Dataset, chunk_bytes: int) -> None:
    """HDF5 decodes a gzip chunk to its end before it looks how long that is."""
    large: list[tuple[int, ...]] = []

    def note(chunk: h5d.StoreInfo) -> None:
        if chunk.size * GZIP_RATIO > max(chunk_bytes, UNCHECKED_BYTES):
            large.append(chunk.chunk_offset)

    array.id.chunk_iter(note)
    for offset in large:
        skipped, stored = array.id.read_direct_chunk(offset)
        decoder = zlib.decompressobj()
        if not skipped and len(decoder.decompress(stored, chunk_bytes + 1)) > chunk_bytes:
            raise DataError(
                f"{place_of(array)}: the chunk at {offset} decodes to more than the "
                f"{chunk_bytes:,} bytes that it declares; the file is damaged, download it again"
            )


def _never_written(array: h5py.Dataset) -> DataError:
    return DataError(
        f"{place_of(array)} declares shape {array.shape}, but not all of it was written; the "
        "recording was cut short, leave it out or repair the file"
    )


def _bytes(array: h5py.Dataset) -> int:
    return array_bytes(array.shape, array.dtype.itemsize)


# ---- names and attributes ----------------------------------------------------------------------


def place_of(node: h5py.Group | h5py.Dataset) -> str:
    """The file and the path in it, for messages."""
    return f"{node.file.filename}, {node.name}"


def attribute(node: h5py.Group, name: str) -> Any:
    """The value of an attribute, as h5py gives it.

    Raises:
        DataError: it declares more than is read.
    """
    found = h5a.open(node.id, name.encode(errors="surrogateescape"))
    size = array_bytes(found.shape, found.dtype.itemsize)
    texts = prod(found.shape) if found.dtype.kind == "O" else 0
    if size > MAX_DOCUMENT_BYTES or texts > MAX_TEXTS:
        raise DataError(
            f"{place_of(node)}: attribute '{name:.60}' declares {size:,} bytes; at most "
            f"{MAX_DOCUMENT_BYTES:,} or {MAX_TEXTS} texts are read"
        )
    return node.attrs[name]


def json_attributes(node: h5py.Group) -> dict[str, Any]:
    """The attributes of a group as JSON-able values: text, numbers, lists."""
    return {name: _plain(attribute(node, name)) for name in node.attrs}


def json_object(node: h5py.Group, name: str) -> dict[str, Any]:
    """A JSON object in an attribute.

    Raises:
        DataError: it is none.
    """
    try:
        value = json.loads(as_text(attribute(node, name)))
        if isinstance(value, dict):
            return value
        raise ValueError(f"a {type(value).__name__}, not an object")
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{place_of(node)}: attribute '{name}' is not JSON ({brief(error)}); the file is "
            "damaged or of a version nobody knows"
        ) from error


def as_text(value: object) -> str:
    """A string as h5py gives it, bytes or not."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | str):
        return as_text(value)
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        return _plain(value.item())
    return value if isinstance(value, bool | int | float) else str(value)
