"""One episode as one sealed file: a Zarr v3 group in a zip, which copies between machines whole.

    data/observation.*          [T, ...], what was seen before each action
    data/action                 [T, A]
    data/next.reward, next.terminated, next.truncated, next.success    [T]
    meta/episode_ends           [1] int64, T
    meta/final/observation.*    [1, ...], what was seen after the last action

Attributes of the group: format_version, length, success, terminated, truncated, return, metadata,
and the SHA-256 of each array. Format 1, still read, had the arrays of `data` in the root and
observations of length T + 1.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import zarr
from zarr.codecs import ZstdCodec
from zarr.storage import ZipStore

from softflow.data.data_spec import OBSERVATION_PREFIX, DataSpec, is_image_key
from softflow.data.episode import Episode
from softflow.data.episode_reading import damaged, read_with
from softflow.errors import StoreError
from softflow.utils.files import written_whole

FORMAT_VERSION = 2
DATA, FINAL, ENDS = "data/", "meta/final/", "meta/episode_ends"
IMAGE_CHUNK_BYTES = 48 * 1024
MAX_FRAMES_PER_CHUNK = 16


@dataclass(frozen=True)
class EpisodeSummary:
    """What is known of an episode without reading its arrays.

    Args:
        index: position in the store.
        length: T, control steps.
        success, terminated, truncated: as in `Episode`.
        return_: undiscounted sum of rewards.
        metadata: as in `Episode`.
        digest: of the checksums of its arrays and of everything else above, as recorded.
    """

    index: int
    length: int
    success: bool
    terminated: bool
    truncated: bool
    return_: float
    metadata: dict[str, Any]
    digest: str = ""


def frames_per_chunk(frame_shape: tuple[int, ...]) -> int:
    """Image frames compressed together: few, because training reads single frames at random."""
    frame_bytes = int(np.prod(frame_shape))
    return max(1, min(MAX_FRAMES_PER_CHUNK, IMAGE_CHUNK_BYTES // frame_bytes))


def check_format(version: Any, where: Path) -> None:
    """Raise StoreError if `where` was written by a newer softflow."""
    if not isinstance(version, int) or version < 1:
        raise StoreError(f"'{where}' has format_version {version!r}, which no softflow writes.")
    if version > FORMAT_VERSION:
        raise StoreError(
            f"'{where}' has format_version {version}, this softflow reads up to {FORMAT_VERSION}; "
            "upgrade it (pip install --upgrade softflow)."
        )


def write_episode_file(path: Path, episode: Episode, new: bool = False) -> None:
    """Write a validated episode; `path` appears only once all of it is on the disk.

    Raises:
        StoreError: the system refused (disk full, …), or with `new` the file is there already;
            nothing is left behind.
    """
    arrays = _arrays(episode)
    attributes = {
        "format_version": FORMAT_VERSION,
        "length": episode.length,
        "success": bool(episode.success),
        "terminated": bool(episode.terminated),
        "truncated": bool(episode.truncated),
        "return": episode.return_,
        "metadata": episode.metadata,
        "sha256": {name: _digest(array) for name, array in arrays.items()},
    }
    try:
        with written_whole(path, new) as temp:
            _write_arrays(temp, arrays, attributes)
            _require_whole(temp)
    # zipfile goes on after some refusals; what it then wrote does not read back.
    except (zipfile.BadZipFile, RuntimeError) as error:
        raise StoreError(
            f"cannot write '{path}': {error}; check the disk and run the same command again. "
            "Nothing was left half-written."
        ) from error


def _require_whole(path: Path) -> None:
    with zipfile.ZipFile(path) as written:
        if bad := written.testzip():
            raise zipfile.BadZipFile(f"'{bad}' does not read back as it was written")


def _write_arrays(
    path: Path, arrays: Mapping[str, np.ndarray], attributes: Mapping[str, Any]
) -> None:
    with ZipStore(path, mode="w") as store:
        group = zarr.create_group(store, attributes=dict(attributes))
        for folder in (DATA, FINAL):
            group.require_group(folder.rstrip("/"))
        for name, array in arrays.items():
            is_image = is_image_key(name.rpartition("/")[2])
            frames = frames_per_chunk(array.shape[1:]) if is_image else len(array)
            target = group.create_array(
                name,
                shape=array.shape,
                dtype=array.dtype,
                chunks=(min(frames, len(array)), *array.shape[1:]),
                compressors=ZstdCodec(level=1),
                # Then a missing chunk is a damaged file, never a legal black frame.
                config={"write_empty_chunks": True},
            )
            target[...] = array


def read_episode_file(path: Path, spec: DataSpec, with_images: bool = True) -> Episode:
    """Read and verify an episode.

    Args:
        path: the episode file.
        spec: what the store holds; arrays must fit it.
        with_images: False leaves the image keys out.

    Raises:
        DamagedEpisodeError: incomplete file or checksum mismatch.
        StoreError: missing, unreadable, of a newer format, or of another spec.
    """
    keys = [*spec.state_keys, *(spec.image_keys if with_images else ())]
    return read_with(path, lambda archive: _episode_in(_group(archive), keys, spec, path))


def _episode_in(group: zarr.Group, keys: Sequence[str], spec: DataSpec, path: Path) -> Episode:
    """The episode of a group, with the observations of these keys."""
    facts = _facts(group, path)
    names = ("action", "next.reward", *keys)
    arrays = {name: _read(group, name, facts, path) for name in names}
    _check_shapes(arrays, int(facts["length"]), spec, path)
    return Episode(
        observations={key: arrays[key] for key in keys},
        actions=arrays["action"],
        rewards=arrays["next.reward"],
        terminated=facts["terminated"],
        truncated=facts["truncated"],
        success=facts["success"],
        metadata=dict(facts["metadata"]),
    )


class _Opened(ZipStore):
    """A zip file that is open, as Zarr wants it."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        super().__init__(Path(archive.filename or "bytes"), mode="r")
        self._zf, self._lock, self._is_open = archive, threading.RLock(), True


def _group(archive: zipfile.ZipFile) -> zarr.Group:
    return zarr.open_group(_Opened(archive), mode="r")


def read_summary(path: Path, index: int) -> EpisodeSummary:
    """The facts of an episode, without its arrays; raises as `read_episode_file`."""
    return read_with(path, lambda archive: _summary_in(_group(archive), path, index))


def _summary_in(group: zarr.Group, path: Path, index: int) -> EpisodeSummary:
    facts = _facts(group, path)
    return EpisodeSummary(
        index=index,
        length=int(facts["length"]),
        success=facts["success"],
        terminated=facts["terminated"],
        truncated=facts["truncated"],
        return_=float(facts["return"]),
        metadata=dict(facts["metadata"]),
        digest=hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest(),
    )


def _arrays(episode: Episode) -> dict[str, np.ndarray]:
    """The arrays of an episode by their name on disk."""
    last = np.arange(episode.length) == episode.length - 1
    steps = {
        **{key: value[:-1] for key, value in episode.observations.items()},
        "action": episode.actions,
        "next.reward": episode.rewards,
        "next.terminated": last & bool(episode.terminated),
        "next.truncated": last & bool(episode.truncated),
        "next.success": last & bool(episode.success),
    }
    return {
        **{DATA + key: value for key, value in steps.items()},
        **{FINAL + key: value[-1:] for key, value in episode.observations.items()},
        ENDS: np.array([episode.length], np.int64),
    }


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def _facts(group: zarr.Group, path: Path) -> Mapping[str, Any]:
    facts = group.attrs.asdict()
    check_format(facts.get("format_version"), path)
    return facts


def _read(group: zarr.Group, key: str, facts: Mapping[str, Any], path: Path) -> np.ndarray:
    """An array of the episode, with the final observation at the end of observations."""
    digests = facts["sha256"]
    if facts["format_version"] == 1:
        return _verified(group, key, digests, path)
    steps = _verified(group, DATA + key, digests, path)
    if not key.startswith(OBSERVATION_PREFIX):
        return steps
    return np.concatenate([steps, _verified(group, FINAL + key, digests, path)])


def _verified(group: zarr.Group, name: str, digests: Mapping[str, str], path: Path) -> np.ndarray:
    """An array whose content matches the checksum taken when it was written."""
    array = np.asarray(cast("zarr.Array[Any]", group[name])[...])
    if _digest(array) != digests[name]:
        raise damaged(path, f"checksum of '{name}' does not match")
    return array


def _check_shapes(
    arrays: Mapping[str, np.ndarray], length: int, spec: DataSpec, path: str | os.PathLike[str]
) -> None:
    """Raise StoreError for an episode file that was copied in from a store of other data."""
    for name, array in arrays.items():
        if name in spec.observation_shapes:
            expected = (length + 1, *spec.observation_shapes[name])
        else:
            expected = (length, spec.action_dim) if name == "action" else (length,)
        if array.shape != expected:
            raise StoreError(
                f"episode file '{path}': '{name}' has shape {array.shape}, this store holds "
                f"{expected}; it belongs to another store, move it there."
            )
