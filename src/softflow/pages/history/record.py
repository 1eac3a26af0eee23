"""Reads history.json of a run folder: what the run started from, and what changed on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from softflow.data.measures import Count
from softflow.errors import StoreError
from softflow.pages.run_files import is_own
from softflow.utils.documents import misfit
from softflow.utils.sealed_json import read_sealed


class Change(msgspec.Struct):
    """A setting, before and then."""

    what: str
    before: Any = None
    now: Any = None


class Continuation(msgspec.Struct):
    """What changed at one place of the run."""

    stage: str
    update_step: Count
    time: str = ""
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()


class Origin(msgspec.Struct):
    """The run whose networks this one started from."""

    given: str
    checkpoint: str
    stage: str
    update_step: Count
    sha256: str = ""
    critic: bool = False
    trained_by: str = ""
    notes: tuple[str, ...] = ()


class RunHistory(msgspec.Struct):
    """history.json, as far as the report shows it."""

    origin: Origin | None = None
    continuations: tuple[Continuation, ...] = ()


def read_run_history(run: Path, problems: list[str]) -> RunHistory:
    """What the file says; an empty history, and told in `problems`, where it cannot be used."""
    path = run / "history.json"
    if not path.exists() or not is_own(path, problems):
        return RunHistory()
    try:
        value, _ = read_sealed(path)
    except StoreError as error:
        problems.append(str(error))
        return RunHistory()
    try:
        return msgspec.convert(value, RunHistory)
    except msgspec.ValidationError as error:
        problems.append(f"'{path}' cannot be used: {misfit(error, value)}")
    return RunHistory()
