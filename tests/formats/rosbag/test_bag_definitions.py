"""Definitions of message types, and messages, that choke a parser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from strange_bags import (
    mcap_with,
    message_record,
)
from strangers import Outside, outcome

from softflow.formats.rosbag.definitions import parsed
from softflow.formats.rosbag.reader import opened
from softflow.formats.rosbag.reading import RosbagSource
from softflow.formats.rosbag.yaml import parse_mapping

# ---- definitions of types -----------------------------------------------------------------------

NESTED_IDL = "module a { module msg { %s struct B { long x; }; }; };"
DEFINITIONS = {
    "brackets": ("ros2idl", NESTED_IDL % ("const long X = " + "(" * 8 + "1" + ")" * 8 + ";")),
    "sequences": (
        "ros2idl",
        "module a { struct B { " + "sequence<" * 30 + "long" + ">" * 30 + " x; }; };",
    ),
    "modules": ("ros2idl", "module a { " * 3000 + "struct B { long x; };" + " };" * 3000),
    "annotations": ("ros2idl", "module a { struct B { " + "@a(b=1) " * 5000 + "long x; }; };"),
    "operators": ("ros2idl", NESTED_IDL % ("const long X = " + "1+" * 5000 + "1;")),
    "no IDL": ("ros2idl", "no IDL at all"),
    "an open comment": ("ros2idl", "module a { /*" + "*" * 100_000),
    "comments": ("ros2msg", "# c\n" * 200_000 + "float64 data"),
    "fields": ("ros2msg", "".join(f"float64 f{n}\n" for n in range(50_000))),
    "long": ("ros2msg", "float64 " + "a" * 1_000_000),
    "itself": ("ros2msg", "Float64 again\nfloat64 data"),
    "empty arrays": ("ros2msg", "Empty[0] x\nfloat64[0] y\nfloat64 data"),
    "long arrays": ("ros2msg", "string[100000000] x\nfloat64 data"),
    "longer arrays": ("ros2msg", "float64[99999999999999] x\nfloat64 data"),
    "long numbers": ("ros2msg", "int32 A=" + "9" * 5000 + "\nfloat64 data"),
    "a constant that is code": ("ros2msg", 'string A="""); import os\nfloat64 data'),
    "no definition": ("ros2msg", "\xff\xfe"),
    "another encoding": ("protobuf", "x"),
}


@pytest.mark.parametrize("kind", DEFINITIONS)
def test_definitions_that_choke_a_parser(tmp_path: Path, outside: Outside, kind: str) -> None:
    encoding, definition = DEFINITIONS[kind]
    path = tmp_path / "a.mcap"
    name = "a/msg/B" if encoding == "ros2idl" else "std_msgs/msg/Float64"
    path.write_bytes(
        mcap_with([message_record(b"\0\1\0\0" + bytes(8))], name, definition, encoding)
    )
    with outside.watched():
        message = outcome(lambda: _decoded(path))
    assert message or kind in ("comments", "a constant that is code")


def _decoded(path: Path) -> None:
    with opened(path) as recording:
        for message in recording.messages({"/command"}):
            recording.decode(message)


def test_types_that_grow_with_each_level(tmp_path: Path, outside: Outside) -> None:
    separator = "=" * 80
    levels = [f"MSG: a/L{n}\n" + "".join(f"L{n + 1} f{i}\n" for i in range(10)) for n in range(9)]
    levels.append("MSG: a/L9\nfloat64 data\n")
    definition = "L0 first\n" + "".join(f"{separator}\n{level}" for level in levels)
    path = tmp_path / "a.mcap"
    path.write_bytes(mcap_with([message_record(b"\0\1\0\0" + bytes(8))], "a/msg/B", definition))
    with outside.watched():
        assert "more than 20,000 fields" in outcome(lambda: _decoded(path))


@pytest.mark.parametrize(
    "name",
    ['a/msg/B"); import os; os.mkdir("{mark}")#', "a/msg/B\nint32 x", "../x", "", "a" * 9999],
)
def test_names_of_types_that_are_code(tmp_path: Path, outside: Outside, name: str) -> None:
    name = name.replace("{mark}", str(outside.mark))
    path = tmp_path / "a.mcap"
    path.write_bytes(mcap_with([message_record(b"\0\1\0\0" + bytes(8))], schema=name))
    with outside.watched():
        assert outcome(lambda: _decoded(path))


def test_ordinary_definitions_are_parsed() -> None:
    idl = (
        "=" * 80
        + "\nIDL: a/msg/B\n"
        + "module a { module msg { module B_Constants { const short X = -(3 + 2); };\n"
        + '@verbatim (language="comment", text="a (b (c)) <d<e>>" "more")\n'
        + 'struct B { @unit(value="m") double x; sequence<double, 3> y; string<5> z; }; }; };\n'
    )
    for kind, text_ in (
        (MessageDefinitionFormat.IDL, idl),
        (MessageDefinitionFormat.MSG, "# c\n\nfloat64 x # y\n"),
    ):
        types = parsed(MessageDefinition(kind, text_), "a/msg/B")
        assert types["a/msg/B"][1][0][0] == "x"


# ---- messages -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\0\1", b"\0\1\0\0", b"\0\1\0\0" + b"\xff" * 40, b"\7" * 40]
)
@pytest.mark.parametrize(
    ("schema", "definition"),
    [
        ("a/msg/Numbers", "float64[] data"),
        ("a/msg/Texts", "string[] data"),
        ("a/msg/Text", "string data"),
        ("a/msg/Types", "N[] data\n" + "=" * 80 + "\nMSG: a/N\nuint8 x\n"),
        ("a/msg/Bools", "bool[] data"),
        ("std_msgs/msg/Float64", "float64 data"),
    ],
)
def test_messages_of_any_bytes(
    tmp_path: Path, outside: Outside, schema: str, definition: str, data: bytes
) -> None:
    path = tmp_path / "a.mcap"
    path.write_bytes(mcap_with([message_record(data)], schema, definition))
    with outside.watched():
        outcome(lambda: _decoded(path))
        with opened(path) as recording:
            for message in recording.messages({"/command"}):
                outcome(lambda message=message, r=recording: r.stamp_ns(message))


def test_bags_of_many_years(ros: Any, tmp_path: Path, outside: Outside) -> None:
    """Two messages a century apart would be three gigasteps, where no gap is too long."""
    mapping = parse_mapping(
        {
            "control_hz": 1000,
            "observation.state": [{"topic": "/joints", "field": "position", "names": ["a"]}],
            "action": [{"topic": "/command", "field": "data"}],
            "max_gap_s": None,
        }
    )
    messages = []
    for time in (0.0, 100.0 * 365 * 86400):
        messages += [("/joints", time, ros.joints(["a"], [1.0])), ("/command", time, ros.number(1))]
    path = ros.write(tmp_path / "run", messages)
    with outside.watched():
        source = RosbagSource(path, mapping)
        message = outcome(lambda: source.read(source.episodes()[0]))
    assert "bytes for one episode; at most" in message
