"""ROS message types: where their definitions come from, and messages out of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rosbags.interfaces import Connection, MessageDefinition, MessageDefinitionFormat, Nodetype
from rosbags.typesys import Stores, TypesysError, get_typestore

from softflow.errors import DataError, brief
from softflow.formats.documents import read_bytes
from softflow.formats.rosbag.definitions import parsed, require_bounded

Fields = list[tuple[str, Any]]
HEADER = "header"
HEADER_TYPE = "std_msgs/msg/Header"
NAME_FIELDS = ("name", "joint_names")
"""Fields in which messages say to which joint each value belongs."""


class MessageTypes:
    """The types of a bag's messages: as given files define them, else the bag, else ROS 2.

    Args:
        connections: topics with the definitions that the bag holds.
        files: `.msg` files, or folders of them.

    Raises:
        DataError: one of the files is missing or no definition.
    """

    def __init__(self, connections: Sequence[Connection], files: Sequence[Path]) -> None:
        self._embedded = {
            connection.msgtype: connection.msgdef
            for connection in connections
            if connection.msgdef.format != MessageDefinitionFormat.NONE
        }
        self._from_files = _definitions(files)
        self._store = get_typestore(Stores.EMPTY)
        self._known: set[str] = set()

    def fields(self, msgtype: str) -> Fields:
        """Names and kinds of a type's fields, in order.

        Raises:
            DataError: nobody defines the type.
        """
        if msgtype not in self._known:
            self._learn(msgtype)
        return self._store.fielddefs[msgtype][1]

    def decode(self, msgtype: str, data: bytes, where: str) -> object:
        """A message as an object.

        Raises:
            DataError: it does not fit its type, or nobody defines the type.
        """
        self.fields(msgtype)
        try:
            return self._store.deserialize_cdr(data, msgtype)
        except MemoryError:
            raise
        # A message cut off makes the generated decoder stumble in many ways.
        except Exception as error:
            raise DataError(
                f"{where}: does not fit its type {msgtype} ({brief(error)}); the message is "
                "damaged, or was recorded with another version of the type: give that with "
                "'message_definitions: [FILE.msg]'"
            ) from error

    def header_place(self, msgtype: str) -> int | None:
        """Which field of a type is its header, None without one."""
        for place, (name, desc) in enumerate(self.fields(msgtype)):
            if name == HEADER and desc == (Nodetype.NAME, HEADER_TYPE):
                return place
        return None

    def _learn(self, msgtype: str) -> None:
        """Take in a type and those it is made of."""
        types: dict[str, Any] = dict(get_typestore(Stores.LATEST).fielddefs)
        if msgtype in self._embedded and msgtype not in self._from_files:
            types |= parsed(self._embedded[msgtype], msgtype)
        types |= self._from_files
        needed: dict[str, Any] = {}
        waiting = [msgtype]
        while waiting:
            name = waiting.pop()
            if name in needed:
                continue
            if name not in types:
                told = "" if name == msgtype else f" (part of {msgtype})"
                raise DataError(
                    f"the bag has no definition of the message type {name:.100}{told}, and it is "
                    "none of ROS 2's own; give its file in the mapping: message_definitions: "
                    f"[{name:.100}.msg]"
                )
            needed[name] = types[name]
            waiting += [part for _, desc in types[name][1] for part in _parts(desc)]
        require_bounded(needed, msgtype)
        try:
            self._store.register(needed)
        except (TypesysError, SyntaxError, ValueError, TypeError, AttributeError) as error:
            raise DataError(
                f"the definition of {msgtype} contradicts that of another topic's type "
                f"({brief(error)}); map only one of the two"
            ) from error
        self._known |= needed.keys()


def _definitions(files: Sequence[Path]) -> dict[str, Any]:
    types: dict[str, Any] = {}
    for path in files:
        found = sorted(path.rglob("*.msg")) if path.is_dir() else [path]
        if not found or not found[0].exists():
            raise DataError(f"message_definitions: no .msg file at '{path}'; correct the path")
        for file in found:
            name = _type_name(file)
            text = read_bytes(file).decode(errors="replace")
            types |= parsed(MessageDefinition(MessageDefinitionFormat.MSG, text), name)
    return types


def _type_name(file: Path) -> str:
    """my_msgs/msg/Grip for …/my_msgs/msg/Grip.msg or …/my_msgs/Grip.msg."""
    folder = file.resolve().parent
    package = folder.parent if folder.name == "msg" else folder
    return f"{package.name}/msg/{file.stem}"


def _parts(desc: Any) -> list[str]:
    """The message types that a field is made of."""
    node, detail = desc
    if node == Nodetype.BASE:
        return []
    return [detail] if node == Nodetype.NAME else _parts(detail[0])
