"""Definitions of message types: what may be handed to the parser of `rosbags`, and what it gave.

That parser tries again what it tried before, so that a line of nested brackets takes it years; and
what it gives is turned into Python, with a line for each entry of an array.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat, Nodetype
from rosbags.typesys import TypesysError, get_types_from_idl, get_types_from_msg

from softflow.errors import DataError, brief

MAX_BYTES = 256 * 1024
"""Of a definition, with those of its parts and without comments."""
MAX_LINES = 5000
MAX_FIELDS = 20_000
"""Of a type, with those of its parts and each entry of its arrays of types and texts."""
MAX_ARRAY = 2**24
MAX_ANNOTATIONS = 200
_IDL_SEPARATOR = "=" * 80 + "\n"
_NAME = re.compile(r"\w+(/\w+)+", re.ASCII)
_FIELD = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_IDL_TEXT = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', re.DOTALL)
_NESTED = re.compile(r"\([^()]*\(|<[^<>]*<[^<>]*<|sequence\s*<\s*sequence")
_MSG_COMMENT = re.compile(r"^\s*(#[^\n]*)?\n", re.MULTILINE)


def parsed(definition: MessageDefinition, msgtype: str) -> dict[str, Any]:
    """The types that a definition holds: its own, and often those it is made of.

    Raises:
        DataError: it is none, or one that a parser would choke on.
    """
    try:
        if not _NAME.fullmatch(msgtype):
            raise TypesysError("that is no name of a type")
        if definition.format == MessageDefinitionFormat.MSG:
            text = _MSG_COMMENT.sub("", f"{definition.data}\n")
            _require_short(text)
            types = dict(get_types_from_msg(text, msgtype))
        else:
            _require_short(definition.data)
            # An IDL of ROS is a row of files, each behind a line with its name.
            parts = definition.data.split(_IDL_SEPARATOR)
            texts = [part.split("\n", 1)[1] for part in parts[1:]] or parts
            for text in texts:
                _require_flat(text)
            types = {n: value for text in texts for n, value in get_types_from_idl(text).items()}
        for name, (constants, fields) in types.items():
            _require_names(name, [*(c[0] for c in constants), *(f[0] for f in fields)])
        return types
    # The parser stumbles in many ways: its own error, ValueError, IndexError, RecursionError, …
    except Exception as error:
        raise DataError(
            f"the definition of the message type {msgtype:.100} cannot be read ({brief(error)}); "
            f"give a correct one in the mapping: message_definitions: [{msgtype:.100}.msg]"
        ) from error


def require_bounded(types: Mapping[str, Any], msgtype: str) -> None:
    """Raise unless a type, with all it is made of, has a bounded number of fields.

    Raises:
        DataError: it is made of itself, or of more than is read.
    """
    counts: dict[str, int] = {}

    def count_of(name: str, within: tuple[str, ...]) -> int:
        if name in within or len(within) > 32:
            raise DataError(f"the message type {msgtype} is made of itself, or nested too deeply")
        if name not in counts:
            fields = types[name][1] or [("", (Nodetype.BASE, ("uint8", 0)))]
            counts[name] = sum(_count(desc, name, within, count_of) for _, desc in fields)
        if counts[name] > MAX_FIELDS:
            raise DataError(
                f"the message type {msgtype} has more than {MAX_FIELDS:,} fields; record a simpler "
                "one, or map another topic"
            )
        return counts[name]

    count_of(msgtype, ())


Counter = Callable[[str, tuple[str, ...]], int]


def _count(desc: Any, name: str, within: tuple[str, ...], count_of: Counter) -> int:
    """Fields that one becomes."""
    node, detail = desc
    if node == Nodetype.BASE:
        return 1
    if node == Nodetype.NAME:
        return count_of(detail, (*within, name))
    part, length = detail
    if node == Nodetype.ARRAY and not 1 <= length <= MAX_ARRAY:
        raise DataError(f"the message type {name} has an array of {length} entries")
    unrolled = node == Nodetype.ARRAY and (part[0] == Nodetype.NAME or part[1][0] == "string")
    return (length if unrolled else 1) * _count(part, name, within, count_of)


def _require_short(text: str) -> None:
    if len(text) > MAX_BYTES or text.count("\n") > MAX_LINES:
        raise TypesysError(f"longer than {MAX_BYTES:,} bytes or {MAX_LINES:,} lines")


def _require_flat(text: str) -> None:
    bare = _IDL_TEXT.sub(" ", text)
    if _NESTED.search(bare) or bare.count("@") > MAX_ANNOTATIONS:
        raise TypesysError("nested brackets, or too many annotations")


def _require_names(name: str, fields: list[str]) -> None:
    """They become names in Python."""
    wrong = [field for field in fields if not _FIELD.fullmatch(field)]
    if not _NAME.fullmatch(name) or wrong:
        raise TypesysError(f"{[name, *wrong][-1]!r:.60} is no name")
