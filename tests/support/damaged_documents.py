"""Ways in which a JSON document can be wrong, from a healthy one: every kind of fault."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

NOT_JSON: dict[str, bytes] = {
    "empty": b"",
    "no utf-8": b'{"a": "\xff\xfe"}',
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "nul bytes": b"\0" * 64,
    "a trailing comma": b'{"a": 1,}',
    "two documents": b"{}{}",
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": -Infinity}',
    "1e400": b'{"a": 1e400}',
    "10**30": b'{"a": ' + b"1" + b"0" * 30 + b"}",
    "a million digits": b'{"a": ' + b"9" * 1_000_000 + b"}",
    "a key twice": b'{"a": 1, "a": 2}',
    "deep lists": b"[" * 100_000 + b"]" * 100_000,
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a little too deep": b"[" * 70 + b"]" * 70,
    "a lone surrogate half": b'{"a": "\\ud800',
    "an archive": b"PK\x03\x04" + bytes(60),
}
"""Bytes that no document of softflow is."""

OTHER_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 2.5, 2**62, 1e300, "", "text", "\x1b[31m", [], {}, [[]]),
    *({"a": 1}, [None], ["x"] * 3, "9" * 5000),
)
"""What stands where something else belongs."""


def mutations(value: Any) -> Iterator[tuple[str, Any]]:
    """(what was done, document): each place gets every other value, is missing, or has company."""
    for name, other in enumerate(OTHER_VALUES):
        yield f"all of it: {name}", other
    for path in _places(value):
        told = ".".join(map(str, path))
        for number, other in enumerate(OTHER_VALUES):
            yield f"{told}: {number}", _with(value, path, other)
        yield f"{told}: missing", _without(value, path)
    if isinstance(value, dict):
        yield "one more", value | {"one more": 1}


def _places(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything in a document; of a list only the first entry."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))[:1]
    for key, child in items:
        yield (*here, key)
        yield from _places(child, (*here, key))


def _with(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    changed = copy.deepcopy(value)
    node = changed
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = other
    return changed


def _without(value: Any, path: tuple[Any, ...]) -> Any:
    changed = copy.deepcopy(value)
    node = changed
    for key in path[:-1]:
        node = node[key]
    del node[path[-1]]
    return changed


def flipped_bits(content: bytes) -> Iterator[bytes]:
    """The content with each of its bits flipped, one at a time."""
    for place in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[place] ^= 1 << bit
            yield bytes(changed)


def as_bytes(value: Any) -> bytes:
    """A document as softflow writes it."""
    return (json.dumps(value, indent=2) + "\n").encode()
