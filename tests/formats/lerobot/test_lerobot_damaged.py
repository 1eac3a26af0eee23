"""LeRobot datasets of strangers, damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from lerobot_datasets import (
    change_info,
    change_table,
    table_path,
    write_table,
)
from strange_lerobot import read_all, refused
from strangers import OTHER_FORMATS, Outside, damaged, outcome

from softflow.formats.lerobot.reading import LeRobotSource


def test_damaged_files(copy: Path, outside: Outside) -> None:
    """Every file of a dataset, each damaged in some twenty ways."""
    for file in sorted(path for path in copy.rglob("*") if path.is_file()):
        if file.name == "stats.json":
            continue
        original = file.read_bytes()
        for how, content in damaged(original, cuts=3, flips=5):
            file.write_bytes(content)
            with outside.watched():
                message = outcome(lambda: read_all(copy))
            assert not message or str(copy) in message, (file, how)
        file.write_bytes(original)


@pytest.mark.slow
def test_many_flipped_bytes(copy: Path, outside: Outside) -> None:
    for file in sorted([*copy.rglob("*.parquet"), *copy.rglob("*.mp4")]):
        original = file.read_bytes()
        for _, content in damaged(original, cuts=6, flips=12):
            file.write_bytes(content)
            with outside.watched():
                outcome(lambda: read_all(copy))
        file.write_bytes(original)


@pytest.mark.parametrize("kind", OTHER_FORMATS)
def test_other_formats_under_those_names(copy: Path, outside: Outside, kind: str) -> None:
    for file in sorted(path for path in copy.rglob("*") if path.is_file()):
        if file.name == "stats.json" or (file.name == "tasks.jsonl" and kind == "zip"):
            continue
        original = file.read_bytes()
        file.write_bytes(OTHER_FORMATS[kind])
        refused(copy, outside)
        file.write_bytes(original)
        file.unlink()
        file.mkdir()
        with outside.watched():
            outcome(lambda: read_all(copy))
        file.rmdir()
        file.write_bytes(original)


INFO = [
    ("fps", [0, -5, "20", None, 1e400, [20], True]),
    ("features", [None, [], {}, {"action": 5}, {"action": {}}, {"action": {"dtype": "float32"}}]),
    ("codebase_version", [None, 3, [], "v" * 10_000, "v3.0"]),
    ("data_path", [None, 5, {}]),
    ("video_path", [None, 5, ["a"]]),
    ("chunks_size", [0, -1, "1000", None, 1.5]),
    ("total_episodes", ["2", 1e9, [], -1]),
    ("robot_type", [5, [], {}]),
]


@pytest.mark.parametrize(
    ("key", "value"), [(k, v) for k, values in INFO for v in values], ids=lambda v: f"{v!r:.30}"
)
def test_info_of_another_type(dataset: Path, outside: Outside, key: str, value: Any) -> None:
    change_info(dataset, lambda info: info.update({key: value}))
    refused(dataset, outside)


NAMES: list[Any] = [
    5,
    [[["a"]]] * 3,
    {"a": {"b": ["c"]}},
    "abc",
    {"a": None},
    [None, 1, 2],
    [["\udc80"]],
]


@pytest.mark.parametrize("names", NAMES, ids=repr)
def test_names_in_any_form(dataset: Path, names: Any) -> None:
    change_info(dataset, lambda info: info["features"]["action"].update(names=names))
    outcome(lambda: read_all(dataset))


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "5", nested(100_000), '{"a": ' * 50_000, "\xff"]
)
@pytest.mark.parametrize("name", ["info.json", "episodes.jsonl", "tasks.jsonl"])
def test_documents_that_are_something_else(dataset: Path, name: str, text: str) -> None:
    for encoding in ("utf-8", "latin-1", "utf-16"):
        (dataset / "meta" / name).write_bytes(text.encode(encoding))
        message = outcome(lambda: read_all(dataset))
        assert not message or name in message or "meta lists no" in message


def test_names_nested_without_end(dataset: Path) -> None:
    text = (dataset / "meta/info.json").read_text()
    deep = text.replace('"names": {"motors": ["x", "y"]}', f'"names": {nested(900)}')
    (dataset / "meta/info.json").write_text(deep)
    outcome(lambda: read_all(dataset))


SAID = ["", "[]", "{}", '{"format_version": 1}', '{"format_version": "1", "spec": {}}']


@pytest.mark.parametrize("text", [*SAID, '{"format_version": 1, "spec": {"a": 1}}', nested(99_999)])
def test_extras_that_are_something_else(
    healthy: dict[str, Path], tmp_path: Path, outside: Outside, text: str
) -> None:
    copy = Path(shutil.copytree(healthy["v3.0"], tmp_path / "dataset"))
    (copy / "meta/softflow/spec.json").write_text(text)
    assert "meta/softflow is damaged" in refused(copy, outside)


@pytest.mark.parametrize("metadata", ["", "[]", "5", "{", '{"a":' * 50_000, None])
def test_metadata_that_is_something_else(
    healthy: dict[str, Path], tmp_path: Path, outside: Outside, metadata: str | None
) -> None:
    copy = Path(shutil.copytree(healthy["v3.0"], tmp_path / "dataset"))
    file = copy / "meta/softflow/episodes.parquet"
    table = pq.read_table(file)
    place = table.column_names.index("metadata")
    column = pa.array([metadata] * len(table), pa.string())
    pq.write_table(table.set_column(place, "metadata", column), file)
    refused(copy, outside)


COLUMNS: dict[str, Callable[[int], pa.Array]] = {
    "text": lambda n: pa.array(["a"] * n),
    "nothing": lambda n: pa.nulls(n),
    "empty cells": lambda n: pa.array([None] * n, pa.list_(pa.float32())),
    "lists of lists": lambda n: pa.array([[[1.0]]] * n),
    "structs": lambda n: pa.array([{"a": 1}] * n),
    "times": lambda n: pa.array([0] * n, pa.timestamp("s")),
    "decimals": lambda n: pa.array([1] * n, pa.decimal128(5)),
    "maps": lambda n: pa.array([[("a", 1)]] * n, pa.map_(pa.string(), pa.int64())),
    "bytes": lambda n: pa.array([b"a"] * n),
    "one of a dictionary": lambda n: pa.array(["a"] * n).dictionary_encode(),
    "infinity": lambda n: pa.array([np.inf] * n),
    "huge": lambda n: pa.array([2**63 - 1] * n),
}


@pytest.mark.parametrize("kind", COLUMNS)
@pytest.mark.parametrize(
    "key",
    [
        "observation.state",
        "action",
        "frame_index",
        "episode_index",
        "task_index",
        "timestamp",
        "next.reward",
        "next.done",
    ],
)
def test_columns_of_another_type(dataset: Path, outside: Outside, key: str, kind: str) -> None:
    change_table(dataset, 0, key, COLUMNS[kind](8))
    with outside.watched():
        outcome(lambda: read_all(dataset))


@pytest.mark.slow
@pytest.mark.parametrize("kind", COLUMNS)
def test_lists_of_another_type(healthy: dict[str, Path], tmp_path: Path, kind: str) -> None:
    file = Path("meta/episodes/chunk-000/file-000.parquet")
    table = pq.read_table(healthy["v3.0"] / file)
    copy = Path(shutil.copytree(healthy["v3.0"], tmp_path / "dataset"))
    for place, key in enumerate(table.column_names):
        if not key.startswith("stats/"):
            pq.write_table(table.set_column(place, key, COLUMNS[kind](len(table))), copy / file)
            outcome(lambda: LeRobotSource(copy))


def test_a_table_of_tasks_without_words(healthy: dict[str, Path], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(healthy["v3.0"], tmp_path / "dataset"))
    pq.write_table(pa.table({"task_index": [0]}), copy / "meta/tasks.parquet")
    outcome(lambda: read_all(copy))
    pq.write_table(pa.table({"words": ["a"]}), copy / "meta/tasks.parquet")
    assert outcome(lambda: read_all(copy))


def test_rows_that_are_not_there(dataset: Path) -> None:
    write_table(table_path(dataset, 0), {"episode_index": np.zeros(0, np.int64)})
    assert "0 rows" in outcome(lambda: read_all(dataset))
