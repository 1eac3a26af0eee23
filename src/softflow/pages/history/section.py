"""How a run came to be, on its page: what it started from, and what changed on the way."""

from __future__ import annotations

import json
from html import escape
from typing import Any

from softflow.pages.history.record import Continuation, Origin, RunHistory
from softflow.pages.html import details_html, table_html

_ROWS = 200
_LENGTH = 400
_HIDDEN = "_content"
"""Ends the names of changes that are digests; the notes beside them say what happened."""


def history_html(history: RunHistory, stages: dict[str, str]) -> str:
    """A sentence on the origin and a table of the changes; nothing where there is neither.

    Args:
        history: of the run; stages: their names for people.
    """
    origin = _origin_html(history.origin, stages) if history.origin else ""
    rows = [row for entry in history.continuations for row in _rows(entry, stages)]
    table = ""
    if rows:
        head = ["From", "What", "Before", "Then", "When (UTC)"]
        table = details_html("Changed on the way", str(len(rows)), table_html(head, rows[:_ROWS]))
    return f"<h2>History</h2>{origin}{table}" if origin or table else ""


def _origin_html(origin: Origin, stages: dict[str, str]) -> str:
    networks = "policy and critic" if origin.critic else "policy"
    stage = stages.get(origin.stage, origin.stage)
    by = f", trained by softflow {_text(origin.trained_by)}" if origin.trained_by else ""
    notes = "".join(f"<li>{_text(note)}</li>" for note in origin.notes[:_ROWS])
    return (
        f'<div class="note">Started from the {networks} of <code>{_text(origin.given)}</code> '
        f"(checkpoint <code>{_text(origin.checkpoint)}</code>, {_text(stage)}, update "
        f"{origin.update_step:,}{by}; manifest SHA-256 <code>{_text(origin.sha256[:16])}…</code>), "
        f"whose normalisation it keeps.{f'<ul>{notes}</ul>' if notes else ''}</div>"
    )


def _rows(entry: Continuation, stages: dict[str, str]) -> list[list[str]]:
    place = f"{_text(stages.get(entry.stage, entry.stage))}, update {entry.update_step:,}"
    when = _text(entry.time[:16].replace("T", " "))
    changes = [
        [place, f"<code>{_text(one.what)}</code>", _text(one.before), _text(one.now), when]
        for one in entry.changes
        if not one.what.endswith(_HIDDEN)
    ]
    return changes + [[place, _text(note), "", "", when] for note in entry.notes]


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return escape(text if len(text) <= _LENGTH else f"{text[: _LENGTH - 1]}…")
