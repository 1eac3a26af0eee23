"""Labels beside episodes: what a person, or a program, says happened in an episode already sealed.

    labels/episode_000012.000.3fa9c21b.json      the first label of that episode
    labels/episode_000012.001.08d1e7f4.json      the second, which replaces the first

The eight digits are random: two annotators at once write two files, on network folders too.

Each is written whole, with a checksum, and never changes, so relabelling rewrites nothing and
anybody may label while an episode store has a writer. The newest label of an episode decides its
rewards and its end; a withdrawn one says that the recording itself counts again.

Format 2 has names of events and the kind "end"; a label without either is written as format 1,
which every softflow reads.
"""

from __future__ import annotations

import datetime
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec
import numpy as np

from softflow.data.episode import Episode
from softflow.data.files.episode_file import EpisodeSummary
from softflow.data.measures import EVENTS_KEY
from softflow.data.task_profile import is_plain_name
from softflow.errors import DataError, StoreError
from softflow.utils.documents import misfit, require_no_newer
from softflow.utils.files import entries_of
from softflow.utils.sealed_json import read_sealed, write_sealed

LABEL_VERSION = 2
MAX_NAME_LETTERS = 60
EVENT_KINDS_FILE = "event_kinds.toml"
"""In a store: which names and rewards of events its episodes know (`labelling.event_kinds`)."""
LabelledKind = Literal["success", "failure", "reward", "end"]
"""As `data.task_profile.EventKind`, and "end": the episode is over, nobody says how it went."""
MAX_REWARD = 1e9
"""Of an event, in size: sums of many still are numbers in float32."""
OUTCOME_FROM = "outcome_from"
"""Metadata of an episode: where its outcome comes from."""
TAKEN_AT_IMPORT = "import --unlabelled "
"""How that begins where nobody looked at the single episode."""
_LABEL_NAME = re.compile(r"episode_(\d{6,})\.(\d{3,})\.[0-9a-f]{8}\.json")


@dataclass(frozen=True)
class Event:
    """Something that happened in an episode.

    Args:
        step: control step whose action brought it about, 0 … T−1.
        kind: "success" and "failure" end the episode there, and so does "end", which cuts off what
            no longer belongs to it; "reward" does not.
        value: reward of that step, within ± `MAX_REWARD`.
        name: what the data set calls it, such as "retrieved"; lower case, "" for none.

    Raises:
        DataError: a field is unusable.
    """

    step: int
    kind: LabelledKind
    value: float = 0.0
    name: str = ""

    def __post_init__(self) -> None:
        if self.kind not in get_args(LabelledKind):
            kinds = ", ".join(get_args(LabelledKind))
            raise DataError(f"event kind {self.kind!r} at step {self.step}; choose one of {kinds}")
        if not isinstance(self.step, int) or self.step < 0:
            raise DataError(f"event '{self.kind}' at step {self.step!r}; give an integer >= 0")
        if not abs(self.value) <= MAX_REWARD:
            raise DataError(
                f"event '{self.kind}' at step {self.step} has value {self.value}; give a finite "
                f"one, at most {MAX_REWARD:,.0f} in size"
            )
        if self.name and not (is_plain_name(self.name) and len(self.name) <= MAX_NAME_LETTERS):
            raise DataError(
                f"event '{self.kind}' at step {self.step} is called {self.name!r:.80}; use at most "
                f"{MAX_NAME_LETTERS} lower-case letters, digits and underscores"
            )

    def to_json(self) -> dict[str, Any]:
        """Its fields; a name only if it has one."""
        value = asdict(self)
        if not self.name:
            del value["name"]
        return value


@dataclass(frozen=True)
class Label:
    """All events of an episode, by one annotator; no events: it was looked at, nothing happened.

    Args:
        annotator: who says so, a person or a program.
        events: in any order; at most one ends the episode, none lies behind that.
        created: ISO time, UTC.
        withdrawn: the labels before this one no longer count, the recording does; no events.

    Raises:
        DataError: no annotator, or events that contradict each other.
    """

    annotator: str
    events: tuple[Event, ...]
    created: str = ""
    withdrawn: bool = False

    def __post_init__(self) -> None:
        if not self.annotator.strip():
            raise DataError("a label needs the name of its annotator, for example --annotator anna")
        if not self.created:
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            object.__setattr__(self, "created", now)
        object.__setattr__(self, "events", tuple(sorted(self.events, key=lambda e: e.step)))
        if self.withdrawn and self.events:
            raise DataError(f"label of {self.annotator}: a withdrawn label has no events")
        ends = [event for event in self.events if event.kind != "reward"]
        if len(ends) > 1 or (ends and self.events[-1].step > ends[0].step):
            told = ", ".join(f"{event.kind} at step {event.step}" for event in self.events)
            raise DataError(
                f"label of {self.annotator}: {told}; an episode ends once, with its last event"
            )

    @property
    def end(self) -> Event | None:
        """The event that ends the episode, if one does."""
        return next((event for event in self.events if event.kind != "reward"), None)

    def applied_to(self, episode: Episode, where: str) -> Episode:
        """The episode as the label has it: its rewards, its end, its success.

        A success or failure at step t cuts the episode behind t and terminates it there; an "end"
        cuts it as a time limit does. Without one the episode ends as it was recorded, and counts
        as no success. Names of events become what measures count.

        Raises:
            DataError: an event lies behind the episode's last step.
        """
        if self.withdrawn:
            return episode
        rewards = self.rewards(episode.length, where)
        length = len(rewards)
        return replace(
            episode,
            observations={key: value[: length + 1] for key, value in episode.observations.items()},
            actions=episode.actions[:length],
            rewards=rewards,
            **self._ending(episode),
            metadata=self._metadata(episode.metadata),
        )

    def _ending(self, recorded: Episode | EpisodeSummary) -> dict[str, bool]:
        """`terminated`, `truncated` and `success`."""
        terminated = recorded.terminated if self.end is None else self.end.kind != "end"
        success = self.end is not None and self.end.kind == "success"
        return {"terminated": terminated, "truncated": not terminated, "success": success}

    def _metadata(self, recorded: Mapping[str, Any]) -> dict[str, Any]:
        metadata = {**recorded, "annotator": self.annotator}
        named = [[event.step, event.name] for event in self.events if event.name]
        # Events without names say nothing of those that an environment recorded by name.
        counted = named or (not self.events and EVENTS_KEY in recorded)
        return metadata | {EVENTS_KEY: named} if counted else metadata

    def rewards(self, length: int, where: str) -> np.ndarray:
        """Rewards `[T]` float32 of an episode recorded with `length` steps; T is where it ends now.

        Raises:
            DataError: an event lies behind the episode's last step.
        """
        last = max((event.step for event in self.events), default=-1)
        if last >= length:
            raise DataError(
                f"{where}: {self.annotator} put an event at step {last}, but the episode has "
                f"{length} steps, numbered from 0; correct the label"
            )
        rewards = np.zeros(self.end.step + 1 if self.end else length, np.float32)
        for event in self.events:
            rewards[event.step] += event.value
        return rewards

    def summarised(self, summary: EpisodeSummary) -> EpisodeSummary:
        """What `applied_to` makes of an episode, of which only the summary is known."""
        if self.withdrawn:
            return summary
        return replace(
            summary,
            length=self.end.step + 1 if self.end else summary.length,
            **self._ending(summary),
            return_=float(sum(event.value for event in self.events)),
            metadata=self._metadata(summary.metadata),
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; `label_from_json` gives back an equal label."""
        events = [event.to_json() for event in self.events]
        return {**asdict(self), "events": events}


class LabelFolder:
    """The labels of a store's episodes, by the number in the episode's file name."""

    def __init__(self, store_path: Path) -> None:
        self.path = store_path / "labels"

    def add(self, number: int, label: Label) -> Path:
        """Write a label as the newest of an episode; two annotators at once both succeed.

        Raises:
            StoreError: the disk refuses.
        """
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot make '{self.path}': {error.strerror}; make the store writable for you"
            ) from error
        revision = self._next_revision(number)
        path = self.path / f"episode_{number:06d}.{revision:03d}.{secrets.token_hex(4)}.json"
        write_sealed(path, {"format_version": _version(label), **label.to_json()})
        return path

    def _next_revision(self, number: int) -> int:
        """Looked up anew, because others may have labelled; only the names are read."""
        start = f"episode_{number:06d}."
        paths = [path for path in entries_of(self.path) if path.name.startswith(start)]
        own = [_revision(path) for path in paths if _LABEL_NAME.fullmatch(path.name)]
        return max(own, default=-1) + 1

    def files(self) -> dict[int, list[Path]]:
        """The label files of every labelled episode, the oldest first.

        One look into the folder for all episodes: a look for each takes minutes with thousands.
        """
        found: dict[int, list[Path]] = {}
        for path in entries_of(self.path):
            if match := _LABEL_NAME.fullmatch(path.name):
                found.setdefault(int(match.group(1)), []).append(path)
        for paths in found.values():
            paths.sort(key=lambda path: (_revision(path), path.name))
        return found


def _version(label: Label) -> int:
    """The oldest format that can hold a label."""
    return 2 if any(event.name or event.kind == "end" for event in label.events) else 1


def _revision(path: Path) -> int:
    return int(path.name.split(".")[1])


def read_label(path: Path) -> Label:
    """A label file.

    Raises:
        StoreError: it is damaged, or of a newer format.
    """
    value, _ = read_sealed(path)
    version = value.pop("format_version", None)
    require_no_newer(version, LABEL_VERSION, path)
    try:
        if type(version) is not int or version < 1:
            raise DataError(f"its format_version is {version!r:.60}")
        return label_from_json(value)
    except DataError as error:
        raise StoreError(
            f"'{path}' is damaged: {error}; remove it, then the label before it counts again, "
            "and label the episode anew"
        ) from error


def vouch(store: Path) -> str:
    """The command that says of every episode of a store that it succeeded at its end."""
    return f"softflow data relabel {store} --success-at-end --annotator YOUR_NAME --write"


def outcome_known(metadata: Mapping[str, Any]) -> bool:
    """Whether anything says how an episode went: its recording, or a label since then."""
    return "annotator" in metadata or not metadata.get("unlabelled")


def taken_for(metadata: Mapping[str, Any]) -> str:
    """What an episode was taken for when it was imported; "" where something tells how it went."""
    if "annotator" in metadata:
        return ""
    told = metadata.get(OUTCOME_FROM)
    return next((end for end in ("success", "failure") if told == TAKEN_AT_IMPORT + end), "")


def label_from_json(value: Mapping[str, Any]) -> Label:
    """A label from its JSON form.

    Raises:
        DataError: something is missing, unknown or of another type.
    """
    try:
        document = msgspec.convert(value, _LabelDocument)
    except (msgspec.ValidationError, OverflowError) as error:
        raise DataError(misfit(error, value)) from error
    return Label(document.annotator, document.events, document.created, document.withdrawn)


class _LabelDocument(msgspec.Struct, forbid_unknown_fields=True):
    annotator: str
    events: tuple[Event, ...]
    created: str
    withdrawn: bool
