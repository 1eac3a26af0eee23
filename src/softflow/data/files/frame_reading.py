"""Some frames of an episode's cameras, without reading the others.

A film is looked at in many pieces, and finding one among a file's thousands of entries costs more
than reading it: `OpenEpisodes` keeps the files that were looked into last open.
"""

from __future__ import annotations

import zipfile
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.files.episode_file import array_names, facts_of
from softflow.data.files.episode_reading import read_with
from softflow.data.files.sealed_arrays import SealedArray, SealedGroup
from softflow.errors import StoreError
from softflow.utils.files import require_regular


def read_frames(
    path: Path, spec: DataSpec, cameras: Sequence[str], start: int, stop: int
) -> dict[str, np.ndarray]:
    """Camera -> frames `[n, H, W, 3]` uint8; those behind the last one are left out.

    Every piece is held to the CRC of its zip entry, not to the checksum of the whole array: that
    would need all of it.

    Args:
        path: the episode file.
        spec: what its store holds.
        cameras: keys of cameras.
        start, stop: observation steps, 0 … T.

    Raises:
        DamagedEpisodeError: incomplete file.
        StoreError: missing, unreadable, of a newer format or another spec, or no such camera.
    """

    def read(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
        return _all_in(SealedGroup(archive, path), spec, cameras, start, stop)

    return read_with(path, read)


class OpenEpisodes:
    """The episode files that were looked into last, kept open; for several threads.

    Args:
        most: how many.
    """

    def __init__(self, most: int = 3) -> None:
        self._most = most
        self._groups: OrderedDict[tuple[Path, int, int], SealedGroup] = OrderedDict()

    def frames(
        self, path: Path, spec: DataSpec, cameras: Sequence[str], start: int, stop: int
    ) -> dict[str, np.ndarray]:
        """As `read_frames`, which says what is wrong where something is."""
        try:
            facts = path.stat()
            name = path, facts.st_ino, facts.st_mtime_ns  # another file may come to its place
            group = self._groups.pop(name, None)
            if group is None:
                require_regular(path)
                group = SealedGroup(zipfile.ZipFile(path), path)
            frames = _all_in(group, spec, cameras, start, stop)
        except Exception:  # a damaged zip surfaces as almost any of them
            return read_frames(path, spec, cameras, start, stop)
        self._groups[name] = group
        while len(self._groups) > self._most:
            self._groups.popitem(last=False)  # closed once no thread reads in it any more
        return frames

    def close(self) -> None:
        """Close the files; what is looked into later is opened again."""
        self._groups.clear()


def _all_in(
    group: SealedGroup, spec: DataSpec, cameras: Sequence[str], start: int, stop: int
) -> dict[str, np.ndarray]:
    return {camera: _frames_in(group, spec, camera, start, stop) for camera in cameras}


def _frames_in(
    group: SealedGroup, spec: DataSpec, camera: str, start: int, stop: int
) -> np.ndarray:
    found: list[np.ndarray] = []
    for name in array_names(camera, facts_of(group, group.path)):
        array = group.array(name)
        _require_fit(array, spec, camera, group.path)
        found.append(group.rows(array, start, stop))
        rows = array.shape[0]
        start, stop = max(0, start - rows), max(0, stop - rows)
    return np.concatenate(found)


def _require_fit(array: SealedArray, spec: DataSpec, camera: str, path: Path) -> None:
    expected = spec.observation_shapes.get(camera)
    if array.shape[1:] != expected or array.dtype != np.uint8:
        raise StoreError(
            f"episode file '{path}': '{camera}' has frames {array.dtype} {array.shape[1:]}, this "
            f"store holds uint8 {expected}; it belongs to another store, move it there."
        )
