"""What the page's server needs to know of a place that holds episodes and takes labels."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from softflow.data.data_spec import DataSpec
from softflow.data.files.episode_file import EpisodeSummary
from softflow.data.labels import Label
from softflow.labelling.event_kinds import EventKinds
from softflow.labelling.proposals import Proposal

State = Literal[
    "unlabelled", "proposed", "labelled", "disagreement", "discarded", "accepted", "unreadable"
]
Action = Literal["accept", "discard"]


@dataclass(frozen=True)
class Recording:
    """An episode file.

    Attributes:
        path: where it is.
        spec: what it holds.
        summary: what was recorded, whatever labels say.
    """

    path: Path
    spec: DataSpec
    summary: EpisodeSummary

    @property
    def digest(self) -> str:
        """Tells it from every other recording."""
        return self.summary.digest

    @property
    def num_frames(self) -> int:
        """Observation steps, T + 1."""
        return self.summary.length + 1


def place_id(folder: Path) -> str:
    """Tells a folder from others of the same name, to a page that goes on when a server ends."""
    return hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]


class Episodes(Protocol):
    """A store, or the exchange of a learner and its robots.

    An episode is called by a text of this place's own; nothing that a request says becomes a path.
    """

    title: str
    place_id: str
    spec: DataSpec
    kinds: EventKinds

    def look(self) -> None:
        """See what others appended or labelled.

        Raises:
            StoreError: the place is away.
        """
        ...

    def names(self) -> list[str]:
        """What episodes are called, in order."""
        ...

    def title_of(self, name: str) -> str:
        """How people call an episode."""
        ...

    def version(self, name: str) -> Hashable:
        """Another one than before whenever anything about an episode may have changed."""
        ...

    def recording(self, name: str) -> Recording:
        """An episode.

        Raises:
            StoreError: it cannot be read.
            DataError: there is none of that name.
        """
        ...

    def history(self, name: str) -> list[Label]:
        """Every label of an episode, the oldest first; the last one counts.

        Raises:
            StoreError: one cannot be read.
        """
        ...

    def proposals(self, name: str) -> list[Proposal]:
        """What programs suggest, the newest last.

        Raises:
            StoreError: one cannot be read.
        """
        ...

    def state(self, name: str, history: list[Label]) -> State:
        """How far labelling of an episode is."""
        ...

    def act(self, name: str, action: Action, author: str) -> None:
        """Say something else of an episode than a label.

        Raises:
            DataError: nothing like that can be said here.
            StoreError: the disk refuses.
        """
        ...

    def save(self, name: str, label: Label) -> None:
        """Write a label; it is on the disk when this returns.

        Raises:
            DataError: it does not fit the episode, or what may happen in it.
            StoreError: the disk refuses.
        """
        ...
