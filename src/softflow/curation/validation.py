"""Find every problem of a dataset: a store, or foreign data before it is imported.

One episode is in memory at a time, and no check ends the examination. What the checks are, and
what they tell apart, is in `episode_checks` and `dataset_checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import numpy as np

from softflow.curation.dataset_checks import DATASET_CHECKS
from softflow.curation.episode_checks import EPISODE_CHECKS, CheckSettings, Subject
from softflow.curation.problems import Problem
from softflow.curation.rate_limits import USUAL_SIGMAS, usual_rates
from softflow.curation.stored_frames import MIXED, storage_of
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.files.frame_storage import FrameStorage
from softflow.errors import DataError, StoreError

FILE_CHECKS = ("damaged-file", "wrong-label", "set-aside", "mixed-frames")
CHECK_NAMES = (*EPISODE_CHECKS, *DATASET_CHECKS, *FILE_CHECKS)
"""Every check by the name that `ignore` and the problems use."""

Name = TypeVar("Name", int, str)
OnProgress = Callable[[int], None]
"""Called with the number of episodes done."""


def require_checks(names: Collection[str]) -> None:
    """Raise unless these are names of checks.

    Raises:
        DataError: one is not; says which there are.
    """
    if unknown := sorted(set(names) - set(CHECK_NAMES)):
        raise DataError(f"no check {unknown[0]!r}; choose from {', '.join(CHECK_NAMES)}")


class Examination:
    """The checks of one dataset, fed episode by episode.

    Args:
        spec: what the episodes should hold.
        settings: limits, and which checks to leave out.

    Raises:
        DataError: a check to ignore does not exist.
    """

    def __init__(self, spec: DataSpec, settings: CheckSettings) -> None:
        require_checks(settings.ignore)
        self.spec, self.settings = spec, settings
        kept = [name for name in DATASET_CHECKS if name not in settings.ignore]
        self._across = [DATASET_CHECKS[name]() for name in kept]

    def examine(self, name: str, episode: Episode) -> Iterator[Problem]:
        """What is wrong with one episode, as far as it can be known by now."""
        subject = Subject(name, episode, self.spec, self.settings)
        for check, find in EPISODE_CHECKS.items():
            if check not in self.settings.ignore:
                yield from find(subject)
        for across in self._across:
            yield from across.see(subject)

    def finish(self) -> Iterator[Problem]:
        """What is wrong with the episodes together."""
        for across in self._across:
            yield from across.finish()


def validate(
    episodes: Iterable[tuple[str, Episode]], spec: DataSpec, settings: CheckSettings | None = None
) -> Iterator[Problem]:
    """Every problem of the episodes (name, content), read one at a time.

    Raises:
        DataError: the settings are unusable; never for what is wrong with the data.
    """
    examination = Examination(spec, settings or CheckSettings())
    for name, episode in episodes:
        yield from examination.examine(name, episode)
    yield from examination.finish()


class Readable(Protocol):
    """Foreign data, of which one episode at a time is in memory: what an importer offers."""

    spec: DataSpec

    def episodes(self) -> list[str]:
        """The names of its episodes."""
        ...

    def read(self, name: str) -> Episode:
        """One of them; raises DataError or StoreError if it cannot be read."""
        ...


def validate_source(
    source: Readable,
    settings: CheckSettings | None = None,
    *,
    sigmas: float = USUAL_SIGMAS,
    on_progress: OnProgress = lambda done: None,
) -> Iterator[Problem]:
    """Every problem of foreign data before it is imported, unreadable episodes included.

    Args:
        source: an importer.
        settings: `usual_rate` is filled in from the data if it is empty.
        sigmas: as in `usual_rates`, which reads everything once more; 0 spares that.
        on_progress: called after each episode of the last pass.
    """
    names = source.episodes()
    settings = settings or CheckSettings()
    if _wants_rates(settings):
        settings = replace(settings, usual_rate=source_rates(source, sigmas))
    examination = Examination(source.spec, settings)
    for done, name in enumerate(names, 1):
        try:
            episode = source.read(name)
        except (DataError, StoreError) as error:
            if "damaged-file" not in settings.ignore:
                for fault in getattr(error, "faults", (str(error),)):
                    yield Problem("error", "damaged-file", name, fault)
        else:
            yield from examination.examine(name, episode)
        on_progress(done)
    yield from examination.finish()


def source_rates(
    source: Readable, sigmas: float, on_progress: OnProgress = lambda done: None
) -> dict[str, np.ndarray]:
    """`usual_rates` of the episodes of foreign data that can be read."""
    names = source.episodes()

    def read(index: int) -> Episode:
        on_progress(index + 1)
        return source.read(names[index])

    return usual_rates(_readable(range(len(names)), read), source.spec, sigmas)


def validate_store(
    store: EpisodeStore,
    settings: CheckSettings | None = None,
    *,
    sigmas: float = USUAL_SIGMAS,
    on_progress: OnProgress = lambda done: None,
) -> Iterator[Problem]:
    """Every problem of a store, damaged files and labels that do not fit included.

    Episodes are named by their index, and examined as they were recorded; their newest label must
    fit them.

    Args:
        store: read only, nothing is set aside.
        settings: `usual_rate` is filled in from the data if it is empty.
        sigmas: as in `usual_rates`; that takes a first pass over the states.
        on_progress: called after each episode of the second pass.
    """
    settings = settings or CheckSettings()
    if _wants_rates(settings):
        settings = replace(settings, usual_rate=store_rates(store, sigmas))
    examination = Examination(store.spec, settings)
    problems = _of_store(store, examination, on_progress)
    yield from (p for p in problems if p.check not in settings.ignore)


def _of_store(
    store: EpisodeStore, examination: Examination, on_progress: OnProgress
) -> Iterator[Problem]:
    for file in sorted((store.path / "set_aside").glob("*.zarr.zip")):
        text = f"'{file}' was damaged and set aside; copy it again, or delete it"
        yield Problem("warning", "set-aside", "", text)
    kept: set[FrameStorage] = set()
    for index in range(len(store)):
        try:
            recorded = store.episode(index, labelled=False)
        except (DataError, StoreError) as error:
            yield Problem("error", "damaged-file", str(index), str(error))
        else:
            kept.add(storage_of(store.summary(index, labelled=False)))
            try:
                metadata = _labelled_metadata(store, index, recorded)
            except (DataError, StoreError) as error:
                yield Problem("error", "wrong-label", str(index), str(error))
                metadata = recorded.metadata
            # What a label cuts off is examined too: copies of the store hold it.
            yield from examination.examine(str(index), replace(recorded, metadata=metadata))
        on_progress(index + 1)
    if len(kept) > 1 and store.spec.image_keys:
        yield Problem("warning", "mixed-frames", "", MIXED)
    yield from examination.finish()


def _labelled_metadata(store: EpisodeStore, index: int, recorded: Episode) -> dict[str, Any]:
    """What is known of an episode with its newest label; raises if that does not fit."""
    history = store.labels(index)
    where = str(store.episode_path(index))
    return history[-1].applied_to(recorded, where).metadata if history else recorded.metadata


def _wants_rates(settings: CheckSettings) -> bool:
    return not settings.usual_rate and "jump" not in settings.ignore


def store_rates(
    store: EpisodeStore, sigmas: float, on_progress: OnProgress = lambda done: None
) -> dict[str, np.ndarray]:
    """`usual_rates` of the episodes of a store that can be read; cameras are not."""

    def read(index: int) -> Episode:
        on_progress(index + 1)
        return store.episode(index, with_images=False, labelled=False)

    return usual_rates(_readable(range(len(store)), read), store.spec, sigmas)


def _readable(names: Iterable[Name], read: Callable[[Name], Episode]) -> Iterator[Episode]:
    """Every episode that can be read."""
    for name in names:
        try:
            yield read(name)
        except (DataError, StoreError):
            continue
