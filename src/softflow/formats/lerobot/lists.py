"""meta/ of a growing LeRobot dataset: its episodes, tasks and statistics, as each version has them.

v3.0    meta/episodes/chunk-000/file-000.parquet, meta/tasks.parquet, meta/stats.json
v2.1    meta/episodes.jsonl, meta/episodes_stats.jsonl, meta/tasks.jsonl
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from softflow.data.data_spec import IMAGE_PREFIX, OBSERVATION_PREFIX, DataSpec
from softflow.formats.lerobot.layout import CHUNK_FILE
from softflow.formats.lerobot.statistics import Statistics
from softflow.utils.files import write_json

EPISODES_AT_ONCE = 100
"""Rows of meta/episodes written together: each row group costs a kilobyte per column."""


LEROBOTS = ("min", "max", "mean", "std", "count")
"""Statistics of an episode, as LeRobot has them in v2.1."""
GR00TS = ("min", "max", "mean", "std", "q01", "q99")
"""Statistics of the dataset, as GR00T has them."""


class Lists(Protocol):
    """What is told of every episode, and of all of them at the end."""

    def append(self, row: dict[str, Any], places: dict[str, Any], found: Statisticses) -> None:
        """An episode: what it is, where it lies, the statistics of each feature."""
        ...

    def close(self) -> None:
        """Write what is waiting."""
        ...

    def finish(self, tasks: list[str], whole: Statisticses) -> None:
        """Tasks, and the statistics of all episodes together."""
        ...


Statisticses = dict[str, Statistics]
"""Feature -> its statistics."""


class TableLists:
    """v3.0.

    Args:
        path: the folder of the dataset.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[dict[str, Any]] = []
        self._writer: pq.ParquetWriter | None = None

    def append(self, row: dict[str, Any], places: dict[str, Any], found: Statisticses) -> None:
        """An episode."""
        told = {
            f"stats/{key}/{name}": value.tolist()
            for key, statistics in found.items()
            for name, value in statistics.items()
        }
        own = {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        self._rows.append(row | places | told | own)
        if len(self._rows) >= EPISODES_AT_ONCE:
            self._write()

    def _write(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            schema = pa.Table.from_pylist(self._rows).schema
            name = CHUNK_FILE.format(chunk_index=0, file_index=0)
            file = self._path / f"meta/episodes/{name}.parquet"
            file.parent.mkdir(parents=True)
            self._writer = pq.ParquetWriter(file, schema)
        self._writer.write_table(pa.Table.from_pylist(self._rows, self._writer.schema))
        self._rows.clear()

    def close(self) -> None:
        """Write what is waiting, and the index of the table."""
        self._write()
        if self._writer is not None:
            self._writer.close()

    def finish(self, tasks: list[str], whole: Statisticses) -> None:
        """tasks.parquet and stats.json."""
        _write_tasks(self._path / "meta" / "tasks.parquet", tasks)
        write_json(self._path / "meta" / "stats.json", _told(whole))


class LineLists:
    """v2.1.

    Args:
        path: the folder of the dataset.
    """

    def __init__(self, path: Path) -> None:
        self._folder = path / "meta"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._episodes = (self._folder / "episodes.jsonl").open("w", encoding="utf-8")
        self._statistics = (self._folder / "episodes_stats.jsonl").open("w", encoding="utf-8")

    def append(self, row: dict[str, Any], places: dict[str, Any], found: Statisticses) -> None:
        """An episode; where it lies follows from its number."""
        keys = ("episode_index", "tasks", "length")
        self._episodes.write(json.dumps({key: row[key] for key in keys}) + "\n")
        line = {"episode_index": row["episode_index"], "stats": _told(found, LEROBOTS)}
        self._statistics.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Close both lists."""
        self._episodes.close()
        self._statistics.close()

    def finish(self, tasks: list[str], whole: Statisticses) -> None:
        """tasks.jsonl, and stats.json, which v2.0 has and GR00T reads.

        GR00T cuts every statistic there at the components of a part: none may be one number.
        """
        lines = [json.dumps({"task_index": n, "task": task}) for n, task in enumerate(tasks)]
        (self._folder / "tasks.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        write_json(self._folder / "stats.json", _told(whole, GR00TS))


def _told(statisticses: Statisticses, names: Sequence[str] = ()) -> dict[str, dict[str, list[Any]]]:
    """Statistics as JSON has them, those of these names if there are any."""
    return {
        key: {n: value.tolist() for n, value in found.items() if not names or n in names}
        for key, found in statisticses.items()
    }


def _write_tasks(path: Path, tasks: list[str]) -> None:
    """tasks.parquet, which LeRobot reads with pandas: the words are the index of the table."""
    index = "__index_level_0__"
    column = {"metadata": None, "pandas_type": "int64", "numpy_type": "int64"}
    words = {"metadata": None, "pandas_type": "unicode", "numpy_type": "object"}
    pandas = {
        "index_columns": [index],
        "column_indexes": [],
        "columns": [
            {"name": "task_index", "field_name": "task_index", **column},
            {"name": None, "field_name": index, **words},
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    numbers = pa.array(range(len(tasks)), pa.int64())
    table = pa.table({"task_index": numbers, index: pa.array(tasks, pa.string())})
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), path)


def modality(spec: DataSpec) -> dict[str, Any]:
    """What GR00T asks for beside v2.1: which columns are states, actions, videos and words.

    Its reader calls a part "state.NAME" and takes every "state." out of that to find NAME again, so
    names have no dots.
    """

    def name(key: str, prefix: str) -> str:
        return key.removeprefix(prefix).replace(".", "_")

    states = {
        name(key, OBSERVATION_PREFIX): {
            "original_key": key,
            "start": 0,
            "end": prod(spec.observation_shapes[key]),
        }
        for key in spec.state_keys
    }
    cameras = {name(key, IMAGE_PREFIX): {"original_key": key} for key in spec.image_keys}
    return {
        "state": states,
        "action": {"action": {"original_key": "action", "start": 0, "end": spec.action_dim}},
        "video": cameras,
        "annotation": {"human.task_description": {"original_key": "task_index"}},
    }
