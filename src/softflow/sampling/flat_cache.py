"""A store's states, actions and rewards as plain float32 files beside it, mapped into memory.

    cache/index.json                which episodes are inside, and checksums
    cache/lock                      held while the cache is checked or written
    cache/columns_1f3a9c2e/         one file per array, episodes end to end, as they were recorded
        observation.state.f32, action.f32, next.reward.f32; rows as in `Columns`

The cache is a copy and never the only one: whatever is not as it should be is built anew from the
episodes. Labels are not in it, so relabelling leaves it as it is. Episodes appended to the store
are appended here: rows first, then the index that counts them, so a crash in between leaves rows
that nobody counts. A rebuild writes into a new folder; readers keep the old files mapped.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.errors import StoreError
from softflow.sampling.columns import PADDING, Columns, padded_actions, padded_rewards
from softflow.utils.files import TEMP_SUFFIX, read_json, sync_to_disk, write_bytes

CACHE_VERSION = 1
EPISODES_PER_COMMIT = 1000
"""A build that is killed goes on from the last multiple of this."""
_BLOCK_BYTES = 1 << 20
_DTYPE = np.dtype("<f4")
_ACTION, _REWARD = "action", "next.reward"


class CacheRefusedError(StoreError):
    """The cache is needed but cannot be written: read-only folder, full disk, no locks."""


@dataclass(frozen=True, eq=False)
class CachedEpisodes:
    """All episodes of a store as they were recorded, without labels.

    Args:
        columns: the arrays, mapped read-only: their pages belong to the page cache, and the
            system takes them back when memory is short.
        length, terminated, success: `[N]`, one entry per episode of the store, in its order.
    """

    columns: Columns
    length: np.ndarray
    terminated: np.ndarray
    success: np.ndarray


@dataclass
class _Index:
    """The content of index.json.

    `files` says of which episode files the rows are a copy: name, bytes and modification time in
    ns. Sealed episodes never change, so these tell a replaced file without reading it.
    """

    folder: str
    files: list[list[Any]] = field(default_factory=list)
    length: list[int] = field(default_factory=list)
    terminated: list[bool] = field(default_factory=list)
    success: list[bool] = field(default_factory=list)
    crc32: dict[str, int] = field(default_factory=dict)

    def rows(self, name: str, episodes: int | None = None) -> int:
        """Rows of an array that the first `episodes` (by default all) fill."""
        lengths = self.length[:episodes]
        return sum(lengths) + len(lengths) * (PADDING if name in (_ACTION, _REWARD) else 1)


def cached_episodes(store: EpisodeStore, folder: Path) -> CachedEpisodes:
    """The cache of a store, checked in full; built, extended or rebuilt where it has to be.

    Memory: one episode at a time while building, 1 MiB while checking. Processes that open the
    same cache at once wait for each other.

    Args:
        store: its episodes, as many as this object knows of, will all be inside.
        folder: of the cache, of this store alone.

    Raises:
        CacheRefusedError: something has to be written and cannot be.
        StoreError: an episode is damaged; names the file and the fix.
    """
    cache = _Cache(store, folder)
    with _locked(folder) as refusal:
        index = cache.usable_index()
        if index is None or len(index.files) < len(store):
            if refusal is not None:
                raise refusal
            index = cache.extend(index or cache.start_anew())
        return cache.mapped(index)


class _Cache:
    """The folder of one store's cache, while it is locked."""

    def __init__(self, store: EpisodeStore, folder: Path) -> None:
        self.store, self.folder = store, folder
        self.spec = store.spec
        self.files: list[list[Any]] = [_identity(store.episode_path(i)) for i in range(len(store))]
        self.shapes: dict[str, tuple[int, ...]] = {
            **{key: self.spec.observation_shapes[key] for key in self.spec.state_keys},
            _ACTION: (self.spec.action_dim,),
            _REWARD: (),
        }

    def usable_index(self) -> _Index | None:
        """The index if it is of these episodes and what it counts is intact."""
        if not (self.folder / "index.json").exists():
            return None
        try:
            index = _read_index(self.folder / "index.json", self.spec)
            shared = min(len(index.files), len(self.files))
            if index.files[:shared] != self.files[:shared]:
                raise StoreError("episodes of the store were replaced or set aside")
            for name in self.shapes:
                self._check_column(index, name)
        except StoreError as error:
            warnings.warn(f"building the cache '{self.folder}' anew: {error}", stacklevel=6)
            return None
        return index

    def _check_column(self, index: _Index, name: str) -> None:
        path = self._path(index, name)
        left, crc32 = index.rows(name) * self._row_bytes(name), 0
        try:
            with path.open("rb", buffering=0) as file:
                while left and (block := file.read(min(left, _BLOCK_BYTES))):
                    crc32, left = zlib.crc32(block, crc32), left - len(block)
        except OSError as error:
            raise StoreError(f"'{path}' cannot be read ({error.strerror})") from error
        if left:
            raise StoreError(f"'{path}' is {left} bytes short")
        if crc32 != index.crc32[name]:
            raise StoreError(f"the checksum of '{path}' does not match")

    def start_anew(self) -> _Index:
        """The index of a cache without episodes; other columns in the folder are removed."""
        index = _Index(f"columns_{secrets.token_hex(4)}", crc32=dict.fromkeys(self.shapes, 0))
        with _writing(self.folder):
            for old in self.folder.glob("columns_*"):
                shutil.rmtree(old)
            (self.folder / index.folder).mkdir()
        return index

    def extend(self, index: _Index) -> _Index:
        """Append what the store has and the cache has not, one episode in memory at a time."""
        with contextlib.ExitStack() as opened:
            opened.enter_context(_writing(self.folder))
            # The lock is ours: only a killed process leaves these.
            for leftover in self.folder.glob(f".*{TEMP_SUFFIX}"):
                leftover.unlink()
            files = {
                name: opened.enter_context(self._opened_at_end(index, name)) for name in self.shapes
            }
            for number in range(len(index.files), len(self.files)):
                episode = self.store.episode(number, with_images=False, labelled=False)
                self._append(index, files, episode, self.files[number])
                if (number + 1) % EPISODES_PER_COMMIT == 0:
                    self._commit(index, files)
            self._commit(index, files)
        return index

    def _opened_at_end(self, index: _Index, name: str) -> BinaryIO:
        """A column file behind its last counted row; what a crash left there is cut off."""
        file = self._path(index, name).open("r+b" if index.files else "wb")
        file.truncate(index.rows(name) * self._row_bytes(name))
        file.seek(0, os.SEEK_END)
        return file

    def _append(
        self, index: _Index, files: dict[str, BinaryIO], episode: Episode, identity: list[Any]
    ) -> None:
        arrays = {
            **episode.observations,
            _ACTION: padded_actions(episode.actions),
            _REWARD: padded_rewards(episode.rewards),
        }
        for name, file in files.items():
            payload = np.ascontiguousarray(arrays[name], _DTYPE).data.cast("B")
            file.write(payload)
            index.crc32[name] = zlib.crc32(payload, index.crc32[name])
        index.files.append(identity)
        index.length.append(episode.length)
        index.terminated.append(bool(episode.terminated))
        index.success.append(bool(episode.success))

    def _commit(self, index: _Index, files: dict[str, BinaryIO]) -> None:
        """Rows reach the disk before the index that counts them."""
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
        sync_to_disk(self.folder / index.folder)
        content = {"spec": self.spec.to_json(), **vars(index)}
        value = {"cache_version": CACHE_VERSION, "crc32": _crc32(content), "content": content}
        write_bytes(self.folder / "index.json", json.dumps(value).encode())

    def mapped(self, index: _Index) -> CachedEpisodes:
        """The arrays of the store's episodes, mapped read-only."""
        count = len(self.store)
        arrays = {
            name: _map(self._path(index, name), (index.rows(name, count), *shape))
            for name, shape in self.shapes.items()
        }
        states = {key: arrays[key] for key in self.spec.state_keys}
        return CachedEpisodes(
            Columns(states, arrays[_ACTION], arrays[_REWARD]),
            np.array(index.length[:count], np.int64),
            np.array(index.terminated[:count], bool),
            np.array(index.success[:count], bool),
        )

    def _path(self, index: _Index, name: str) -> Path:
        return self.folder / index.folder / f"{name}.f32"

    def _row_bytes(self, name: str) -> int:
        return int(np.prod(self.shapes[name])) * _DTYPE.itemsize


def _identity(path: Path) -> list[Any]:
    try:
        status = path.stat()
    except OSError as error:
        raise StoreError(
            f"episode file '{path}' is gone; copy it back, or open the store again to go on "
            "without it."
        ) from error
    return [path.name, status.st_size, status.st_mtime_ns]


def _read_index(path: Path, spec: DataSpec) -> _Index:
    """The index of a cache of `spec`; StoreError says why it is not usable."""
    value = read_json(path)
    try:
        if value["cache_version"] != CACHE_VERSION:
            raise StoreError(f"it has cache_version {value['cache_version']}, not {CACHE_VERSION}")
        content = value["content"]
        if value["crc32"] != _crc32(content):
            raise StoreError(f"the checksum of '{path}' does not match")
        if content.pop("spec") != spec.to_json():
            raise StoreError("it is of another spec than the store")
        return _Index(**content)
    except (KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"'{path}' is damaged ({error!r})") from error


def _crc32(content: Any) -> int:
    return zlib.crc32(json.dumps(content, sort_keys=True).encode())


def _map(path: Path, shape: Sequence[int]) -> np.ndarray:
    # A file of no bytes cannot be mapped.
    if 0 in shape:
        return np.empty(shape, _DTYPE)
    return np.asarray(np.memmap(path, _DTYPE, "r", shape=tuple(shape)))


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[CacheRefusedError | None]:
    """Hold the cache's lock; yields why not, where the folder cannot be written.

    A folder that nobody can write to is read without a lock: nobody rebuilds it.
    """
    refusal: CacheRefusedError | None = None
    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context((folder / "lock").open("ab"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError as error:
            refusal = _refused(folder, error)
        yield refusal


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refused(folder, error) from error
    except StoreError as error:
        if isinstance(cause := error.__cause__, OSError) and cause.errno in _FULL:
            raise _refused(folder, cause) from error
        raise


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _refused(folder: Path, error: OSError) -> CacheRefusedError:
    return CacheRefusedError(
        f"cannot write the cache '{folder}': {error.strerror or error}; give cache_folder= another "
        "folder, on a local disk with space left"
    )
