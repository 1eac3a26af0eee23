"""The one loop that copies a foreign dataset into an episode store, episode by episode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from softflow.data.action_space import ActionSpace, bounds_command, lies_within
from softflow.data.data_spec import DataSpec, within_the_same_bounds
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.files.frame_storage import EXACT, FrameStorage
from softflow.data.metadata import metadata_value
from softflow.errors import DataError
from softflow.formats.prepared import Outcome, Prepared
from softflow.formats.source import Source
from softflow.formats.workers import Sealed, sealed_by_others, usual_jobs
from softflow.utils.progress import ProgressReporter

IMPORTED = "imported"
"""Metadata key: which episode of which file or folder this one was."""
OPTIONS = "import_options"
"""Metadata key: the options that made it what it is, where they are not the usual ones."""


def import_into(
    source: Source,
    store_path: Path,
    progress: ProgressReporter,
    *,
    env_id: str = "",
    unlabelled: Outcome = "unknown",
    skip_bad: bool = False,
    image_size: tuple[int, int] | None = None,
    actions: ActionSpace | None = None,
    episodes: str = "",
    options: Mapping[str, Any] | None = None,
    doing: str = "import",
    open_again: Callable[[], Source] | None = None,
    jobs: int | None = None,
    frames: FrameStorage | None = None,
) -> int:
    """Copy what is not there yet into a store, new or existing; an interrupted import goes on.

    Args:
        source: the dataset.
        store_path: the store; several sources may fill one, if they hold the same kind of data. A
            new one is made with the first episode.
        progress: told after every episode.
        env_id, unlabelled, image_size, actions, episodes: as in `Prepared`.
        skip_bad: leave unusable episodes out, and say why, instead of stopping.
        options: what else, other than usual, decides what the episodes hold. It is kept in their
            metadata: going on with other options would mix two kinds of episodes.
        doing: what progress calls it.
        open_again: opens the same source in another process; it is pickled. None: there is none.
        jobs: processes that read and seal episodes; None: as many as are worth it.
        frames: how those of cameras are stored; None: as the store has them, in a new one exactly.

    Returns:
        How many episodes were imported now.

    Raises:
        DataError: the store holds data of another kind or episodes of this source that were
            imported with other options, an episode is unusable, or all of them are.
    """
    asked: dict[str, Any] = {
        "env_id": env_id,
        "unlabelled": unlabelled,
        "image_size": image_size,
        "actions": actions,
    }
    prepared = Prepared(source, **asked, episodes=episodes)
    said = {} if unlabelled == "unknown" else {"unlabelled": unlabelled}
    with ExitStack() as stack:
        target = _Target(store_path, prepared, {**said, **(options or {})}, stack, frames)
        missing = [name for name in prepared.episodes() if not target.holds(name)]
        jobs = usual_jobs(prepared.spec, len(missing)) if jobs is None else jobs
        pieces = _pieces_here(prepared, target, missing)
        if jobs > 1 and open_again is not None and len(missing) > 1:
            reopen = partial(_Stamped, open_again, asked, target.stamp)
            pieces = _pieces_of_others(prepared, target, missing, reopen, jobs, stack)
        return _copy(prepared, pieces, len(missing), progress, skip_bad, doing)


@dataclass(frozen=True)
class Stamp:
    """What the metadata of every imported episode say, and what it has to fit.

    Args:
        origin: file or folder of the source.
        options: `OPTIONS`.
        spec: of the store.
    """

    origin: str
    options: dict[str, Any]
    spec: DataSpec

    def called(self, name: str) -> str:
        """What the store calls an episode of the source."""
        return f"{self.origin}: {name}"

    def put_on(self, episode: Episode, name: str) -> Episode:
        """The episode, stamped and validated.

        Raises:
            DataError: it must not be trained on.
        """
        # An exported episode tells of an earlier import.
        episode.metadata.pop(OPTIONS, None)
        episode.metadata[IMPORTED] = self.called(name)
        if self.options:
            episode.metadata[OPTIONS] = self.options
        episode.validate(self.spec, f"{self.origin}, {name}")
        return episode


class _Stamped:
    """A source in another process, whose episodes come as they are to be stored."""

    def __init__(
        self, open_again: Callable[[], Source], asked: dict[str, Any], stamp: Stamp
    ) -> None:
        self._prepared, self._stamp = Prepared(open_again(), **asked), stamp
        # The process that asked has told of the dataset as a whole.
        self._prepared.oddities()

    def read(self, name: str) -> Episode:
        return self._stamp.put_on(self._prepared.read(name), name)

    def oddities(self) -> list[str]:
        return self._prepared.oddities()


class _Target:
    """The store to fill: opened for writing if it is there, else made with the first episode.

    So a mistake in the options, which no episode survives, leaves no store behind to be deleted.
    """

    def __init__(
        self,
        path: Path,
        source: Prepared,
        options: dict[str, Any],
        stack: ExitStack,
        frames: FrameStorage | None,
    ) -> None:
        self._frames = frames
        self._path, self._spec, self._options, self._stack = path, source.spec, options, stack
        # Relative paths mean other files elsewhere, or the same one by another name.
        self._origin = str(source.path.resolve())
        self.stamp = Stamp(self._origin, options, self._spec)
        self._store: EpisodeStore | None = None
        self._there: set[str] = set()
        if (path / "store.json").exists():
            spec = self._with_bounds_of(EpisodeStore.open(path).spec)
            self._store = stack.enter_context(EpisodeStore.open_or_create(path, spec, frames))
            self._there = self._imported(self._store)

    def _with_bounds_of(self, there: DataSpec) -> DataSpec:
        """What is to be stored, in the bounds of the store, which may be wider."""
        differing = there.differences(self._spec)
        widened, ours = within_the_same_bounds(there, self._spec)
        if lies_within(self._spec, there):
            return ours
        if differing and not widened.differences(ours):
            low, high = widened.action_low, widened.action_high
            told = "\n  ".join(differing)
            raise DataError(
                f"the actions of {self._origin} have other bounds than those in the store "
                f"'{self._path}', which come first:\n  {told}\nWhere a format does not "
                "tell bounds, they are the range of the data, which more recordings widen. Give "
                "the store bounds for all:"
                f"\n      {bounds_command(self._path, low, high)}\nthen import again"
            )
        return self._spec

    def _imported(self, store: EpisodeStore) -> set[str]:
        """What is there of all sources; raises if that of this one came with other options."""
        found: set[str] = set()
        for summary in store.summaries():
            where = f"episode {summary.index} of '{self._path}'"
            name = metadata_value(summary.metadata, IMPORTED, str, "", where)
            before = metadata_value(summary.metadata, OPTIONS, dict[str, Any], {}, where)
            found.add(name)
            if name.startswith(f"{self._origin}: ") and before != self._options:
                raise DataError(
                    f"the store '{self._path}' has episodes of {self._origin} that were imported "
                    f"with {_told(before)}, now it is {_told(self._options)}; give the same "
                    "options to go on, or another folder as --out"
                )
        return found - {""}

    def holds(self, name: str) -> bool:
        """Whether an episode of the source was imported before."""
        return self.stamp.called(name) in self._there

    def append(self, episode: Episode, name: str) -> None:
        """Store an episode."""
        self.stamp.put_on(episode, name)
        if self._store is None:
            store = EpisodeStore.create(self._path, self._spec, self._frames or EXACT)
            self._store = self._stack.enter_context(store)
        self._store.append(episode)

    @property
    def is_there(self) -> bool:
        """Whether there is a store yet."""
        return self._store is not None

    @property
    def folder(self) -> Path:
        """Where its episodes lie."""
        return self._path / "episodes"

    @property
    def frames(self) -> FrameStorage:
        """How those of cameras are stored."""
        return EXACT if self._store is None else self._store.frames

    def take(self, sealed: Sealed) -> None:
        """Store an episode that another process sealed.

        Raises:
            DataError: it is unusable.
        """
        if sealed.file is None:
            raise DataError(sealed.error)
        assert self._store is not None
        self._store.append_sealed(sealed.file)


@dataclass(frozen=True)
class _Piece:
    """An episode that is ready to be stored, or to be read and stored."""

    name: str
    store: Callable[[], None]
    notes: tuple[str, ...] = ()


def _pieces_here(source: Prepared, target: _Target, names: Sequence[str]) -> Iterator[_Piece]:
    for name in names:
        # No name for the episode here: it would keep it while the next one is read.
        yield _Piece(name, lambda name=name: target.append(source.read(name), name))


def _pieces_of_others(
    source: Prepared,
    target: _Target,
    names: Sequence[str],
    reopen: Callable[[], _Stamped],
    jobs: int,
    stack: ExitStack,
) -> Iterator[_Piece]:
    """The first good episode is stored here: only then is there a store to write into."""
    here = 0
    while here < len(names) and not target.is_there:
        yield from _pieces_here(source, target, names[here : here + 1])
        here += 1
    if here == len(names):
        return
    others = sealed_by_others(names[here:], target.folder, reopen, jobs, target.frames)
    # Their processes end with the import, whatever ends that.
    stack.callback(others.close)
    for sealed in others:
        yield _Piece(sealed.name, partial(target.take, sealed), sealed.notes)


def _copy(
    source: Prepared,
    pieces: Iterator[_Piece],
    missing: int,
    progress: ProgressReporter,
    skip_bad: bool,
    doing: str,
) -> int:
    total = len(source.episodes())
    imported, first = 0, total - missing
    progress.begin(doing, total, first)
    _tell(source.oddities(), progress)
    for done, piece in enumerate(pieces, first + 1):
        try:
            piece.store()
            imported += 1
        except DataError as error:
            if not skip_bad:
                raise DataError(f"{error} (--skip-bad goes on without such episodes)") from error
            progress.say(f"left out {piece.name}: {error}")
        _tell([*source.oddities(), *piece.notes], progress)
        progress.advance(done, piece.name)
    left_out = missing - imported
    if left_out and left_out == total:
        raise DataError(f"{source.path}: none of its {left_out} episodes can be used, see above")
    if left_out:
        progress.say(f"left out {left_out} of {total} episodes")
    return imported


def _tell(lines: Iterable[str], progress: ProgressReporter) -> None:
    for line in lines:
        progress.say(f"careful: {line}")


def _told(options: Mapping[str, Any]) -> str:
    """--whole and --unlabelled success, or nothing like that."""
    words = [
        f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
        for name, value in sorted(options.items())
    ]
    return " and ".join(words) or "the usual options"
