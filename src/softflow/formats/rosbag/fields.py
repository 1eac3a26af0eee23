"""Numbers, or one value, out of a field of a ROS message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from rosbags.interfaces import Nodetype
from rosbags.typesys.base import normalize_fieldname

from softflow.errors import DataError
from softflow.formats.rosbag.types import MessageTypes

FieldKind = Literal["quaternion", "continuous", "discrete", "text"]
QUATERNION_TYPE = "geometry_msgs/msg/Quaternion"
NAME_FIELDS = ("name", "joint_names")
"""Fields in which messages say to which joint each value belongs."""


class FieldReader:
    """Gets one field out of messages of one type.

    Args:
        types: where the type is defined.
        msgtype: the type.
        path: such as `pose.position` or `points[0].positions`.
        names: joints to take, in this order.
        where: how errors name the place, for example the topic.

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
    ) -> None:
        self._types, self._where = types, where
        self._steps: list[str | int] = []
        self._desc = self._resolved(msgtype, path)
        self.kind: FieldKind = self._kind(path)
        self._names = tuple(names)
        self._name_field = name_field(types, msgtype, where) if names else ""
        self._columns: dict[tuple[str, ...], list[int]] = {}

    def numbers(self, message: object) -> np.ndarray:
        """The field's numbers, float64 `[n]`.

        Raises:
            DataError: an index behind its end, or not all of the joints in it.
        """
        values = np.asarray(self._flat(self._got(message), self._desc), np.float64).reshape(-1)
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

    def _columns_of(self, there: tuple[str, ...]) -> list[int]:
        if there not in self._columns:
            if absent := [name for name in self._names if name not in there]:
                raise DataError(f"has no '{absent[0]}' in '{self._name_field}', only {list(there)}")
            self._columns[there] = [there.index(name) for name in self._names]
        return self._columns[there]

    def _got(self, message: Any) -> Any:
        for step in self._steps:
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
