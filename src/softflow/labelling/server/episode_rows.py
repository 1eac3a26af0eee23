"""The list of episodes: a row each, made anew when something about the episode changed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Hashable
from threading import RLock
from typing import Any

import msgspec

from softflow.data.labels import Event, Label, outcome_known
from softflow.errors import DataError, SoftflowError
from softflow.labelling.agreement import unsettled
from softflow.labelling.proposals import Proposal
from softflow.labelling.server.episodes import Action, Episodes, Recording, State

BUDGET_S = 0.25
"""Of one answer: thousands of rows come in several."""


class Row(msgspec.Struct, frozen=True):
    """What the list shows of an episode.

    Attributes:
        name: how requests call it; title: how people do.
        digest: of the recording, "" if it cannot be read: pictures can be asked for at once.
        length: control steps; 0 if it cannot be read.
        state: how far labelling is.
        outcome: as the newest label has it: success, failure, end, none; "" without one.
        recorded: as its recorder had it: success, failure, none; "" if nobody knew.
        events: of the newest label, by their names.
        annotators: whose labels stand, the newest last.
        problem: why it cannot be read.
        revision: when this row came to be.
    """

    name: str
    title: str
    digest: str
    length: int
    state: State
    outcome: str
    recorded: str
    events: list[dict[str, Any]]
    annotators: list[str]
    problem: str
    revision: int


class EpisodeRows:
    """All rows of a place, and everything else that is asked of it, one call at a time.

    Args:
        episodes: the place.
    """

    def __init__(self, episodes: Episodes) -> None:
        self.episodes = episodes
        self._rows: dict[str, Row] = {}
        self._versions: dict[str, Hashable] = {}
        self._began = self._revision = time.time_ns() // 1_000_000
        self._lock = RLock()

    def changed(self, since: int, budget_s: float = BUDGET_S) -> dict[str, Any]:
        """Rows that are newer than a revision, the revision that they lead to, and whether more
        are to come at once. `began` tells this server from every other one: its revisions are no
        one else's.

        Raises:
            StoreError: the place is away.
        """
        with self._lock:
            self.episodes.look()
            complete = self._renew(time.monotonic() + budget_s)
            rows = [row for row in self._rows.values() if row.revision > since]
            return {
                "rows": rows,
                "began": self._began,
                "revision": self._revision,
                "complete": complete,
                "total": len(self.episodes.names()),
            }

    def _renew(self, until_s: float) -> bool:
        """Make rows anew whose episode changed, until a time; whether all are done."""
        self._revision += 1
        for name in self.episodes.names():
            version = self.episodes.version(name)
            if name in self._rows and self._versions[name] == version:
                continue
            if time.monotonic() > until_s:
                return False
            self._rows[name] = self._row(name)
            self._versions[name] = version
        return True

    def _row(self, name: str) -> Row:
        title = self.episodes.title_of(name)
        row = Row(name, title, "", 0, "unreadable", "", "", [], [], "", self._revision)
        try:
            recording, history = self.episodes.recording(name), self.episodes.history(name)
        except SoftflowError as error:
            return msgspec.structs.replace(row, problem=str(error))
        label = history[-1] if history and not history[-1].withdrawn else None
        return msgspec.structs.replace(
            row,
            digest=recording.digest,
            length=recording.summary.length,
            state=self.episodes.state(name, history),
            outcome=_outcome(label),
            recorded=_recorded(recording),
            events=[told(event) for event in label.events] if label else [],
            annotators=list(unsettled(history)) or ([label.annotator] if label else []),
        )

    def detail(self, name: str) -> dict[str, Any]:
        """All that is known of one episode, but its arrays; raises StoreError as `recording`."""
        with self._lock:
            recording = self.episodes.recording(name)
            history = self.episodes.history(name)
            proposals, problem = self._proposals(name)
            return {
                "name": name,
                "title": self.episodes.title_of(name),
                "digest": recording.digest,
                "length": recording.summary.length,
                "recorded": _recorded(recording),
                "labels": [_label(label) for label in history],
                "state": self.episodes.state(name, history),
                "proposals": [_proposal(proposal) for proposal in proposals],
                "problem": problem,
            }

    def _proposals(self, name: str) -> tuple[list[Proposal], str]:
        """What is proposed; if that cannot be read, none, and why: a person labels without."""
        try:
            return self.episodes.proposals(name), ""
        except SoftflowError as error:
            return [], str(error)

    def histories(self) -> tuple[list[str], list[list[Label]]]:
        """Names of the episodes that can be read, and every label of each."""
        with self._lock:
            self.episodes.look()
            found: dict[str, list[Label]] = {}
            for name in self.episodes.names():
                with contextlib.suppress(SoftflowError):  # its row says what is wrong
                    found[name] = self.episodes.history(name)
            return list(found), list(found.values())

    def recording(self, name: str, digest: str = "") -> Recording:
        """An episode; with `digest`, if it is still that recording.

        Raises:
            StoreError: it cannot be read.
            DataError: there is none of that name, or it is another recording.
        """
        with self._lock:
            recording = self.episodes.recording(name)
        if digest and recording.digest != digest:
            raise DataError(f"{name} is another recording now; open it again")
        return recording

    def save(self, name: str, digest: str, label: Label) -> None:
        """Write a label, unless the newest one says the same, or its annotator's that still stands.

        A page that got no answer sends a label again: somebody else's, said meanwhile, stays the
        newest. Raises as `Episodes.save`.
        """
        with self._lock:
            self.recording(name, digest)
            history = self.episodes.history(name)
            standing = unsettled(history).get(label.annotator)
            known = [*history[-1:], *([standing] if standing else [])]
            if any(_says(one) == _says(label) for one in known):
                return
            self.episodes.save(name, label)

    def act(self, name: str, action: Action, author: str) -> None:
        """Say something else of an episode than a label; raises as `Episodes.act`."""
        with self._lock:
            self.episodes.act(name, action, author)


def told(event: Event) -> dict[str, Any]:
    """An event as the page has it."""
    return {"name": event.name, "kind": event.kind, "value": event.value, "step": event.step}


def _label(label: Label) -> dict[str, Any]:
    return {
        "annotator": label.annotator,
        "created": label.created,
        "withdrawn": label.withdrawn,
        "events": [told(event) for event in label.events],
    }


def _proposal(proposal: Proposal) -> dict[str, Any]:
    events = [told(one.event) | {"confidence": one.confidence} for one in proposal.events]
    return {"proposer": proposal.proposer, "note": proposal.note, "events": events}


def _says(label: Label) -> tuple[Any, ...]:
    return label.annotator, label.events, label.withdrawn


def _outcome(label: Label | None) -> str:
    if label is None:
        return ""
    return label.end.kind if label.end else "none"


def _recorded(recording: Recording) -> str:
    summary = recording.summary
    if not outcome_known(summary.metadata):
        return ""
    return "success" if summary.success else "failure" if summary.terminated else "none"
