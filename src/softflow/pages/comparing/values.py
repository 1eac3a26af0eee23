"""Values of one option in several runs, side by side: of a long list, where it differs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

LONGEST = 120
_SHOWN = 4
"""Items of a list; longer ones are cut."""


def side_by_side(texts: Sequence[str]) -> list[str]:
    """Values as text, or as JSON, short enough for a cell each."""
    values = [_list_of(text) for text in texts]
    lists = [value for value in values if value is not None]
    length = len(lists[0]) if lists else 0
    if length > _SHOWN and len(lists) == len(texts) and all(len(v) == length for v in lists):
        return _where_they_differ(lists, length)
    return [_short(text, value) for text, value in zip(texts, values, strict=True)]


def _where_they_differ(lists: Sequence[Sequence[Any]], length: int) -> list[str]:
    places = [i for i in range(length) if any(one[i] != lists[0][i] for one in lists)]
    shown = places[:_SHOWN]
    more = ", …" if len(places) > _SHOWN else ""
    count = f" ({len(places)} of {length} differ)"
    return [", ".join(f"[{i}] {_item(one[i])}" for i in shown) + more + count for one in lists]


def _short(text: str, value: list[Any] | None) -> str:
    if value is not None and len(value) > _SHOWN:
        return ", ".join(map(_item, value[:_SHOWN])) + f", … ({len(value)} values)"
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _list_of(text: str) -> list[Any] | None:
    if not text.startswith("["):
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, list) else None


def _item(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= LONGEST // _SHOWN else text[: LONGEST // _SHOWN - 1] + "…"
