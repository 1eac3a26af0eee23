"""Numbers, or one value, out of a field of a ROS message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys.base import normalize_fieldname

from softflow.errors import DataError
from softflow.formats.rosbag.types import NAME_FIELDS, MessageTypes

FieldKind = Literal["quaternion", "continuous", "discrete", "text"]
QUATERNION_TYPE = "geometry_msgs/msg/Quaternion"


class FieldReader:
    """Gets one field out of messages of one type.

    Args:
        types: where the type is defined.
        msgtype: the type.
        path: such as `pose.position` or `points[0].positions`.
        names: joints to take, in this order.
        where: how errors name the place, for example the topic.
        order: the joints of every message, however it orders them; others are an error.

    Raises:
        DataError: no such field; lists those there are.
    """

    def __init__(
        self,
        types: MessageTypes,
        msgtype: str,
        path: str,
        names: Sequence[str] = (),
        where: str = "",
        order: Sequence[str] = (),
    ) -> None:
        self._types, self._where = types, where
        self._containers: list[tuple[int, str]] = []
        self._steps: list[str | int] = []
        self._desc = self._resolved(msgtype, path)
        self.kind: FieldKind = self._kind(path)
        self._names, self._order = tuple(names), tuple(order)
        self._name_field = name_field(types, msgtype, where) if names else ""
        self._told_at = self._name_place()
        self._columns: dict[tuple[str, ...], list[int]] = {}

    def numbers(self, message: object) -> np.ndarray:
        """The field's numbers, float64 `[n]`.

        Raises:
            DataError: an index behind its end, or not all of the joints in it.
        """
        values = np.asarray(self._flat(self._got(message), self._desc), np.float64).reshape(-1)
        if self._order:
            return values[self._columns_in_order(message)]
        if not self._names:
            return values
        there = tuple(getattr(message, self._name_field))
        if len(values) != len(there):
            raise DataError(
                f"the field has {len(values)} values for the {len(there)} joints in "
                f"'{self._name_field}'; choose another field"
            )
        return values[self._columns_of(there)]

    def value(self, message: object) -> bool | float | str:
        """The field's one value.

        Raises:
            DataError: it has several.
        """
        value = self._got(message)
        if isinstance(value, str | bool):
            return value
        numbers = np.asarray(self._flat(value, self._desc)).reshape(-1)
        if len(numbers) != 1:
            raise DataError(f"the field has {len(numbers)} values, where one is needed")
        return float(numbers[0])

    def order_in(self, message: object) -> tuple[str, ...]:
        """The joints that a message names, one for each of the field's numbers; else nothing."""
        if self._told_at is None or self._names:
            return ()
        depth, field = self._told_at
        there = tuple(map(str, getattr(self._got(message, depth), field)))
        fits = len(there) == len(self.numbers(message)) == len({*there}) and all(there)
        return there if fits else ()

    def _columns_in_order(self, message: object) -> list[int]:
        """Where each joint of the order is in a message.

        Raises:
            DataError: the message tells of others; says which.
        """
        depth, field = self._told_at or (0, self._name_field)
        there = tuple(map(str, getattr(self._got(message, depth), field)))
        if there not in self._columns:
            if sorted(there) != sorted(self._order):
                raise DataError(
                    f"'{field}' has {list(there)}, the first message had {list(self._order)}; say "
                    "which joints to take, and in which order: names: [...]"
                )
            self._columns[there] = [there.index(name) for name in self._order]
        return self._columns[there]

    def _name_place(self) -> tuple[int, str] | None:
        """How many steps down the message lies that names the joints, and in which field."""
        for depth, msgtype in reversed(self._containers):
            for name, desc in self._types.fields(msgtype):
                if name in NAME_FIELDS and _are_texts(desc):
                    return depth, name
        return None

    def _columns_of(self, there: tuple[str, ...]) -> list[int]:
        if there not in self._columns:
            if absent := [name for name in self._names if name not in there]:
                raise DataError(f"has no '{absent[0]}' in '{self._name_field}', only {list(there)}")
            self._columns[there] = [there.index(name) for name in self._names]
        return self._columns[there]

    def _got(self, message: Any, depth: int | None = None) -> Any:
        """What lies at the end of the path, or after so many steps of it."""
        for step in self._steps[:depth]:
            if isinstance(step, str):
                message = getattr(message, step)
            elif step < len(message):
                message = message[step]
            else:
                raise DataError(f"has {len(message)} entries, none at [{step}]; correct the field")
        return message

    def _flat(self, value: Any, desc: Any) -> Any:
        node, detail = desc
        if node == Nodetype.NAME:
            parts = [
                self._flat(getattr(value, normalize_fieldname(name)), part)
                for name, part in self._types.fields(detail)
            ]
            return np.concatenate([np.atleast_1d(part) for part in parts])
        if node != Nodetype.BASE and detail[0][0] == Nodetype.NAME:
            parts = [self._flat(item, detail[0]) for item in value]
            return np.concatenate(parts) if parts else np.zeros(0)
        return value

    def _resolved(self, msgtype: str, path: str) -> Any:
        desc: Any = (Nodetype.NAME, msgtype)
        for part in path.split("."):
            match = re.fullmatch(r"(\w+)((?:\[\d+\])*)", part)
            fields = dict(self._types.fields(desc[1])) if desc[0] == Nodetype.NAME else {}
            if match is None or match.group(1) not in fields:
                there = ", ".join(fields) or "none, it is a value"
                raise DataError(
                    f"{self._where}: no field '{part}' (of '{path}') in "
                    f"{desc[1] if fields else 'it'}; its fields are: {there}"
                )
            self._containers.append((len(self._steps), desc[1]))
            self._steps.append(normalize_fieldname(match.group(1)))
            desc = fields[match.group(1)]
            for index in re.findall(r"\d+", match.group(2)):
                if desc[0] not in (Nodetype.ARRAY, Nodetype.SEQUENCE):
                    raise DataError(f"{self._where}: '{part}' of '{path}' is no list; leave out []")
                self._steps.append(int(index))
                desc = desc[1][0]
        return desc

    def _kind(self, path: str) -> FieldKind:
        if self._desc == (Nodetype.NAME, QUATERNION_TYPE):
            return "quaternion"
        leaves = self._leaves(self._desc)
        if "string" in leaves:
            if self._desc[0] == Nodetype.BASE:
                return "text"
            held = self._types.fields(self._desc[1]) if self._desc[0] == Nodetype.NAME else []
            there = f"; its fields are: {', '.join(name for name, _ in held)}" if held else ""
            raise DataError(f"{self._where}: '{path}' holds text, not numbers alone{there}")
        return "continuous" if any(leaf.startswith("float") for leaf in leaves) else "discrete"

    def _leaves(self, desc: Any) -> set[str]:
        node, detail = desc
        if node == Nodetype.BASE:
            return {detail[0]}
        if node == Nodetype.NAME:
            return {leaf for _, d in self._types.fields(detail) for leaf in self._leaves(d)}
        return self._leaves(detail[0])


def _are_texts(desc: Any) -> bool:
    node, detail = desc
    if node not in (Nodetype.ARRAY, Nodetype.SEQUENCE):
        return False
    return detail[0][0] == Nodetype.BASE and detail[0][1][0] == "string"


def name_field(types: MessageTypes, msgtype: str, where: str) -> str:
    """The field in which messages of a type name their joints.

    Raises:
        DataError: there is none.
    """
    there = [name for name, _ in types.fields(msgtype)]
    for name in NAME_FIELDS:
        if name in there:
            return name
    raise DataError(
        f"{where}: 'names' needs messages with a field {' or '.join(NAME_FIELDS)}; {msgtype} has "
        f"{', '.join(there)}: leave 'names' out"
    )
