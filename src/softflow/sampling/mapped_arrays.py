"""Arrays too large for RAM, as .npy files in a folder, mapped into memory.

    cache/lock                          held while the cache is checked or written
    cache/1f3a9c2e08d1e7f4/             the arrays of one content, which the name is a hash of
        observation.state.npy, action.npy, next.reward.npy
        checksums.json                  CRC-32 of every file

The cache is a copy and never the only one. It is written whole, in a temporary folder that is then
renamed, and never changes: other content gets another folder, and this one is removed. Who has
mapped it keeps its files until the end of the process.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from softflow.errors import StoreError
from softflow.sampling.cache_folder import LOCK, crc32_of, locked, refused
from softflow.utils.files import TEMP_SUFFIX, read_json, sync_to_disk

Shapes = Mapping[str, tuple[int, ...]]
Part = Mapping[str, np.ndarray]
CHECKSUMS = "checksums.json"
_DTYPE = np.dtype("<f4")


def mapped_arrays(
    folder: Path, content: str, shapes: Shapes, parts: Callable[[], Iterable[Part]]
) -> dict[str, np.ndarray]:
    """Arrays mapped read-only from a cache that is checked in full, or written first.

    Their pages belong to the page cache, and the system takes them back when memory is short.
    Memory: one part at a time while writing, 1 MiB while checking. Processes that open the same
    cache at once wait for each other.

    Args:
        folder: of the cache, of nothing else: whatever else is in it is removed.
        content: name of what is in it; the same name, the same arrays.
        shapes: name → shape of each array, all float32.
        parts: gives the rows of all arrays, name → `[rows, ...]` float32, part by part; called if
            they have to be written.

    Raises:
        CacheRefusedError: the cache has to be written and cannot be.
        Exception: whatever `parts` raises; nothing is left behind.
    """
    with locked(folder) as refusal:
        arrays = _checked(folder / content, shapes)
        if arrays is not None:
            return arrays
        if refusal is not None:
            raise refusal
        try:
            _write(folder, content, shapes, parts())
            return _mapped(folder / content, shapes)
        except OSError as error:
            raise refused(folder, error) from error


def _checked(path: Path, shapes: Shapes) -> dict[str, np.ndarray] | None:
    """The arrays of a folder; None if there are none, and with a warning if one is damaged."""
    if not (path / CHECKSUMS).exists():
        return None
    try:
        expected = read_json(path / CHECKSUMS)
        if not isinstance(expected, dict) or expected.keys() != shapes.keys():
            raise StoreError(f"'{path / CHECKSUMS}' does not name its arrays")
        for name in shapes:
            if crc32_of(_file(path, name)) != expected[name]:
                raise StoreError(f"the checksum of '{_file(path, name)}' does not match")
        return _mapped(path, shapes)
    except (StoreError, OSError) as error:
        warnings.warn(f"the cache '{path}' is damaged and not used: {error}", stacklevel=7)
        return None


def _mapped(path: Path, shapes: Shapes) -> dict[str, np.ndarray]:
    arrays = {name: np.asarray(np.load(_file(path, name), mmap_mode="r")) for name in shapes}
    for name, array in arrays.items():
        if (array.shape, array.dtype) != (shapes[name], _DTYPE):
            raise StoreError(f"'{_file(path, name)}' has shape {array.shape}, not {shapes[name]}")
    return arrays


def _file(path: Path, name: str) -> Path:
    return path / f"{name}.npy"


def _write(folder: Path, content: str, shapes: Shapes, parts: Iterable[Part]) -> None:
    """Write the arrays in place of all others; the lock is ours, so nobody else is writing."""
    for entry in folder.iterdir():
        if entry.name != LOCK:
            _remove(entry)
    temp = folder / f".{content}{TEMP_SUFFIX}"
    temp.mkdir()
    try:
        _write_files(temp, shapes, parts)
        sync_to_disk(temp)
        temp.rename(folder / content)
        sync_to_disk(folder)
    except BaseException:
        shutil.rmtree(temp, ignore_errors=True)
        raise


def _write_files(temp: Path, shapes: Shapes, parts: Iterable[Part]) -> None:
    with contextlib.ExitStack() as opened:
        files = {name: opened.enter_context(_file(temp, name).open("wb")) for name in shapes}
        for name, file in files.items():
            about = {"descr": _DTYPE.str, "fortran_order": False, "shape": shapes[name]}
            np.lib.format.write_array_header_1_0(file, about)
        for part in parts:
            for name, file in files.items():
                file.write(np.ascontiguousarray(part[name], _DTYPE).data)
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    checksums = {name: crc32_of(_file(temp, name)) for name in shapes}
    (temp / CHECKSUMS).write_text(json.dumps(checksums))
    sync_to_disk(temp / CHECKSUMS)


def _remove(entry: Path) -> None:
    if entry.is_dir():
        # First, because what is half removed must not look like a damaged cache.
        (entry / CHECKSUMS).unlink(missing_ok=True)
        shutil.rmtree(entry)
    else:
        entry.unlink()
