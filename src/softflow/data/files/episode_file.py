"""One episode as one sealed file: a Zarr v3 group in a zip, which copies between machines whole.

    data/observation.*          [T, ...], what was seen before each action
    data/action                 [T, A]
    data/next.reward, next.terminated, next.truncated, next.success    [T]
    meta/episode_ends           [1] int64, T
    meta/final/observation.*    [1, ...], what was seen after the last action

Attributes of the group: format_version, length, success, terminated, truncated, return, metadata,
and the SHA-256 of each array. Format 1, still read, had the arrays of `data` in the root and
observations of length T + 1. Format 3 is format 2 with frames as JPEGs; the attribute `frames` says
so, and how much they lost.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from softflow.data.data_spec import OBSERVATION_PREFIX, DataSpec, is_image_key
from softflow.data.episode import Episode
from softflow.data.files.episode_reading import damaged, read_with
from softflow.data.files.frame_storage import EXACT, FrameLoss, FrameStorage
from softflow.data.files.jpeg_frames import JpegFrames, encoded_frames, loss_of
from softflow.data.files.limits import array_bytes, require_episode_bytes
from softflow.data.files.sealed_arrays import SealedArray, SealedGroup, checksum
from softflow.data.files.sealing import write_group
from softflow.errors import DataError, StoreError
from softflow.utils.documents import require_no_newer
from softflow.utils.files import written_whole

FORMAT_VERSION = 3
"""The newest that is read; what holds no frame with a loss is written as the one before."""
EXACT_VERSION = 2
DATA, FINAL, ENDS = "data/", "meta/final/", "meta/episode_ends"
IMAGE_CHUNK_BYTES = 48 * 1024
MAX_FRAMES_PER_CHUNK = 16


class GroupDocument(msgspec.Struct):
    """`zarr.json` of an episode file's group."""

    zarr_format: Literal[3]
    node_type: Literal["group"]
    attributes: dict[str, Any]


class StoredFrames(msgspec.Struct, frozen=True):
    """The attribute `frames`: how they are stored, and what each camera lost."""

    storage: FrameStorage
    loss: dict[str, FrameLoss]


class EpisodeFacts(msgspec.Struct, rename={"return_": "return"}, omit_defaults=True):
    """The attributes of that group: what is known of the episode beside its arrays."""

    format_version: int
    length: Annotated[int, msgspec.Meta(ge=1)]
    success: bool
    terminated: bool
    truncated: bool
    return_: float
    metadata: dict[str, Any]
    sha256: dict[str, str]
    frames: StoredFrames | None = None


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
        frames: how its cameras' frames are stored, and what they lost; None if they are exact.
    """

    index: int
    length: int
    success: bool
    terminated: bool
    truncated: bool
    return_: float
    metadata: dict[str, Any]
    digest: str = ""
    frames: StoredFrames | None = None


def frames_per_chunk(frame_shape: tuple[int, ...]) -> int:
    """Image frames compressed together: few, because training reads single frames at random."""
    frame_bytes = int(np.prod(frame_shape))
    return max(1, min(MAX_FRAMES_PER_CHUNK, IMAGE_CHUNK_BYTES // frame_bytes))


def check_format(version: Any, where: Path) -> None:
    """Raise StoreError if `where` was written by a newer softflow."""
    if not isinstance(version, int) or version < 1:
        raise StoreError(f"'{where}' has format_version {version!r:.60}, which no softflow writes.")
    require_no_newer(version, FORMAT_VERSION, where)


def version_for(storage: FrameStorage) -> int:
    """The format of what holds frames stored in this way."""
    return FORMAT_VERSION if storage.is_lossy else EXACT_VERSION


def write_episode_file(
    path: Path, episode: Episode, new: bool = False, storage: FrameStorage = EXACT
) -> None:
    """Write a validated episode; `path` appears only once all of it is on the disk.

    Args:
        path: the file.
        episode: what it shall hold.
        new: refuse to replace a file.
        storage: how frames are kept.

    Raises:
        StoreError: the system refused (disk full, …), or with `new` the file is there already;
            nothing is left behind.
    """
    exact = _arrays(episode)
    cameras = [name for name in exact if is_image_key(name.rpartition("/")[2])]
    jpegs = {name: encoded_frames(exact[name], storage) for name in cameras if storage.is_lossy}
    arrays: dict[str, np.ndarray | JpegFrames] = {**exact, **jpegs}
    attributes = _attributes(episode, arrays) | _told_of_frames(exact, jpegs, storage)
    pieces = {name: frames_per_chunk(exact[name].shape[1:]) for name in cameras}
    try:
        with written_whole(path, new) as temp:
            write_group(temp, arrays, pieces, attributes)
            _require_whole(temp)
    # zipfile goes on after some refusals; what it then wrote does not read back.
    except (zipfile.BadZipFile, RuntimeError) as error:
        raise StoreError(
            f"cannot write '{path}': {error}; check the disk and run the same command again. "
            "Nothing was left half-written."
        ) from error


def _attributes(episode: Episode, arrays: Mapping[str, np.ndarray | JpegFrames]) -> dict[str, Any]:
    return {
        "format_version": EXACT_VERSION,
        "length": episode.length,
        "success": bool(episode.success),
        "terminated": bool(episode.terminated),
        "truncated": bool(episode.truncated),
        "return": episode.return_,
        "metadata": episode.metadata,
        "sha256": {name: checksum(array) for name, array in arrays.items()},
    }


def _told_of_frames(
    exact: Mapping[str, np.ndarray], jpegs: Mapping[str, JpegFrames], storage: FrameStorage
) -> dict[str, Any]:
    """What is said of frames that are stored with a loss; nothing where none are."""
    if not jpegs:
        return {}
    steps = [name for name in jpegs if name.startswith(DATA)]
    loss = {name.removeprefix(DATA): loss_of(exact[name], jpegs[name]) for name in steps}
    told = msgspec.to_builtins(StoredFrames(storage, loss))
    return {"format_version": FORMAT_VERSION, "frames": told}


def _require_whole(path: Path) -> None:
    with zipfile.ZipFile(path) as written:
        if bad := written.testzip():
            raise zipfile.BadZipFile(f"'{bad}' does not read back as it was written")


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
    return read_with(
        path, lambda archive: _episode_in(SealedGroup(archive, path), keys, spec, path)
    )


def read_states(path: Path, spec: DataSpec) -> Episode:
    """An episode without its frames, of which it is checked that the file declares what it should.

    Raises:
        DamagedEpisodeError, StoreError: as `read_episode_file`.
    """

    def read(group: SealedGroup) -> Episode:
        facts = facts_of(group, path)
        names = {key: array_names(key, facts) for key in spec.image_keys}
        parts = {key: [group.array(place) for place in places] for key, places in names.items()}
        _check_shapes(parts, facts.length, spec, path)
        return _episode_in(group, spec.state_keys, spec, path)

    return read_with(path, lambda archive: read(SealedGroup(archive, path)))


def _episode_in(group: SealedGroup, keys: Sequence[str], spec: DataSpec, path: Path) -> Episode:
    """The episode of a group, with the observations of these keys."""
    facts = facts_of(group, path)
    names = {name: array_names(name, facts) for name in ("action", "next.reward", *keys)}
    # Everything is declared and checked before anything is decoded.
    parts = {name: [group.array(place) for place in places] for name, places in names.items()}
    _check_shapes(parts, facts.length, spec, path)
    arrays = {
        name: np.concatenate([_verified(group, array, facts, path) for array in found])
        for name, found in parts.items()
    }
    return Episode(
        observations={key: arrays[key] for key in keys},
        actions=arrays["action"],
        rewards=arrays["next.reward"],
        terminated=facts.terminated,
        truncated=facts.truncated,
        success=facts.success,
        metadata=facts.metadata,
    )


def read_summary(path: Path, index: int) -> EpisodeSummary:
    """The facts of an episode, without its arrays; raises as `read_episode_file`."""
    return read_with(path, lambda archive: _summary_in(SealedGroup(archive, path), path, index))


def _summary_in(group: SealedGroup, path: Path, index: int) -> EpisodeSummary:
    facts = facts_of(group, path)
    told = json.dumps(msgspec.to_builtins(facts), sort_keys=True)
    return EpisodeSummary(
        index=index,
        length=facts.length,
        success=facts.success,
        terminated=facts.terminated,
        truncated=facts.truncated,
        return_=facts.return_,
        metadata=facts.metadata,
        digest=hashlib.sha256(told.encode()).hexdigest(),
        frames=facts.frames,
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


def facts_of(group: SealedGroup, path: Path) -> EpisodeFacts:
    """What the group of an episode says of itself.

    Raises:
        StoreError: it was written by a newer softflow.
        msgspec.ValidationError: a fact is missing, or of another type.
    """
    attributes = group.document("", GroupDocument).attributes
    check_format(attributes.get("format_version"), path)
    return msgspec.convert(attributes, EpisodeFacts)


def array_names(key: str, facts: EpisodeFacts) -> list[str]:
    """Where an array of T steps lies, and behind it where its final observation does."""
    if facts.format_version == 1:
        return [key]
    steps = [DATA + key]
    return [*steps, FINAL + key] if key.startswith(OBSERVATION_PREFIX) else steps


def _verified(
    group: SealedGroup, array: SealedArray, facts: EpisodeFacts, path: Path
) -> np.ndarray:
    """An array whose content matches the checksum taken when it was written."""
    values, found = group.read(array)
    if found != facts.sha256.get(array.name):
        raise damaged(path, f"checksum of '{array.name}' does not match")
    return values


def _check_shapes(
    arrays: Mapping[str, Sequence[SealedArray]], length: int, spec: DataSpec, path: Path
) -> None:
    """Raise StoreError for an episode file that was copied in from a store of other data."""
    total = 0
    for name, parts in arrays.items():
        if name in spec.observation_shapes:
            expected = (length + 1, *spec.observation_shapes[name])
        else:
            expected = (length, spec.action_dim) if name == "action" else (length,)
        shape = (sum(part.shape[0] for part in parts), *parts[0].shape[1:])
        if shape != expected or {part.shape[1:] for part in parts} != {expected[1:]}:
            raise StoreError(
                f"episode file '{path}': '{name}' has shape {shape}, this store holds "
                f"{expected}; it belongs to another store, move it there."
            )
        total += array_bytes(shape, parts[0].dtype.itemsize)
    try:
        require_episode_bytes(total, f"episode file '{path}'")
    except DataError as error:
        raise StoreError(f"{error}.") from error
