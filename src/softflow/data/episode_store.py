"""A crash-safe folder of episodes, one sealed file each: many readers, one writer.

Layout: `store.json` (format_version, spec, checksum), `episodes/episode_000000.zarr.zip` …,
`labels/` beside them, `writer.lock`, and `set_aside/` with what an interrupted or damaged write
left behind.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from softflow.data.action_space import or_another_name
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.files import store_folder, store_identity
from softflow.data.files.episode_file import (
    EpisodeSummary,
    read_episode_file,
    read_summary,
    write_episode_file,
)
from softflow.data.files.episode_reading import DamagedEpisodeError
from softflow.data.files.frame_storage import EXACT, FrameStorage
from softflow.data.files.sealed_copy import copy_episode_file
from softflow.data.files.writer_lock import WriterLock
from softflow.data.labels import Label, LabelFolder, read_label
from softflow.errors import DataError, StoreError
from softflow.utils.files import is_there, sync_to_disk

__all__ = ["EpisodeStore", "EpisodeSummary"]


class EpisodeStore:
    """Episodes 0 … len−1 in the order they were appended. Use `create`, `open` or
    `open_or_create`; as a context manager it gives the writer lock back at the end.

    An index is a position: it stays what it is while the store is open, and shifts only when a
    writer sets a damaged episode before it aside.

    Attributes:
        spec: what its episodes hold.
        frames: how those of cameras are stored in episodes that are appended; episodes that were
            copied in may have others, as their summaries say.
    """

    def __init__(
        self, path: Path, spec: DataSpec, lock: WriterLock | None, frames: FrameStorage = EXACT
    ) -> None:
        self.path = path
        self.spec = spec
        self.frames = frames
        self._lock = lock
        self._numbers: list[int] = []
        self._summaries: dict[int, EpisodeSummary] = {}
        self._labels = LabelFolder(path)
        self._label_files: dict[int, list[Path]] = {}
        if lock is not None:
            # Only an interrupted writer leaves temporary files: the lock is ours.
            for leftover in store_folder.leftovers_in(path):
                store_folder.set_aside(path, leftover)
        self.refresh()
        if lock is not None:
            self._set_damaged_aside(full=False)

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], spec: DataSpec, frames: FrameStorage = EXACT
    ) -> EpisodeStore:
        """A new, empty, writable store.

        Args:
            path: its folder.
            spec: what its episodes hold.
            frames: how those of cameras are stored: exactly, or smaller with a loss.

        Raises:
            DataError: frames with a loss, but no cameras.
            StoreError: there is a store already, another writer holds it, or the disk refuses.
        """
        path = Path(path)
        store_identity.require_storable(spec, frames)
        store_folder.make_folders(path)
        lock = WriterLock(path)
        try:
            if is_there(path / "store.json"):
                raise StoreError(
                    f"'{path}' already holds an episode store; open it, or choose another folder."
                )
            store_identity.write_identity_of(path, spec, frames)
            with store_folder.refusals(path):
                sync_to_disk(path.resolve().parent)
            return cls(path, spec, lock, frames)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open(cls, path: str | os.PathLike[str], writable: bool = False) -> EpisodeStore:
        """An existing store. Opening it for writing sets aside what interrupted writes left.

        Episodes of older formats are read as they are. A writer appends in today's format, and
        first writes that into store.json, so that an older softflow asks for an upgrade, and a
        checksum.

        Raises:
            StoreError: no store there, damaged, of a newer format, or another writer holds it.
        """
        path = Path(path)
        identity = store_identity.read_identity_of(path)
        spec, frames = identity.spec, identity.frames
        if not writable:
            return cls(path, spec, None, frames)
        store_identity.require_storable(spec, frames)
        store_folder.make_folders(path)
        lock = WriterLock(path)
        try:
            if not identity.is_current:
                store_identity.write_identity_of(path, spec, frames)
            return cls(path, spec, lock, frames)
        except BaseException:
            lock.release()
            raise

    @classmethod
    def open_or_create(
        cls, path: str | os.PathLike[str], spec: DataSpec, frames: FrameStorage | None = None
    ) -> EpisodeStore:
        """A writable store, new or existing.

        Args:
            path, spec: as in `create`.
            frames: as there; None leaves them as they are, in a new store exact.

        Raises:
            DataError: it exists and holds data of another spec, or frames that are stored
                otherwise; names each differing field.
            StoreError: as `create` and `open`.
        """
        if not is_there(Path(path) / "store.json"):
            return cls.create(path, spec, frames or EXACT)
        store = cls.open(path, writable=True)
        differences = store.spec.differences(spec)
        if frames not in (None, store.frames):
            differences.append(f"frames: {store.frames} and {frames}")
        if differences:
            store.close()
            raise DataError(
                f"the store '{path}' holds other data than is to be written; its values first:\n  "
                + "\n  ".join(differences)
                + "\nChoose another folder, or delete that store."
                + or_another_name(path, store.spec, spec)
            )
        return store

    def __enter__(self) -> EpisodeStore:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the writer lock back; reading stays possible."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    @property
    def writable(self) -> bool:
        """Whether this object holds the writer lock."""
        return self._lock is not None

    def __len__(self) -> int:
        return len(self._numbers)

    def append(self, episode: Episode) -> int:
        """Validate and seal an episode. It is on the disk, whole, when this returns.

        Returns:
            Its index.

        Raises:
            DataError: the episode must not be trained on; see `Episode.validate`.
            StoreError: not opened for writing, or the disk refuses (full, …); the store is
                as before.
        """
        number = self._number_to_append()
        index = len(self)
        episode.validate(self.spec, f"episode {index} for '{self.path}'")
        write_episode_file(self._file(number), episode, new=True, storage=self.frames)
        self._numbers.append(number)
        return index

    def append_copy(self, file: Path, told: Callable[[dict[str, Any]], dict[str, Any]]) -> int:
        """Copy a sealed episode file as it is; `told` gives the copy's metadata from the file's.

        Returns:
            Its index.

        Raises:
            DataError: the episode must not be trained on, or the metadata are not JSON.
            StoreError: as `append`, or the file is damaged or of another spec.
        """
        number = self._number_to_append()
        where = f"episode {len(self)} for '{self.path}'"
        copy_episode_file(file, self._file(number), self.spec, told, where)
        self._numbers.append(number)
        return len(self) - 1

    def append_sealed(self, file: Path) -> int:
        """Take a file that `write_episode_file` wrote into the store's folder, of a valid episode.

        Raises:
            StoreError: as `append`.
        """
        number = self._number_to_append()
        with store_folder.refusals(file):
            file.rename(self._file(number))
            sync_to_disk(file.parent)
        self._numbers.append(number)
        return len(self) - 1

    def redeclare(self, spec: DataSpec) -> None:
        """Say anew which actions there may be, and in which environment; episodes stay the same.

        That their actions lie within these bounds is for the caller to know.

        Raises:
            DataError: the spec says other things anew.
            StoreError: not opened for writing, or the disk refuses; the store is as before.
        """
        self._require_writable()
        store_identity.require_redeclarable(self.path, self.spec, spec)
        store_identity.write_identity_of(self.path, spec, self.frames)
        self.spec = spec

    def episode(self, index: int, with_images: bool = True, labelled: bool = True) -> Episode:
        """Read an episode and verify its checksums.

        Args:
            index: 0 … len−1.
            with_images: False leaves the camera observations out, and is much faster.
            labelled: as its newest label has it; False gives the episode as it was recorded.

        Raises:
            StoreError: no such index, damaged file, newer format; names the file and the fix.
            DataError: its label does not fit it.
        """
        path = self.episode_path(index)
        episode = read_episode_file(path, self.spec, with_images)
        label = self.newest_label(index) if labelled else None
        return label.applied_to(episode, str(path)) if label else episode

    def episode_path(self, index: int) -> Path:
        """The file of an episode: sealed, it may be copied while the store is in use.

        Raises:
            StoreError: no such index.
        """
        if not 0 <= index < len(self):
            raise StoreError(
                f"the store '{self.path}' has no episode {index}; it holds {len(self)}, numbered "
                "from 0 (refresh() shows those appended by another process)."
            )
        return self._file(self._numbers[index])

    def summary(self, index: int, labelled: bool = True) -> EpisodeSummary:
        """Length, outcome, return and metadata of an episode; its arrays are not read.

        Args:
            index: 0 … len−1.
            labelled: as its newest label has it; False tells what was recorded.

        Raises:
            StoreError: as `episode`.
        """
        path = self.episode_path(index)
        if not labelled:
            return read_summary(path, index)
        if index not in self._summaries:
            summary = read_summary(path, index)
            label = self.newest_label(index)
            self._summaries[index] = label.summarised(summary) if label else summary
        return self._summaries[index]

    def summaries(self) -> list[EpisodeSummary]:
        """Summaries of all episodes, in order."""
        return [self.summary(index) for index in range(len(self))]

    def label(self, index: int, label: Label) -> None:
        """Say anew what happened in an episode; its file stays as it is. Needs no writer lock.

        Raises:
            DataError: an event lies behind the episode's end.
            StoreError: as `episode`, or the disk refuses.
        """
        where = str(self.episode_path(index))
        label.rewards(self.summary(index, labelled=False).length, where)
        number = self._numbers[index]
        path = self._labels.add(number, label)
        self._label_files.setdefault(number, []).append(path)
        self._summaries.pop(index, None)

    def labels(self, index: int) -> list[Label]:
        """Every label of an episode, the oldest first; the last one counts.

        Raises:
            StoreError: no such index, or a label file is damaged or of a newer format.
        """
        self.episode_path(index)
        return [read_label(path) for path in self._label_files.get(self._numbers[index], [])]

    def newest_label(self, index: int) -> Label | None:
        """The label of an episode that counts; None without one, or after it was withdrawn.

        Raises:
            StoreError: no such index, or the label file is damaged.
        """
        self.episode_path(index)
        files = self._label_files.get(self._numbers[index])
        label = read_label(files[-1]) if files else None
        return None if label is None or label.withdrawn else label

    def refresh(self) -> int:
        """See episodes and labels of other processes; known indices keep their meaning.

        Returns:
            How many are new.
        """
        last = self._numbers[-1] if self._numbers else -1
        new = sorted(n for n in store_folder.numbers_in(self.path / "episodes") if n > last)
        self._numbers.extend(new)
        labels = self._labels.files()
        if labels != self._label_files:
            self._label_files, self._summaries = labels, {}
        return len(new)

    def verify(self) -> list[str]:
        """Read every episode in full; a writable store sets the damaged ones aside.

        Setting aside shifts the indices behind a damaged episode: make datasets afterwards.

        Returns:
            One message per damaged episode; empty if all is well.
        """
        return self._set_damaged_aside(full=True)

    def _file(self, number: int) -> Path:
        return self.path / "episodes" / f"episode_{number:06d}.zarr.zip"

    def _require_writable(self) -> None:
        if self._lock is None:
            raise StoreError(
                f"the store '{self.path}' is not open for writing; use "
                "EpisodeStore.open(path, writable=True)."
            )

    def _number_to_append(self) -> int:
        """The number of the next episode; raises unless one may be appended."""
        self._require_writable()
        store_folder.require_there(self.path)
        if is_there(self._file(self._next_number())):
            self.refresh()  # somebody copied an episode in
        return self._next_number()

    def _next_number(self) -> int:
        """A number never used before: machines that copy episodes know them by file name."""
        used = [*self._numbers, *store_folder.numbers_in(self.path / "set_aside")]
        return max(used, default=-1) + 1

    def _set_damaged_aside(self, full: bool) -> list[str]:
        """Set aside what is damaged beyond doubt; any other fault is raised, and nothing moves."""
        found: dict[int, DamagedEpisodeError] = {}
        for index, number in enumerate(self._numbers):
            try:
                if full:
                    self.episode(index)
                else:
                    self.summary(index)
            except DamagedEpisodeError as error:
                found[number] = error
        if self.writable:
            for number, error in found.items():
                store_folder.set_aside(self.path, self._file(number))
                self._numbers.remove(number)
                self._summaries = {}
                warnings.warn(f"set aside: {error}", stacklevel=4)
        return [str(error) for error in found.values()]
