"""An episode store as a LeRobot dataset: v3.0 for the `lerobot` package, v2.1 for openpi and GR00T.

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
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import outcome_known
from softflow.errors import DataError, StoreError
from softflow.formats.lerobot.extras import ExtrasWriter
from softflow.formats.lerobot.files import (
    MIB,
    DataFiles,
    EpisodeFiles,
    Numbering,
    SharedFiles,
    VideoFiles,
)
from softflow.formats.lerobot.layout import DATA_PATHS, SHARED_FILES, VIDEO_PATHS
from softflow.formats.lerobot.lists import LineLists, Lists, TableLists, modality
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
Version = Literal["v3.0", "v2.1"]
IMAGE_NAMES = ["height", "width", "channels"]


def export_lerobot(
    store: EpisodeStore,
    folder: Path,
    progress: ProgressReporter,
    *,
    cameras_as: Literal["video", "images"] = "video",
    robot_type: str = "unknown",
    version: Version = SHARED_FILES,
    data_file_mib: int = 100,
    video_file_mib: int = 200,
) -> None:
    """Write every episode of a store, as its newest label has it, as a LeRobot dataset.

    One episode at a time is in memory. `folder` appears only when all of it is on the disk; an
    interrupted export leaves a hidden folder beside it, which the next one clears away.

    Args:
        store: the episodes, at least one.
        folder: the new dataset; must not exist, or be empty.
        progress: told after every episode.
        cameras_as: "video": H.264, lossy and small. "images": PNG, lossless and large.
        robot_type: written to meta/info.json.
        version: "v3.0": many episodes in a file. "v2.1": an episode a file.
        data_file_mib, video_file_mib: of v3.0; a table or video larger than this is continued in
            the next file, at the next episode.

    Raises:
        DataError: the store is empty, or there is something at `folder`.
        StoreError: an episode is damaged, or the disk refuses.
    """
    if len(store) == 0:
        raise DataError(f"the store '{store.path}' is empty; record or import episodes first")
    with _folder_written_whole(Path(folder).absolute()) as draft:
        files = _Files(draft, version, data_file_mib, video_file_mib)
        dataset = _Dataset(draft, store, cameras_as, files)
        try:
            progress.begin("export", len(store))
            for index in range(len(store)):
                dataset.append(store.episode(index))
                progress.advance(index + 1, f"{dataset.frames} frames")
        finally:
            dataset.close()
        dataset.finish(robot_type)


class _Files:
    """Where a version keeps what."""

    def __init__(self, path: Path, version: Version, data_mib: int, video_mib: int) -> None:
        self.version, self._path = version, path
        self._data_mib, self._video_mib = data_mib, video_mib

    @property
    def _shared(self) -> bool:
        return self.version == SHARED_FILES

    def data(self) -> Numbering:
        folder = self._path / "data"
        if self._shared:
            return SharedFiles(folder, ".parquet", CHUNK_SIZE, self._data_mib * MIB)
        return EpisodeFiles(folder, ".parquet", CHUNK_SIZE)

    def videos(self, key: str) -> Numbering:
        folder = self._path / "videos"
        if self._shared:
            return SharedFiles(folder / key, ".mp4", CHUNK_SIZE, self._video_mib * MIB)
        return EpisodeFiles(folder, ".mp4", CHUNK_SIZE, key)

    def lists(self) -> Lists:
        return TableLists(self._path) if self._shared else LineLists(self._path)

    def told(self, has_videos: bool, cameras: int, episodes: int) -> dict[str, Any]:
        """What meta/info.json says of them."""
        data, video = DATA_PATHS[self._shared], VIDEO_PATHS[self._shared]
        paths = {"data_path": data, "video_path": video if has_videos else None}
        if self._shared:
            sizes = (self._data_mib, self._video_mib)
            names = ("data_files_size_in_mb", "video_files_size_in_mb")
            return paths | dict(zip(names, sizes, strict=True))
        chunks = -(-episodes // CHUNK_SIZE)
        return paths | {"total_videos": cameras * episodes, "total_chunks": chunks}


class _Dataset:
    """The files of a growing LeRobot dataset."""

    def __init__(
        self,
        path: Path,
        store: EpisodeStore,
        cameras_as: Literal["video", "images"],
        files: _Files,
    ) -> None:
        self._path, self._spec, self._files = path, store.spec, files
        self._labelled = _is_labelled(store)
        self.features = _features(store.spec, cameras_as, self._labelled)
        self.frames, self._episodes = 0, 0
        self._tasks: dict[str, int] = {}
        self._statistics: dict[str, Statistics] = {}
        self._data = DataFiles(self.features, files.data())
        self._videos = {
            key: VideoFiles(key, store.spec, files.videos(key))
            for key in (store.spec.image_keys if cameras_as == "video" else ())
        }
        self._extras = ExtrasWriter(path, store.spec)
        self._lists = files.lists()

    def append(self, episode: Episode) -> None:
        """Write an episode."""
        steps, index = episode.length, self._episodes
        task = str(episode.metadata.get("task") or self._spec.env_id or "unspecified")
        columns = self._columns(episode, self._tasks.setdefault(task, len(self._tasks)))
        row: dict[str, Any] = {
            "episode_index": index,
            "tasks": [task],
            "length": steps,
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + steps,
        }
        places: dict[str, Any] = self._data.append(columns)
        for key, video in self._videos.items():
            places |= video.append(columns[key])
        found: dict[str, Statistics] = {}
        for key, values in columns.items():
            is_image = key in self._spec.image_keys
            found[key] = image_statistics_of(values) if is_image else statistics_of(values)
            self._statistics[key] = combined(self._statistics.get(key), found[key])
        self._extras.append(index, episode)
        self._lists.append(row, places, found)
        self.frames, self._episodes = self.frames + steps, index + 1

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

    def close(self) -> None:
        """Give back the files, whole if nothing was raised until here."""
        for files in (self._data, self._extras, *self._videos.values(), self._lists):
            files.close()

    def finish(self, robot_type: str) -> None:
        """Write what is known only at the end: tasks, statistics, and meta/info.json."""
        self._lists.finish(list(self._tasks), self._statistics)
        for key, video in self._videos.items():
            self.features[key]["info"] = video.info
        rate = self._spec.control_hz
        info = {
            "codebase_version": self._files.version,
            "robot_type": robot_type,
            "total_episodes": self._episodes,
            "total_frames": self.frames,
            "total_tasks": len(self._tasks),
            "chunks_size": CHUNK_SIZE,
            "fps": int(rate) if rate.is_integer() else rate,
            "splits": {"train": f"0:{self._episodes}"},
            **self._files.told(bool(self._videos), len(self._videos), self._episodes),
            "features": self.features,
        }
        write_json(self._path / "meta" / "info.json", info)
        if self._files.version != SHARED_FILES:
            write_json(self._path / "meta" / "modality.json", modality(self._spec))


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
