"""Proposals: events that a program suggests for an episode, until a person says what happened.

    proposals/episode_000012.5d41402a.json     what one proposer says of that episode

They lie beside the labels and never count as any: training does not see them. Each proposer has one
file an episode, named after a hash of its name, written whole, replaced when it proposes anew. A
person accepts one (`Proposal.label`), or labels the episode otherwise; either way it is labelled,
and no longer waits for anybody.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec

from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event, Label
from softflow.errors import DataError, StoreError, brief
from softflow.utils.documents import misfit, require_no_newer
from softflow.utils.files import entries_of
from softflow.utils.sealed_json import read_sealed, write_sealed

FOLDER = "proposals"
PROPOSAL_VERSION = 1
MAX_EVENTS = 1000
MAX_LETTERS = 500
_FILE_NAME = re.compile(r"episode_\d{6,}\.[0-9a-f]{8}\.json")
Text = Annotated[str, msgspec.Meta(max_length=MAX_LETTERS)]


@dataclass(frozen=True)
class ProposedEvent:
    """An event that may have happened.

    Args:
        event: what would stand in the label.
        confidence: within [0, 1]; a rule that only says yes or no says 1.

    Raises:
        DataError: the confidence is none.
    """

    event: Event
    confidence: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.confidence <= 1.0:
            raise DataError(
                f"event '{self.event.name or self.event.kind}' at step {self.event.step} is "
                f"proposed with confidence {self.confidence}; give a number within 0 to 1"
            )


@dataclass(frozen=True)
class Proposal:
    """What one proposer says of one episode; without events: that nothing happened in it.

    Args:
        proposer: who says so, such as "cube-quarter-turn".
        version: of the rule, or of the trained classifier: what decided, to be told apart later.
        events: in any order; as in a label, at most one ends the episode, none lies behind that.
        note: how far it is to be trusted, for people, such as its held-out precision.
        created: ISO time, UTC.

    Raises:
        DataError: no proposer, or events that contradict each other.
    """

    proposer: str
    version: str
    events: tuple[ProposedEvent, ...]
    note: str = ""
    created: str = ""

    def __post_init__(self) -> None:
        if not self.proposer.strip():
            raise DataError("a proposal needs the name of what proposes it")
        if len(self.events) > MAX_EVENTS:
            raise DataError(
                f"{self.proposer} proposes {len(self.events):,} events in one episode; at most "
                f"{MAX_EVENTS:,} are looked at by anybody"
            )
        ordered = tuple(sorted(self.events, key=lambda one: one.event.step))
        object.__setattr__(self, "events", ordered)
        if not self.created:
            now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
            object.__setattr__(self, "created", now)
        self.label(self.proposer)

    @property
    def confidence(self) -> float:
        """Of the least certain event; 1 without any."""
        return min((one.confidence for one in self.events), default=1.0)

    def label(self, annotator: str) -> Label:
        """The label that accepts it as it is.

        Raises:
            DataError: there is no annotator.
        """
        return Label(annotator, tuple(one.event for one in self.events))

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary, as it is on the disk."""
        events = [{**one.event.to_json(), "confidence": one.confidence} for one in self.events]
        return {
            "proposer": self.proposer,
            "version": self.version,
            "created": self.created,
            "note": self.note,
            "events": events,
        }


class Proposer(Protocol):
    """Anything that suggests events."""

    @property
    def name(self) -> str:
        """What it is called: a proposal of the same name replaces its earlier one."""
        ...

    @property
    def version(self) -> str:
        """Which rule, settings or weights decided."""
        ...

    @property
    def note(self) -> str:
        """How far it is to be trusted, in one line for people; "" for nothing to say."""
        ...

    def propose(self, store: EpisodeStore, index: int) -> Iterable[ProposedEvent]:
        """The events of an episode as it was recorded, labelled or not.

        Raises:
            SoftflowError: it cannot say; the episode keeps the proposal that it had.
        """
        ...


class ProposalFolder:
    """The proposals for a store's episodes.

    Args:
        store: where the episodes are; needs no writer lock.
    """

    def __init__(self, store: EpisodeStore) -> None:
        self.path = store.path / FOLDER
        self._store = store

    def write(self, index: int, proposal: Proposal) -> Path:
        """Put a proposal beside an episode, in place of the one by the same proposer.

        Raises:
            DataError: an event lies behind the episode's end.
            StoreError: no such episode, or the disk refuses.
        """
        episode = self._store.episode_path(index)
        length = self._store.summary(index, labelled=False).length
        proposal.label(proposal.proposer).rewards(length, str(episode))
        try:
            self.path.mkdir(exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"cannot make '{self.path}': {error.strerror}; make the store writable for you"
            ) from error
        proposer = hashlib.sha256(proposal.proposer.encode()).hexdigest()[:8]
        path = self.path / f"{_stem(episode)}.{proposer}.json"
        write_sealed(path, {"format_version": PROPOSAL_VERSION, **proposal.to_json()})
        return path

    def of(self, index: int) -> list[Proposal]:
        """Every proposal for an episode, the newest last.

        Raises:
            StoreError: no such episode, or a proposal is damaged or of a newer format.
        """
        start = f"{_stem(self._store.episode_path(index))}."
        paths = [path for path in self._files() if path.name.startswith(start)]
        return sorted(map(read_proposal, paths), key=lambda one: (one.created, one.proposer))

    def _files(self) -> list[Path]:
        return [path for path in entries_of(self.path) if _FILE_NAME.fullmatch(path.name)]


def propose(proposer: Proposer, store: EpisodeStore, index: int) -> Proposal:
    """What a proposer says of an episode.

    Raises:
        DataError: events that contradict each other, or lie behind the episode's end.
        SoftflowError: as the proposer raises it.
    """
    events = tuple(proposer.propose(store, index))
    return Proposal(proposer.name, proposer.version, events, proposer.note)


def read_proposal(path: Path) -> Proposal:
    """A proposal's file.

    Raises:
        StoreError: it is damaged, or of a newer format.
    """
    value, _ = read_sealed(path)
    version = value.pop("format_version", None)
    require_no_newer(version, PROPOSAL_VERSION, path)
    try:
        return proposal_from_json(value)
    except DataError as error:
        raise StoreError(f"'{path}' is damaged: {error}; remove it, and propose anew") from error


def proposal_from_json(value: Mapping[str, Any]) -> Proposal:
    """A proposal from its JSON form.

    Raises:
        DataError: something is missing, unknown or of another type.
    """
    try:
        document = msgspec.convert(value, _ProposalDocument)
    except msgspec.ValidationError as error:
        raise DataError(misfit(error, value)) from error
    except OverflowError as error:
        raise DataError(brief(error)) from error
    events = tuple(
        ProposedEvent(Event(one.step, one.kind, one.value, one.name), one.confidence)  # type: ignore[arg-type]
        for one in document.events
    )
    return Proposal(document.proposer, document.version, events, document.note, document.created)


class _EventDocument(msgspec.Struct, forbid_unknown_fields=True):
    step: int
    kind: str
    value: float
    confidence: float
    name: str = ""


class _ProposalDocument(msgspec.Struct, forbid_unknown_fields=True):
    proposer: Text
    version: Text
    created: Text
    note: Text
    events: list[_EventDocument]


def _stem(episode: Path) -> str:
    """`episode_000012` of its file; a number is never used again."""
    return episode.name.partition(".")[0]
