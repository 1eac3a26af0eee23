"""JSON from outside: read to a bound, parsed without indulgence, held against a schema.

What Python's own parser lets through and no program means: NaN and infinities, a key that stands
twice, numbers beyond 64 bits, any depth. Every fault is one sentence that names the place.
"""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn, TypeVar

import msgspec

from softflow.errors import StoreError, brief

Document = TypeVar("Document")

MAX_DOCUMENT_BYTES = 64 * 2**20
MAX_DEPTH = 64
"""Lists and objects within each other."""
MAX_INTEGER = 2**63 - 1
_MAX_DIGITS = len(str(MAX_INTEGER)) + 1
_SHOWN = 60


def require_no_newer(version: object, newest: int, where: object) -> None:
    """Raise for what a newer softflow wrote.

    Args:
        version: the format_version that was read; what is no number is not judged here.
        newest: that this softflow reads; where: the file.

    Raises:
        StoreError: says to upgrade.
    """
    if isinstance(version, int) and version > newest:
        raise StoreError(
            f"'{where}' has format_version {version}, this softflow reads up to {newest}; "
            "upgrade it (pip install --upgrade softflow)."
        )


def parse_json(content: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, or too long, too deep, or holds what no document of softflow does;
            the message is a part of a sentence.
    """
    if len(content) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"longer than {MAX_DOCUMENT_BYTES:,} bytes")
    try:
        value = json.loads(
            content.decode("utf-8-sig"),
            object_pairs_hook=_without_doubles,
            parse_int=_integer,
            parse_float=_number,
            parse_constant=_no_number,
        )
    except RecursionError:
        raise ValueError(f"deeper than {MAX_DEPTH} levels") from None
    _require_depth(value)
    return value


def checked(value: Any, kind: type[Document], where: str, fix: str) -> Document:
    """A value of JSON as `kind`, a dataclass, a `msgspec.Struct` or whatever msgspec knows.

    Args:
        value: what `parse_json` gave.
        kind: the schema.
        where: how messages call the document, usually its path.
        fix: what to do, the end of the message.

    Raises:
        StoreError: something is missing, unknown or of another type; names it and its value.
        SoftflowError: what `kind` itself raises for values it does not accept.
    """
    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, OverflowError, RecursionError) as error:
        raise StoreError(f"{where} is damaged: {misfit(error, value)}; {fix}") from error


def misfit(error: Exception, value: Any) -> str:
    """What msgspec says of a value that does not fit: the field, what stands there, what may."""
    match = re.fullmatch(r"(.*?)(?: - at `\$\.?(.*)`)?", str(error), re.DOTALL)
    if not isinstance(error, msgspec.ValidationError) or match is None:
        return brief(error)
    said, place = match.groups()
    said = _short(said, 3 * _SHOWN).replace("`", "'").replace("Object", "an object", 1)
    if not place:
        return said[:1].lower() + said[1:]
    return f"at '{place}': {said[:1].lower() + said[1:]}{_shown(value, place)}"


def _shown(value: Any, place: str) -> str:
    """The value at a place that msgspec names, if it can be found there."""
    for step in re.findall(r"[^.\[\]]+|\[\d+\]", place.replace("[...]", ".…")):
        key: Any = int(step[1:-1]) if step.startswith("[") else step
        try:
            value = value[key]
        except (LookupError, TypeError):
            return ""
    return f" ({_short(json.dumps(value))})"


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {double[:_SHOWN]!r} stands there twice")
    return value


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS or abs(int(text)) > MAX_INTEGER:
        raise ValueError(f"the number {_short(text)} has more than 64 bits")
    return int(text)


def _number(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"the number {_short(text)} is too large")
    return number


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"it holds {text}, which is no number of JSON")


def _short(text: str, most: int = _SHOWN) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _require_depth(value: Any) -> None:
    """Raise ValueError for lists and objects deeper within each other than `MAX_DEPTH`."""
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            raise ValueError(f"deeper than {MAX_DEPTH} levels")
        lists = [node for node in level if isinstance(node, list)]
        objects = [node.values() for node in level if isinstance(node, dict)]
        inner = (child for node in (*lists, *objects) for child in node)
        level, depth = [child for child in inner if isinstance(child, (list, dict))], depth + 1
