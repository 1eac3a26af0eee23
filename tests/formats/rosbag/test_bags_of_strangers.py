"""Bags of strangers: damaged, or made to read other files, run code, fill memory or never end."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np
import pytest
import yaml
from rosbags.interfaces import MessageDefinition, MessageDefinitionFormat
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Writer
from strangers import OTHER_FORMATS, Outside, damaged, outcome
from zstd_bombs import zeros_in_zstd

from softflow.data.limits import GIB
from softflow.errors import DataError
from softflow.formats.rosbag import bounds
from softflow.formats.rosbag.definitions import parsed
from softflow.formats.rosbag.reader import find_bags, opened
from softflow.formats.rosbag.reading import RosbagSource
from softflow.formats.rosbag.yaml import load_mapping, parse_mapping

MAPPING = parse_mapping(
    {
        "control_hz": 10,
        "observation.state": [{"topic": "/joints", "field": "position", "names": ["a", "b"]}],
        "observation.images.front": {"topic": "/camera"},
        "action": [{"topic": "/command", "field": "data"}],
        "clock": "receive",
    }
)
KINDS = ["mcap", "sqlite3", "compressed messages", "compressed file"]


def written(ros: Any, path: Path, kind: str = "mcap") -> Path:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (8, 8, 3)).astype(np.uint8)
    messages = []
    for step in range(11):
        time = step / 10
        messages += [
            ("/joints", time, ros.joints(["a", "b"], [step, -step])),
            ("/command", time, ros.number(step)),
            ("/camera", time, ros.compressed(pixels)),
        ]

    def setup(writer: Writer) -> None:
        if kind.startswith("compressed"):
            mode = CompressionMode.MESSAGE if "messages" in kind else CompressionMode.FILE
            writer.set_compression(mode, CompressionFormat.ZSTD)

    return ros.write(path, messages, storage="mcap" if kind == "mcap" else "sqlite3", setup=setup)


@pytest.fixture(scope="module")
def healthy(ros: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("healthy")
    return {kind: written(ros, folder / kind.replace(" ", "_"), kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def bag(request: pytest.FixtureRequest, healthy: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(healthy[request.param], tmp_path / healthy[request.param].name))


@pytest.fixture
def mcap(healthy: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(healthy["mcap"], tmp_path / "mcap"))


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path)


def read_all(path: Path) -> None:
    source = RosbagSource(path, MAPPING)
    for name in source.episodes():
        source.read(name)
        source.report(name)


def refused(path: Path, outside: Outside, growth: int = 256 * 2**20) -> str:
    with outside.watched(growth=growth):
        message = outcome(lambda: read_all(path))
    assert message, "it was read"
    return message


def described(bag: Path, **changes: Any) -> None:
    """Change metadata.yaml."""
    file = bag / "metadata.yaml"
    value = yaml.safe_load(file.read_text())
    value["rosbag2_bagfile_information"].update(changes)
    file.write_text(yaml.safe_dump(value))


def test_healthy_bags_are_read(bag: Path, outside: Outside) -> None:
    with outside.watched():
        read_all(bag)


# ---- nothing outside the folder -----------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["{outside}/x.mcap", "../outside/x.mcap", "a/../../outside/x.mcap", "..", ".", "", "/",
             "a\0b", "x" * 5000]
)  # fmt: skip
def test_storage_files_elsewhere(mcap: Path, outside: Outside, name: str) -> None:
    shutil.copy(next(mcap.glob("*.mcap")), outside.folder / "x.mcap")
    described(mcap, relative_file_paths=[name.replace("{outside}", str(outside.folder))])
    assert "cannot read the bag" in refused(mcap, outside)


@pytest.mark.parametrize("suffix", [".mcap", ".db3", ".yaml"])
def test_links_that_lead_out(healthy: dict[str, Path], tmp_path: Path, suffix: str) -> None:
    kind = "sqlite3" if suffix == ".db3" else "mcap"
    bag = Path(shutil.copytree(healthy[kind], tmp_path / "bag"))
    outside = Outside(tmp_path)
    file = next(bag.glob(f"*{suffix}"))
    file.rename(outside.folder / file.name)
    file.symlink_to(outside.folder / file.name)
    assert "outside of itself" in refused(bag, outside)
    if suffix != ".yaml":
        (bag / "metadata.yaml").unlink()
        with outside.watched(), pytest.raises(DataError, match="outside of itself"):
            find_bags(bag)


@pytest.mark.parametrize(
    "name", ["%2e%2e%2foutside%2fx.db3", "x.db3?vfs=memdb&a=.db3", "x#.db3", "y.db3?mode=rwc#.db3"]
)
def test_names_that_are_commands_to_sqlite(
    healthy: dict[str, Path], tmp_path: Path, outside: Outside, name: str
) -> None:
    """SQLite would decode the first to ../outside/x.db3, and read that."""
    bag = Path(shutil.copytree(healthy["sqlite3"], tmp_path / "bag"))
    inner = next(bag.glob("*.db3"))
    shutil.copy(inner, outside.folder / "x.db3")
    inner.rename(bag / name)
    described(bag, relative_file_paths=[name])
    assert "SQLite takes it for a command" in refused(bag, outside)
    with outside.watched(), pytest.raises(DataError, match="SQLite takes it"):
        read_all(bag / name)


# ---- YAML ---------------------------------------------------------------------------------------

MERGES = "a0: &a0 {x: 1, y: 2}\n" + "".join(
    f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
YAML_BOMBS = {
    "merged again and again": MERGES,
    "referred to again and again": "a: &a [1]\nb: &b [" + "*a," * 30 + "]\n",
    "nested": "[" * 5000 + "]" * 5000,
    "nested blocks": "\n".join(" " * n + "a:" for n in range(2000)),
    "long": "a: " + "x" * 2_000_000,
    "python": "!!python/object/apply:os.mkdir ['{mark}']",
    "python module": "a: !!python/module:os\n",
    "own type": "a: !mine {b: 1}",
}


@pytest.mark.parametrize("kind", YAML_BOMBS)
def test_yaml_of_a_bag(mcap: Path, outside: Outside, kind: str) -> None:
    text = YAML_BOMBS[kind].replace("{mark}", str(outside.mark))
    original = (mcap / "metadata.yaml").read_text()
    for content in (text, f"{original}\nmore:\n  " + text.replace("\n", "\n  ")):
        (mcap / "metadata.yaml").write_text(content)
        refused(mcap, outside)


@pytest.mark.parametrize("kind", YAML_BOMBS)
def test_quality_of_service_is_yaml_again(
    healthy: dict[str, Path], tmp_path: Path, outside: Outside, kind: str
) -> None:
    text = YAML_BOMBS[kind].replace("{mark}", str(outside.mark))
    bag = Path(shutil.copytree(healthy["sqlite3"], tmp_path / "bag"))
    with closing(sqlite3.connect(next(bag.glob("*.db3")))) as database:
        database.execute("UPDATE topics SET offered_qos_profiles = ?", (text,))
        database.commit()
    refused(bag, outside)
    path = tmp_path / "a.mcap"
    path.write_bytes(mcap_with([message_record(b"")], qos=text))
    refused(path, outside)


@pytest.mark.parametrize("kind", YAML_BOMBS)
def test_yaml_of_a_mapping(tmp_path: Path, outside: Outside, kind: str) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(YAML_BOMBS[kind].replace("{mark}", str(outside.mark)))
    with outside.watched():
        assert outcome(lambda: load_mapping(path))


@pytest.mark.parametrize(
    "text",
    ["", "5", "[]", "a: 2024-99-99", "? [a, b]\n: c", "{a: {}: b}", "control_hz: .inf", "\x00",
     "a: \x1b",
     "control_hz: 10\naction: {topic: 5, field: []}", "control_hz: 1e999",
     "1: 2", "? {a: b}\n: 1"],
)  # fmt: skip
def test_mappings_that_say_something_else(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mapping.yaml"
    for content in (text.encode(), text.encode("utf-16"), b"\xff" + text.encode()):
        path.write_bytes(content)
        assert outcome(lambda: load_mapping(path))


def test_mappings_may_refer_to_themselves(tmp_path: Path) -> None:
    path = tmp_path / "mapping.yaml"
    path.write_text(
        "control_hz: 10\nobservation.state: &s [{topic: /a, field: data}]\naction: *s\n"
    )
    assert load_mapping(path).action[0].topic == "/a"


# ---- MCAP ---------------------------------------------------------------------------------------

MAGIC = b"\x89MCAP0\r\n"


def record(kind: int, content: bytes) -> bytes:
    return struct.pack("<BQ", kind, len(content)) + content


def text(value: str | bytes) -> bytes:
    data = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<I", len(data)) + data


def message_record(data: bytes) -> bytes:
    return record(5, struct.pack("<HIQQ", 1, 0, 0, 0) + data)


def chunk_record(compressed: bytes, how: str, size: int) -> bytes:
    head = struct.pack("<QQQI", 0, 10, size, 0) + text(how) + struct.pack("<Q", len(compressed))
    return record(6, head + compressed)


def mcap_with(
    records: list[bytes],
    schema: str = "std_msgs/msg/Float64",
    definition: str = "float64 data",
    encoding: str = "ros2msg",
    qos: str = "",
) -> bytes:
    metadata = text("offered_qos_profiles") + text(qos)
    parts = [
        record(1, text("ros2") + text("")),
        record(3, struct.pack("<H", 1) + text(schema) + text(encoding) + text(definition)),
        record(4, struct.pack("<HH", 1, 1) + text("/command") + text("cdr") + text(metadata)),
        *records,
        record(15, struct.pack("<I", 0)),
        record(2, struct.pack("<QQI", 0, 0, 0)),
    ]
    return MAGIC + b"".join(parts) + MAGIC


LIES = [1000, 0, *[pytest.param(n, marks=pytest.mark.slow) for n in (2 * GIB, 2**63)]]


@pytest.mark.parametrize("declared", LIES)
@pytest.mark.parametrize("how", ["zstd", "lz4"])
def test_chunks_that_decompress_to_gigabytes(
    tmp_path: Path, outside: Outside, how: str, declared: int
) -> None:
    path = tmp_path / "a.mcap"
    bomb = zeros_in_zstd(2 * GIB) if how == "zstd" else lz4.frame.compress(bytes(2**27))
    for compressed in (bomb, zeros_in_zstd(2 * GIB, 1000) if how == "zstd" else bomb):
        path.write_bytes(mcap_with([chunk_record(compressed, how, min(declared, 2**63))]))
        # What a gigabyte is decoded to before it is given up is the limit itself.
        message = refused(path, outside, growth=3 * GIB)
        assert "cannot read the bag" in message


def _fails(call: Callable[[], object]) -> bool:
    try:
        call()
    except Exception:
        return True
    return False


def test_decompressors_stop_at_a_limit(outside: Outside) -> None:
    limit = 10_000
    frame = zeros_in_zstd(2**20)
    for data in (zeros_in_zstd(2 * GIB), frame * 3000, frame[:-3], b"", b"no frame at all"):
        with outside.watched(growth=32 * 2**20):
            assert data == b"" or _fails(lambda data=data: bounds._unzstd(data, limit))
    assert bounds._unzstd(frame + frame, 2**21) == bytes(2**21)
    packed = lz4.frame.compress(bytes(2**26))
    with outside.watched(growth=32 * 2**20), pytest.raises(Exception, match="more than 10,000"):
        bounds._unlz4(packed, limit)
    assert bounds._unlz4(lz4.frame.compress(b"abc"), 3) == b"abc"


@pytest.mark.parametrize("size", [0, 5, 21, 2**31, 2**40, 2**62, 2**64 - 1])
def test_records_of_any_length(tmp_path: Path, outside: Outside, size: int) -> None:
    path = tmp_path / "a.mcap"
    for kind in (1, 2, 3, 4, 5, 6, 7, 8, 11, 15, 200):
        content = bytearray(mcap_with([message_record(b"\0\1\0\0" + bytes(8))]))
        broken = record(kind, bytes(60))
        broken = broken[:1] + struct.pack("<Q", size) + broken[9:]
        at = content.index(record(15, struct.pack("<I", 0)))
        path.write_bytes(bytes(content[:at]) + broken + bytes(content[at:]))
        with outside.watched():
            assert outcome(lambda: read_all(path))


def test_chunks_in_chunks(tmp_path: Path, outside: Outside) -> None:
    path = tmp_path / "a.mcap"
    inner = chunk_record(message_record(b"\0\1\0\0" + bytes(8)), "", 43)
    for _ in range(20):
        inner = chunk_record(inner, "", len(inner))
    path.write_bytes(mcap_with([inner]))
    refused(path, outside)


@pytest.mark.slow
def test_compressed_files_and_messages_end_at_a_limit(
    healthy: dict[str, Path], tmp_path: Path, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = Path(shutil.copytree(healthy["compressed file"], tmp_path / "file"))
    next(bag.glob("*.zstd")).write_bytes(zeros_in_zstd(2 * GIB))
    monkeypatch.setattr(bounds, "DISK_SHARE", 1e-6)
    assert "half of the disk" in refused(bag, outside)
    bag = Path(shutil.copytree(healthy["compressed messages"], tmp_path / "messages"))
    with closing(sqlite3.connect(next(bag.glob("*.db3")))) as database:
        database.execute("UPDATE messages SET data = ?", (zeros_in_zstd(2 * GIB),))
        database.commit()
    assert "more than 1,073,741,824 bytes" in refused(bag, outside, growth=3 * GIB)


def test_many_chunks_at_the_same_time(mcap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(mcap) as recording:
        storages = recording.storages
        bounds.require_bounded_chunks(storages)
        (storage,) = storages
        storage.chunks *= 3
        assert storage.chunks
        size = storage.chunks[0].uncompressed_size
        monkeypatch.setattr(bounds, "MAX_CHUNK_BYTES", size * 3 // 4 + 1)
        bounds.require_bounded_chunks(storages)
        monkeypatch.setattr(bounds, "MAX_CHUNK_BYTES", size // 2)
        with pytest.raises(DataError, match="of them at the same time"):
            bounds.require_bounded_chunks(storages)
        storage.chunks = [storage.chunks[0]._replace(uncompressed_size=10 * GIB)]
        monkeypatch.setattr(bounds, "MAX_CHUNK_BYTES", 100 * GIB)
        with pytest.raises(DataError, match="declares chunks of 10,737,418,240"):
            bounds.require_bounded_chunks(storages)


# ---- SQLite -------------------------------------------------------------------------------------

ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i AS id"
DATABASES = {
    "an endless view": [
        "DROP TABLE messages",
        f"CREATE VIEW messages AS {ENDLESS}, 1 AS topic_id, i AS timestamp, x'00' AS data FROM n",
    ],
    "a view of topics": [
        "ALTER TABLE topics RENAME TO other",
        "CREATE VIEW topics AS SELECT * FROM other",
    ],
    "a view of something": ["CREATE VIEW other AS SELECT randomblob(1000000000)"],
    "a virtual table": [
        "DROP TABLE messages",
        "CREATE VIRTUAL TABLE messages USING fts5(topic_id, timestamp, data)",
    ],
    "a computed column": [
        "CREATE TABLE m(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER,"
        " data BLOB GENERATED ALWAYS AS (zeroblob(900000000)) VIRTUAL)",
        "INSERT INTO m SELECT id, topic_id, timestamp FROM messages",
        "DROP TABLE messages",
        "ALTER TABLE m RENAME TO messages",
    ],
    "a trigger": ["CREATE TRIGGER t AFTER INSERT ON topics BEGIN DELETE FROM topics; END"],
    "no tables": ["DROP TABLE topics"],
    "other columns": ["ALTER TABLE messages RENAME COLUMN data TO other"],
    "text for bytes": ["UPDATE messages SET data = 'text'"],
    "nothing for bytes": ["UPDATE messages SET data = x''"],
    "text for times": ["UPDATE messages SET timestamp = 'now'"],
    "huge times": ["UPDATE messages SET timestamp = 9223372036854775807 - id"],
    "numbers for names": ["UPDATE topics SET name = 5"],
    "a type nobody knows": ["UPDATE topics SET type = '../../x'"],
    "a type that is code": ["UPDATE topics SET type = 'a/msg/B\"); import os; os.mkdir(\"x'"],
    "a newer schema": ["UPDATE schema SET schema_version = 99"],
}
HARMLESS = ("a newer schema", "huge times", "a type nobody knows", "a type that is code")
"""What metadata.yaml tells otherwise, or nobody asks for."""


@pytest.mark.parametrize("kind", DATABASES)
def test_databases_that_do_something_else(
    healthy: dict[str, Path], tmp_path: Path, outside: Outside, kind: str
) -> None:
    bag = Path(shutil.copytree(healthy["sqlite3"], tmp_path / "bag"))
    with closing(sqlite3.connect(next(bag.glob("*.db3")))) as database:
        for line in DATABASES[kind]:
            database.execute(line)
        database.commit()
    with outside.watched():
        message = outcome(lambda: read_all(bag))
    assert message or kind in HARMLESS


def test_pages_that_are_reached_twice(
    healthy: dict[str, Path], tmp_path: Path, outside: Outside
) -> None:
    bag = Path(shutil.copytree(healthy["sqlite3"], tmp_path / "bag"))
    file = next(bag.glob("*.db3"))
    with closing(sqlite3.connect(file)) as database:
        rows = [(1, n, bytes(500)) for n in range(2000)]
        database.executemany("INSERT INTO messages(topic_id,timestamp,data) VALUES(?,?,?)", rows)
        database.commit()
        (root,) = database.execute(
            "SELECT rootpage FROM sqlite_master WHERE name='messages'"
        ).fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    content = bytearray(file.read_bytes())
    page = (root - 1) * size
    assert content[page] == 5  # inner page of a table
    cells = [int.from_bytes(content[page + 12 + 2 * n :][:2], "big") for n in range(2)]
    child = content[page + cells[0] : page + cells[0] + 4]
    content[page + cells[1] : page + cells[1] + 4] = child
    file.write_bytes(content)
    assert "reached twice" in refused(bag, outside)


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


# ---- damage -------------------------------------------------------------------------------------


def test_damaged_files(bag: Path, outside: Outside) -> None:
    for file in sorted(bag.iterdir()):
        original = file.read_bytes()
        for how, content in damaged(original, cuts=3, flips=5):
            file.write_bytes(content)
            with outside.watched():
                message = outcome(lambda: read_all(bag))
            assert not message or str(bag) in message or "the definition of" in message, how
        file.write_bytes(original)


@pytest.mark.slow
def test_many_flipped_bytes(bag: Path, outside: Outside) -> None:
    for file in sorted(bag.iterdir()):
        original = file.read_bytes()
        for _, content in damaged(original, cuts=8, flips=25):
            file.write_bytes(content)
            with outside.watched():
                outcome(lambda: read_all(bag))
        file.write_bytes(original)


@pytest.mark.parametrize("kind", OTHER_FORMATS)
def test_other_formats_under_those_names(bag: Path, outside: Outside, kind: str) -> None:
    for file in sorted(bag.iterdir()):
        original = file.read_bytes()
        file.write_bytes(OTHER_FORMATS[kind])
        refused(bag, outside)
        file.unlink()
        file.mkdir()
        refused(bag, outside)
        file.rmdir()
        file.write_bytes(original)
