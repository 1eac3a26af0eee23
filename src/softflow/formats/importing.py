"""The one loop that copies a foreign dataset into an episode store, episode by episode."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from softflow.data.action_space import ActionSpace, bounds_command, lies_within
from softflow.data.data_spec import DataSpec, is_image_key, within_the_same_bounds
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.metadata import metadata_value
from softflow.errors import DataError
from softflow.formats.choice import chosen
from softflow.formats.contents import Notes
from softflow.formats.frames import resized
from softflow.formats.source import Source
from softflow.utils.progress import ProgressReporter

IMPORTED = "imported"
"""Metadata key: which episode of which file or folder this one was."""
OPTIONS = "import_options"
"""Metadata key: the options that made it what it is, where they are not the usual ones."""
Outcome = Literal["unknown", "success", "failure"]


class Prepared:
    """A source whose episodes are read as they are to be stored.

    Args:
        source: the dataset.
        env_id: the environment to evaluate policies in, if there is one for this data.
        unlabelled: what episodes that say nothing of success are taken for; rewards that were
            recorded stay, others become 1 at the last step of a success.
        image_size: (height, width) to bring all cameras to; None leaves them as they are.
        actions: bounds that the source does not know, or knows too narrow.
        episodes: which of its episodes, by their positions (`choice.chosen`); "" takes all.

    Raises:
        ConfigError, DataError: the bounds do not fit the data's components.
    """

    def __init__(
        self,
        source: Source,
        *,
        env_id: str = "",
        unlabelled: Outcome = "unknown",
        image_size: tuple[int, int] | None = None,
        actions: ActionSpace | None = None,
        episodes: str = "",
    ) -> None:
        self.path, self._episodes = source.path, episodes
        self._source, self._image_size = source, image_size
        self._unlabelled: Outcome = unlabelled
        spec = (actions or ActionSpace()).given_to(source.spec)
        spec = replace(spec, env_id=env_id or source.spec.env_id)
        self.spec = spec if image_size is None else _with_image_size(spec, image_size)

    def episodes(self) -> list[str]:
        """The source's, or those of them that were chosen."""
        return chosen(self._source.episodes(), self._episodes)

    def oddities(self) -> list[str]:
        """What the source noticed since it was asked last, and is no fault."""
        notes = getattr(self._source, "notes", None)
        return notes.drained() if isinstance(notes, Notes) else []

    def read(self, name: str) -> Episode:
        """An episode, with the outcome and the image size that were asked for.

        Raises:
            DataError: as the source, or it does not fit into memory.
        """
        try:
            episode = taken_as(self._source.read(name), self._unlabelled)
            return episode if self._image_size is None else _resized(episode, self._image_size)
        except MemoryError as error:
            raise DataError(
                f"{self.path}, {name} does not fit into memory; cut the recording into shorter "
                "episodes, or take fewer or smaller cameras"
            ) from error


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

    Returns:
        How many episodes were imported now.

    Raises:
        DataError: the store holds data of another kind or episodes of this source that were
            imported with other options, an episode is unusable, or all of them are.
    """
    prepared = Prepared(
        source,
        env_id=env_id,
        unlabelled=unlabelled,
        image_size=image_size,
        actions=actions,
        episodes=episodes,
    )
    said = {} if unlabelled == "unknown" else {"unlabelled": unlabelled}
    with ExitStack() as stack:
        target = _Target(store_path, prepared, {**said, **(options or {})}, stack)
        return _copy(prepared, target, progress, skip_bad, doing)


class _Target:
    """The store to fill: opened for writing if it is there, else made with the first episode.

    So a mistake in the options, which no episode survives, leaves no store behind to be deleted.
    """

    def __init__(
        self, path: Path, source: Prepared, options: dict[str, Any], stack: ExitStack
    ) -> None:
        self._path, self._spec, self._options, self._stack = path, source.spec, options, stack
        # Relative paths mean other files elsewhere, or the same one by another name.
        self._origin = str(source.path.resolve())
        self._store: EpisodeStore | None = None
        self._there: set[str] = set()
        if (path / "store.json").exists():
            spec = self._with_bounds_of(EpisodeStore.open(path).spec)
            self._store = stack.enter_context(EpisodeStore.open_or_create(path, spec))
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
                f"'{self._path}':\n  {told}\nWhere a format does not tell bounds, they are the "
                "range of the data, which more recordings widen. Give the store bounds for all:"
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
        return self._called(name) in self._there

    def append(self, episode: Episode, name: str) -> None:
        """Store an episode."""
        # An exported episode tells of an earlier import.
        episode.metadata.pop(OPTIONS, None)
        episode.metadata[IMPORTED] = self._called(name)
        if self._options:
            episode.metadata[OPTIONS] = self._options
        episode.validate(self._spec, f"{self._origin}, {name}")
        if self._store is None:
            self._store = self._stack.enter_context(EpisodeStore.create(self._path, self._spec))
        self._store.append(episode)

    def _called(self, name: str) -> str:
        return f"{self._origin}: {name}"


def _copy(
    source: Prepared, target: _Target, progress: ProgressReporter, skip_bad: bool, doing: str
) -> int:
    names = source.episodes()
    missing = [name for name in names if not target.holds(name)]
    imported, first = 0, len(names) - len(missing)
    progress.begin(doing, len(names), first)
    _tell(source, progress)
    for done, name in enumerate(missing, first + 1):
        try:
            # No name for the episode here: it would keep it while the next one is read.
            target.append(source.read(name), name)
            imported += 1
        except DataError as error:
            if not skip_bad:
                raise DataError(f"{error} (--skip-bad goes on without such episodes)") from error
            progress.say(f"left out {name}: {error}")
        _tell(source, progress)
        progress.advance(done, name)
    left_out = len(missing) - imported
    if left_out and left_out == len(names):
        raise DataError(f"{source.path}: none of its {left_out} episodes can be used, see above")
    if left_out:
        progress.say(f"left out {left_out} of {len(names)} episodes")
    return imported


def _tell(source: Prepared, progress: ProgressReporter) -> None:
    for line in source.oddities():
        progress.say(f"careful: {line}")


def _told(options: Mapping[str, Any]) -> str:
    """--whole and --unlabelled success, or nothing like that."""
    words = [
        f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}")
        for name, value in sorted(options.items())
    ]
    return " and ".join(words) or "the usual options"


def _with_image_size(spec: DataSpec, size: tuple[int, int]) -> DataSpec:
    shapes = {
        key: (*size, 3) if is_image_key(key) else shape
        for key, shape in spec.observation_shapes.items()
    }
    return replace(spec, observation_shapes=shapes)


def _resized(episode: Episode, size: tuple[int, int]) -> Episode:
    observations = {
        # A source that was told the size has brought them to it already.
        key: np.stack([resized(frame, size) for frame in values])
        if is_image_key(key) and values.shape[1:3] != size
        else values
        for key, values in episode.observations.items()
    }
    return replace(episode, observations=observations)


def taken_as(episode: Episode, outcome: Outcome) -> Episode:
    """An episode that says nothing of success, with an outcome that somebody vouches for.

    Rewards that were recorded stay; where all are 0, success earns 1 at the last step. Episodes
    that tell how they went stay as they are.
    """
    if outcome == "unknown" or not episode.metadata.get("unlabelled"):
        return episode
    success = outcome == "success"
    rewards = episode.rewards.copy()
    if not rewards.any():
        rewards[-1] = success
    metadata = {key: value for key, value in episode.metadata.items() if key != "unlabelled"}
    return replace(
        episode,
        rewards=rewards,
        terminated=success or episode.terminated,
        truncated=not (success or episode.terminated),
        success=success,
        metadata=metadata | {"outcome_from": f"import --unlabelled {outcome}"},
    )
