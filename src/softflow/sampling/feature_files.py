"""What a network that never changes says of camera frames: computed once, read from files after.

    features/3f9a1c…/             one camera through one network, which the name is a hash of
        about.json                what decided the numbers
        lock                      held while a file is made
        9d03….npy                 one episode: [frames, T, F] float32, then its CRC-32

A file is named after what was recorded: labels, renumbering and copying a store leave it valid. It
is written whole and never changes. The cache is a copy and never the only one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import struct
import warnings
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from softflow.data.episode_store import EpisodeStore
from softflow.errors import StoreError
from softflow.sampling.cache_folder import CacheRefusedError, crc32_of, locked, refused
from softflow.sampling.frame_cache import FrameCache, equal_runs
from softflow.sampling.least_recently_used import LeastRecentlyUsed
from softflow.utils.files import TEMP_SUFFIX, sync_to_disk, write_json

ABOUT = "about.json"
FRAMES_AT_ONCE = 128
"""Frames that are decoded, computed and written together: memory stays bounded."""
MAX_MAPS = 256
"""Files mapped at a time: each holds a descriptor."""
CHANGED = 0.05
"""Features of a frame that differ by this share of their size are those of another program."""
_CRC32 = struct.Struct("<I")
_DTYPE = np.dtype("<f4")
Compute = Callable[[np.ndarray, str], np.ndarray]


@dataclass(frozen=True)
class FeatureKind:
    """Which features of a camera are meant.

    Attributes:
        camera: its key.
        shape: (T, F) of a frame's features.
        facts: all that decides them beside the frames, as JSON: network, weights, preprocessing.
        compute: uint8 frames [K, H, W, 3] and the episode's digest -> float32 [K, T, F]; the same
            for the same facts, up to rounding.
    """

    camera: str
    shape: tuple[int, int]
    facts: Mapping[str, Any]
    compute: Compute

    @property
    def about(self) -> dict[str, Any]:
        """What about.json says."""
        return {"camera": self.camera, "shape": list(self.shape), **self.facts}

    @property
    def name(self) -> str:
        """A hash of everything that decides the numbers."""
        told = json.dumps(self.about, sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:32]


class Recording(NamedTuple):
    """What was recorded of an episode, labelled or not: a hash of it, and how many frames."""

    digest: str
    num_frames: int

    @classmethod
    def of(cls, store: EpisodeStore, episode: int) -> Recording:
        """Of an episode of a store; raises StoreError if its file is damaged."""
        summary = store.summary(episode, labelled=False)
        return cls(summary.digest[:32], summary.length + 1)


class FeatureFiles:
    """The features of one camera, of the episodes of a store that were asked for.

    Several processes may fill the same folder: each file is made by one of them, and the others
    wait. Several threads may read.

    Memory: a few pieces of frames while computing; what is read lies in the page cache.

    Args:
        store: where the episodes are.
        folder: of all features of this store; each kind has one of its own in it.
        kind: which features.
    """

    def __init__(self, store: EpisodeStore, folder: Path, kind: FeatureKind) -> None:
        self.kind = kind
        self.folder = folder / kind.name
        self._store = store
        self._recorded: dict[int, Recording] = {}
        self._maps = LeastRecentlyUsed[int, np.ndarray](MAX_MAPS)
        self._is_tidy = self._is_trusted = False

    @property
    def episodes(self) -> Collection[int]:
        """The store's episodes that were asked for."""
        return self._recorded.keys()

    @property
    def num_bytes(self) -> int:
        """Of the features of all episodes that were asked for."""
        return sum(self._num_bytes(one.num_frames) for one in self._recorded.values())

    def missing_bytes(self, episodes: Mapping[int, Recording]) -> int:
        """Of the files of these episodes that are not there yet."""
        missing = {one for one in episodes.values() if not self._path(one.digest).exists()}
        return sum(self._num_bytes(one.num_frames) for one in missing)

    def fill(self, episodes: Mapping[int, Recording]) -> Iterator[tuple[int, bool]]:
        """Make the file of every episode that has none, or a damaged one.

        Yields:
            Frames of the episode that is done now, and whether they were computed just now.

        Raises:
            CacheRefusedError: a file has to be written and cannot be.
            StoreError: an episode is damaged; or what is there was computed by another program.
        """
        for episode, recording in episodes.items():
            made = self._ensure(episode, *recording)
            self._recorded[episode] = recording
            yield recording.num_frames, made

    def rows(self, episodes: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Features of frame `steps[i]` of store episode `episodes[i]`, both of any shape:
        float32 `[*steps.shape, T, F]`.

        Raises:
            StoreError: the episode was not asked for before, or its file is gone since.
        """
        rows = np.empty((steps.size, *self.kind.shape), _DTYPE)
        order = np.argsort(episodes.ravel(), kind="stable")
        ordered, flat_steps = episodes.ravel()[order], steps.ravel()
        for run in equal_runs(ordered):
            target = order[run]
            rows[target] = self._mapped(int(ordered[run.start]))[flat_steps[target]]
        return rows.reshape(*steps.shape, *self.kind.shape)

    # ---- one file ------------------------------------------------------------------------------

    def _path(self, digest: str) -> Path:
        return self.folder / f"{digest}.npy"

    def _header(self, num_frames: int) -> bytes:
        written = io.BytesIO()
        about = {"descr": _DTYPE.str, "fortran_order": False, "shape": self._shape(num_frames)}
        np.lib.format.write_array_header_1_0(written, about)
        return written.getvalue()

    def _shape(self, num_frames: int) -> tuple[int, ...]:
        return (num_frames, *self.kind.shape)

    def _num_bytes(self, num_frames: int) -> int:
        return int(np.prod(self._shape(num_frames))) * _DTYPE.itemsize

    def _ensure(self, episode: int, digest: str, num_frames: int) -> bool:
        """Whether the file of an episode had to be made."""
        path = self._path(digest)
        fault = self._fault(path, num_frames)
        if fault is None:
            self._require_same_program(episode, digest, num_frames)
            return False
        if fault:
            warnings.warn(f"'{path}' is computed anew: {fault}", stacklevel=5)
        with locked(self.folder) as refusal:
            if self._fault(path, num_frames) is None:  # another process has made it meanwhile
                return False
            if refusal is not None:
                raise refusal
            try:
                self._tidy()
                self._write(path, episode, digest, num_frames)
            except OSError as error:
                raise refused(self.folder, error) from error
        self._is_trusted = True
        return True

    def _fault(self, path: Path, num_frames: int) -> str | None:
        """What is wrong with a file: "" if it is not there, None if it is whole."""
        header = self._header(num_frames)
        size = len(header) + self._num_bytes(num_frames)
        try:
            with path.open("rb") as file:
                if file.read(len(header)) != header:
                    return "it holds another array"
                if path.stat().st_size != size + _CRC32.size:
                    return f"it has {path.stat().st_size} bytes, not {size + _CRC32.size}"
                file.seek(size)
                (expected,) = _CRC32.unpack(file.read(_CRC32.size))
            return None if crc32_of(path, size) == expected else "its checksum does not match"
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except (OSError, struct.error) as error:
            return f"it cannot be read ({error})"

    def _write(self, path: Path, episode: int, digest: str, num_frames: int) -> None:
        """Compute the features of an episode; the lock is ours."""
        temp = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{TEMP_SUFFIX}")
        try:
            with temp.open("wb") as file:
                header = self._header(num_frames)
                file.write(header)
                crc32 = zlib.crc32(header)
                for features in self._computed(episode, digest, num_frames):
                    crc32 = zlib.crc32(features.data, crc32)
                    file.write(features.data)
                file.write(_CRC32.pack(crc32))
            sync_to_disk(temp)
            temp.replace(path)
            sync_to_disk(self.folder)
        finally:
            temp.unlink(missing_ok=True)

    def _computed(self, episode: int, digest: str, num_frames: int) -> Iterator[np.ndarray]:
        """Features of all frames of an episode, some at a time."""
        cache, kind = FrameCache(self._store, 1), self.kind
        for start in range(0, num_frames, FRAMES_AT_ONCE):
            steps = np.arange(start, min(start + FRAMES_AT_ONCE, num_frames))
            frames = cache.frames([kind.camera], np.full(len(steps), episode), steps)[kind.camera]
            features = np.ascontiguousarray(kind.compute(frames, digest), _DTYPE)
            if features.shape != (len(steps), *kind.shape):
                raise StoreError(
                    f"features of '{kind.camera}' have shape {features.shape[1:]} a frame, and the "
                    f"network promised {kind.shape}; correct its `measured`"
                )
            yield features

    def _tidy(self) -> None:
        """Once: say what is here, and remove what killed processes left."""
        if self._is_tidy:
            return
        if not (self.folder / ABOUT).exists():
            try:
                write_json(self.folder / ABOUT, self.kind.about)
            except StoreError as error:
                raise CacheRefusedError(str(error)) from error
        for left in self.folder.glob(f".*.npy.*{TEMP_SUFFIX}"):
            left.unlink(missing_ok=True)
        self._is_tidy = True

    def _require_same_program(self, episode: int, digest: str, num_frames: int) -> None:
        """Once: raise if this program computes something else of a frame than the file holds."""
        if self._is_trusted:
            return
        steps = np.zeros(1, np.int64)
        cache, kind = FrameCache(self._store, 1), self.kind
        frame = cache.frames([kind.camera], np.full(1, episode), steps)[kind.camera]
        here, there = kind.compute(frame, digest)[0], self._map(digest, num_frames)[0]
        if not np.abs(here - there).max() <= CHANGED * np.abs(there).max():
            raise StoreError(
                f"'{self.folder}' holds other features than the network computes now: its code has "
                "changed since; remove that folder, and they are computed anew"
            )
        self._is_trusted = True

    def _mapped(self, episode: int) -> np.ndarray:
        """The features of an episode [frames, T, F]."""
        array = self._maps.get(episode)
        if array is None:
            if episode not in self._recorded:
                raise StoreError(
                    f"no features of episode {episode} of '{self._store.path}' were asked for; "
                    "call `fill` first"
                )
            array = self._map(*self._recorded[episode])
            self._maps.put(episode, array)
        return array

    def _map(self, digest: str, num_frames: int) -> np.ndarray:
        path = self._path(digest)
        offset, shape = len(self._header(num_frames)), self._shape(num_frames)
        try:
            return np.asarray(np.memmap(path, _DTYPE, "r", offset, shape))
        except (OSError, ValueError) as error:
            raise StoreError(
                f"'{path}' was there and can be read no more ({error}); run the same command again"
            ) from error


def rows_of_views(
    files: Sequence[FeatureFiles], episodes: np.ndarray, steps: np.ndarray, views: np.ndarray
) -> np.ndarray:
    """As `FeatureFiles.rows`, of one of several views for each row.

    Args:
        files: of each view; of one shape.
        episodes, steps: of each frame `[*rows, history]`.
        views: which of the files `[*rows]`.
    """
    if len(files) == 1:
        return files[0].rows(episodes, steps)
    result = np.empty((*steps.shape, *files[0].kind.shape), _DTYPE)
    for number, view in enumerate(files):
        shown = views == number
        result[shown] = view.rows(episodes[shown], steps[shown])
    return result
