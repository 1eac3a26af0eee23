"""An episode store as a LeRobot v3.0 dataset, which the `lerobot` package opens.

Each control step is a row: observations, action, next.reward, next.done, next.success,
next.terminated, next.truncated, task. Three things differ between the two formats:

- An episode of T steps has T + 1 observations here and T there. The last one, and what else LeRobot
  has no place for, goes into meta/softflow (see `lerobot_extras`), which LeRobot ignores. With it,
  importing an export gives back equal arrays, outcomes and metadata.
- Cameras become H.264 video, which is lossy, but for the final frame; or, with cameras_as="images",
  PNG files in the tables, which are exact and several times larger.
- LeRobot knows no episodes without reward labels: where a whole store has none, next.reward and
  next.success are left out.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import outcome_known
from softflow.errors import DataError, StoreError
from softflow.formats.lerobot.extras import ExtrasWriter
from softflow.formats.lerobot.files import DataFiles, VideoFiles
from softflow.formats.lerobot.layout import CHUNK_FILE, SHARED_FILES
from softflow.formats.lerobot.statistics import (
    Statistics,
    combined,
    image_statistics_of,
    statistics_of,
)
from softflow.utils.files import sync_to_disk, write_json
from softflow.utils.progress import ProgressReporter

CHUNK_SIZE = 1000
"""Files in a chunk folder, as LeRobot has it."""
EPISODES_AT_ONCE = 100
"""Rows of meta/episodes written together: each row group costs a kilobyte per column."""
IMAGE_NAMES = ["height", "width", "channels"]


def export_lerobot(
    store: EpisodeStore,
    folder: Path,
    progress: ProgressReporter,
    *,
    cameras_as: Literal["video", "images"] = "video",
    robot_type: str = "unknown",
    data_file_mib: int = 100,
    video_file_mib: int = 200,
) -> None:
    """Write every episode of a store, as its newest label has it, as a LeRobot v3.0 dataset.

    One episode at a time is in memory. `folder` appears only when all of it is on the disk; an
    interrupted export leaves a hidden folder beside it, which the next one clears away.

    Args:
        store: the episodes, at least one.
        folder: the new dataset; must not exist, or be empty.
        progress: told after every episode.
        cameras_as: "video": H.264, lossy and small. "images": PNG, lossless and large.
        robot_type: written to meta/info.json.
        data_file_mib, video_file_mib: a table or video larger than this is continued in the next
            file, at the next episode.

    Raises:
        DataError: the store is empty, or there is something at `folder`.
        StoreError: an episode is damaged, or the disk refuses.
    """
    if len(store) == 0:
        raise DataError(f"the store '{store.path}' is empty; record or import episodes first")
    with _folder_written_whole(Path(folder).absolute()) as draft:
        dataset = _Dataset(draft, store, cameras_as, data_file_mib, video_file_mib)
        try:
            progress.begin("export", len(store))
            for index in range(len(store)):
                dataset.append(store.episode(index))
                progress.advance(index + 1, f"{dataset.frames} frames")
        finally:
            dataset.close()
        sizes = {"data_files_size_in_mb": data_file_mib, "video_files_size_in_mb": video_file_mib}
        dataset.finish({"robot_type": robot_type, **sizes})


class _Dataset:
    """The files of a growing LeRobot dataset."""

    def __init__(
        self,
        path: Path,
        store: EpisodeStore,
        cameras_as: Literal["video", "images"],
        data_file_mib: int,
        video_file_mib: int,
    ) -> None:
        self._path, self._spec = path, store.spec
        self._labelled = _is_labelled(store)
        self.features = _features(store.spec, cameras_as, self._labelled)
        self.frames, self._episodes = 0, 0
        self._tasks: dict[str, int] = {}
        self._statistics: dict[str, Statistics] = {}
        self._rows: list[dict[str, Any]] = []
        self._data = DataFiles(path, self.features, data_file_mib, CHUNK_SIZE)
        self._videos = {
            key: VideoFiles(path, key, store.spec, video_file_mib, CHUNK_SIZE)
            for key in (store.spec.image_keys if cameras_as == "video" else ())
        }
        self._extras = ExtrasWriter(path, store.spec)
        self._list: pq.ParquetWriter | None = None

    def append(self, episode: Episode) -> None:
        """Write an episode."""
        steps, index = episode.length, self._episodes
        task = str(episode.metadata.get("task") or self._spec.env_id or "unspecified")
        columns = self._columns(episode, self._tasks.setdefault(task, len(self._tasks)))
        row: dict[str, Any] = {
            "episode_index": index,
            "tasks": [task],
            "length": steps,
            **self._data.append(columns),
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + steps,
        }
        for key, video in self._videos.items():
            row |= video.append(columns[key])
        for key, values in columns.items():
            is_image = key in self._spec.image_keys
            found = image_statistics_of(values) if is_image else statistics_of(values)
            self._statistics[key] = combined(self._statistics.get(key), found)
            row |= {f"stats/{key}/{name}": value.tolist() for name, value in found.items()}
        self._extras.append(index, episode)
        self._rows.append(row | {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0})
        self.frames, self._episodes = self.frames + steps, index + 1
        if len(self._rows) >= EPISODES_AT_ONCE:
            self._write_rows()

    def _columns(self, episode: Episode, task: int) -> dict[str, np.ndarray]:
        """Feature -> [T, ...]."""
        steps = np.arange(episode.length)
        last = steps == episode.length - 1
        columns = {key: values[:-1] for key, values in episode.observations.items()}
        columns |= {
            "action": episode.actions,
            "next.reward": episode.rewards,
            "next.success": last & bool(episode.success),
            "next.done": last,
            "next.terminated": last & bool(episode.terminated),
            "next.truncated": last & bool(episode.truncated),
            "timestamp": (steps / self._spec.control_hz).astype(np.float32),
            "frame_index": steps,
            "episode_index": np.full(episode.length, self._episodes),
            "index": self.frames + steps,
            "task_index": np.full(episode.length, task),
        }
        return {key: columns[key] for key in self.features}

    def _write_rows(self) -> None:
        if not self._rows:
            return
        if self._list is None:
            schema = pa.Table.from_pylist(self._rows).schema
            file = f"meta/episodes/{CHUNK_FILE.format(chunk_index=0, file_index=0)}.parquet"
            (self._path / file).parent.mkdir(parents=True)
            self._list = pq.ParquetWriter(self._path / file, schema)
        self._list.write_table(pa.Table.from_pylist(self._rows, self._list.schema))
        self._rows.clear()

    def close(self) -> None:
        """Give back the files, whole if nothing was raised until here."""
        self._write_rows()
        for files in (self._data, self._extras, *self._videos.values(), self._list):
            if files is not None:
                files.close()

    def finish(self, settings: dict[str, Any]) -> None:
        """Write what is known only at the end: tasks, statistics, and meta/info.json."""
        _write_tasks(self._path / "meta" / "tasks.parquet", list(self._tasks))
        statistics = {
            key: {name: value.tolist() for name, value in found.items()}
            for key, found in self._statistics.items()
        }
        write_json(self._path / "meta" / "stats.json", statistics)
        for key, video in self._videos.items():
            self.features[key]["info"] = video.info
        rate = self._spec.control_hz
        info = {
            "codebase_version": SHARED_FILES,
            **settings,
            "total_episodes": self._episodes,
            "total_frames": self.frames,
            "total_tasks": len(self._tasks),
            "chunks_size": CHUNK_SIZE,
            "fps": int(rate) if rate.is_integer() else rate,
            "splits": {"train": f"0:{self._episodes}"},
            "data_path": f"data/{CHUNK_FILE}.parquet",
            "video_path": f"videos/{{video_key}}/{CHUNK_FILE}.mp4" if self._videos else None,
            "features": self.features,
        }
        write_json(self._path / "meta" / "info.json", info)


def _is_labelled(store: EpisodeStore) -> bool:
    """Whether anybody, or anything, said of any episode how it went."""
    return any(outcome_known(summary.metadata) for summary in store.summaries())


def _features(
    spec: DataSpec, cameras_as: Literal["video", "images"], labelled: bool
) -> dict[str, dict[str, Any]]:
    """The features of meta/info.json, in the order of the columns."""

    def feature(dtype: str, shape: tuple[int, ...] = (1,), names: Any = None) -> dict[str, Any]:
        return {"dtype": dtype, "shape": list(shape), "names": names}

    def named(key: str) -> list[str] | None:
        return list(spec.names[key]) if key in spec.names else None

    features = {
        key: feature("float32", spec.observation_shapes[key] or (1,), named(key))
        for key in spec.state_keys
    }
    kind = "video" if cameras_as == "video" else "image"
    for key in spec.image_keys:
        features[key] = feature(kind, spec.observation_shapes[key], IMAGE_NAMES)
    features["action"] = feature("float32", (spec.action_dim,), named("action"))
    if labelled:
        features |= {"next.reward": feature("float32"), "next.success": feature("bool")}
    features |= {f"next.{name}": feature("bool") for name in ("done", "terminated", "truncated")}
    features["timestamp"] = feature("float32")
    counters = ("frame_index", "episode_index", "index", "task_index")
    return features | {key: feature("int64") for key in counters}


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


@contextmanager
def _folder_written_whole(folder: Path) -> Iterator[Path]:
    """Yield a hidden folder beside `folder`, which becomes it once the block has filled it.

    Raises:
        DataError: there is something at `folder`, or another export to it is going on.
        StoreError: the system refused (disk full, no permission, …); nothing is left behind.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"there is something at '{folder}' already; choose a new folder")
    draft = folder.with_name(f".{folder.name}.draft")
    try:
        draft.mkdir(parents=True, exist_ok=True)
        lock = _locked(draft)
        try:
            _clear(draft)
            yield draft
            for entry in sorted(draft.rglob("*"), reverse=True):
                sync_to_disk(entry)
            draft.replace(folder)
            sync_to_disk(folder.resolve().parent)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        finally:
            os.close(lock)
    except (OSError, av.FFmpegError) as error:
        raise StoreError(
            f"cannot write the dataset '{folder}': {error.strerror or error}; free some space or "
            "make the folder writable, then run the same command again. Nothing was left behind."
        ) from error


def _locked(draft: Path) -> int:
    """A lock on a folder, which goes away with this process, however that ends."""
    lock = os.open(draft, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise DataError(
            f"another export is writing to '{draft}'; wait for it, or choose another folder"
        ) from error
    return lock


def _clear(folder: Path) -> None:
    """Remove what an interrupted export left."""
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()
