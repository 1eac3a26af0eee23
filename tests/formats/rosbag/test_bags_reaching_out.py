"""Bags of strangers that reach out of their folder; YAML and SQLite that do something else."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from strange_bags import (
    described,
    mcap_with,
    message_record,
    read_all,
    refused,
)
from strangers import Outside, outcome

from softflow.errors import DataError
from softflow.formats.rosbag.reader import find_bags
from softflow.formats.rosbag.yaml import load_mapping


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
