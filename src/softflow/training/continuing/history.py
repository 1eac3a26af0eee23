"""RUN/history.json: what a run started from, and what it was told otherwise on the way.

Written whole with a checksum of its own text, an entry longer each time, and checked on reading.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec

from softflow.training.config import StageName
from softflow.utils.documents import checked
from softflow.utils.files import is_there
from softflow.utils.sealed_json import read_sealed, write_sealed

FORMAT_VERSION = 1
_FIX = "restore it from a copy; the checkpoints beside it are as they were"

Count = Annotated[int, msgspec.Meta(ge=0)]


class Change(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One setting that is another from here on.

    Attributes:
        what: its name, dotted: offline_rl.bc_coef; dataset_content is a digest of the episodes.
        before, now: its values; None also where there was, or is, none.
    """

    what: str
    before: Any
    now: Any


class Continuation(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A start of the run with something changed.

    Attributes:
        stage, update_step: the run's place; the changes count from the next update on.
        time: UTC, ISO 8601; softflow: the version that went on.
        changes: of settings and data.
        notes: what else a reader should know, such as values outside the normalisation.
    """

    stage: StageName
    update_step: Count
    time: str
    softflow: str
    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()


class Origin(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """The other run whose networks this one started from; it is not needed any more.

    Attributes:
        given: as the user named it; checkpoint: the name of the folder that it meant.
        stage, update_step: how far that had come.
        sha256: of its MANIFEST.json, which lists the SHA-256 of every file in it.
        critic: whether its critic came along.
        trained_by: version of softflow that trained it, "" if nobody knows.
        time, softflow: when this run started, UTC, and by which version.
        notes: what differs between its data and these, and values outside its normalisation.
    """

    given: str
    checkpoint: str
    stage: StageName
    update_step: Count
    sha256: str
    critic: bool
    trained_by: str
    time: str
    softflow: str
    notes: tuple[str, ...] = ()


class History(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What RUN/history.json says."""

    origin: Origin | None = None
    continuations: tuple[Continuation, ...] = ()
    format_version: Annotated[int, msgspec.Meta(ge=1, le=FORMAT_VERSION)] = FORMAT_VERSION

    def at(self, stage: str, update_step: int) -> list[Change]:
        """What was changed at one place of the run, in its order."""
        return [
            change
            for entry in self.continuations
            if (entry.stage, entry.update_step) == (stage, update_step)
            for change in entry.changes
        ]


def history_file(run: Path) -> Path:
    """Where the history of a run lies."""
    return run / "history.json"


def read_history(run: Path) -> History:
    """The history of a run; an empty one of a run that neither came from another nor changed.

    Raises:
        StoreError: the file is damaged, edited, or of a later version.
    """
    path = history_file(run)
    if not is_there(path):
        return History()
    return checked(read_sealed(path)[0], History, f"'{path}'", _FIX)


def write_history(run: Path, history: History) -> None:
    """Replace the history of a run, whole or not at all.

    Raises:
        StoreError: the disk refuses.
    """
    write_sealed(history_file(run), msgspec.to_builtins(history))


def now_utc() -> str:
    """The time of an entry."""
    return datetime.now(UTC).isoformat(timespec="seconds")
