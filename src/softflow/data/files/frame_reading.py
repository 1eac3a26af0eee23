"""Some frames of an episode's cameras, without reading the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.files.episode_file import array_names, facts_of
from softflow.data.files.episode_reading import read_with
from softflow.data.files.sealed_arrays import SealedArray, SealedGroup
from softflow.errors import StoreError


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

    def frames(group: SealedGroup) -> dict[str, np.ndarray]:
        return {camera: _frames_in(group, spec, camera, start, stop) for camera in cameras}

    return read_with(path, lambda archive: frames(SealedGroup(archive, path)))


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
