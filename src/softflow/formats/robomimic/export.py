"""An episode store as a RoboMimic HDF5 file, one episode in memory.

robomimic's own readers open it, and `RobomimicSource` gives back exactly what was in the store:
what robomimic has no place for goes into attributes of softflow's own (see `robomimic_record`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.errors import DataError, StoreError
from softflow.formats.documents import converted, parsed
from softflow.formats.robomimic.hdf5_target import DiskFile
from softflow.formats.robomimic.record import (
    ATTRIBUTE,
    FOREIGN,
    FileRecord,
    Parts,
    camera_observation,
    foreign_of,
    parts_of,
    unpacked,
    write_attributes,
)
from softflow.utils.files import written_whole
from softflow.utils.progress import ProgressReporter

VALID_SHARE = 0.1
ROBOSUITE_TYPE, GYM_TYPE = 1, 2
"""robomimic's numbers for kinds of environments."""


def export_robomimic(
    store: EpisodeStore, path: Path, progress: ProgressReporter, *, compress: bool = True
) -> int:
    """Write every episode, as its newest label has it, as `data/demo_0`, `data/demo_1`, …

    `mask` gets the filter keys the episodes were imported with, `success`, and, unless they came
    with them, `train` and `valid`: nine in ten and one in ten, the same ones at every export.

    Args:
        store: not empty.
        path: the file; it appears only once all of it is on the disk.
        progress: told after every episode.
        compress: deflate camera frames, one by one, which every HDF5 reader undoes.

    Returns:
        How many episodes.

    Raises:
        DataError: the store is empty.
        StoreError: the file is there already, an episode is damaged, or the disk refuses.
    """
    if path.exists():
        raise StoreError(f"'{path}' is there already; choose another name, or delete it")
    if len(store) == 0:
        raise DataError(f"the store '{store.path}' is empty; there is nothing to export")
    progress.begin("export", len(store))
    with written_whole(path) as temp, DiskFile(temp) as disk:
        with h5py.File(disk, "w") as file:
            writer = _Writer(file, store, compress)
            for index in range(len(store)):
                writer.write(index, store.episode(index))
                disk.require_room()
                progress.advance(index + 1, _name(index))
            writer.finish()
        disk.require_room()
    return len(store)


class _Writer:
    """The groups of one file."""

    def __init__(self, file: h5py.File, store: EpisodeStore, compress: bool) -> None:
        self._file, self._compress = file, compress
        self._data = file.create_group("data")
        self._parts = parts_of(store.spec)
        first = str(store.episode_path(0))
        self._attributes = foreign_of(store.summary(0).metadata, first).data
        self._masks: dict[str, list[str]] = {}
        self._total = 0
        write_attributes(self._data, self._attributes)
        added = () if "env_args" in self._attributes else ("env_args",)
        if added:
            metadata = store.summary(0).metadata
            arguments = _environment(self._attributes, metadata, store.spec)
            self._data.attrs["env_args"] = json.dumps(arguments, indent=4)
        parts = {key: list(parts) for key, parts in self._parts.items()}
        FileRecord(store.spec, parts, added).write(self._data)

    def write(self, index: int, episode: Episode) -> None:
        name = _name(index)
        group = self._data.create_group(name)
        _write_observations(group, episode, self._parts, self._compress)
        last = np.arange(episode.length) == episode.length - 1
        group.create_dataset("actions", data=episode.actions)
        group.create_dataset("rewards", data=episode.rewards)
        group.create_dataset("dones", data=(last & episode.terminated).astype(np.int64))
        group.attrs["num_samples"] = episode.length
        self._write_record(group, episode)
        self._total += episode.length
        given = episode.metadata.get("filter_keys", [])
        where = f"episode {index}: 'filter_keys'"
        keys = [*converted(given, list[str], where), *["success"] * episode.success]
        if wrong := [key for key in keys if key.strip(".") == "" or "/" in key or "\0" in key]:
            raise DataError(f"{where} has {wrong[0]!r:.60}, which HDF5 cannot name a mask")
        for key in dict.fromkeys(keys):
            self._masks.setdefault(key, []).append(name)

    def _write_record(self, group: h5py.Group, episode: Episode) -> None:
        metadata = dict(episode.metadata)
        if FOREIGN in metadata:
            foreign = foreign_of(metadata, f"episode of {group.name}")
            write_attributes(group, foreign.demo)
            # Once in the file instead of in every episode, as long as they agree.
            metadata[FOREIGN] = {} if foreign.data == self._attributes else {"data": foreign.data}
        record = {
            "terminated": bool(episode.terminated),
            "truncated": bool(episode.truncated),
            "success": bool(episode.success),
            "metadata": metadata,
        }
        group.attrs[ATTRIBUTE] = json.dumps(record)

    def finish(self) -> None:
        self._data.attrs["total"] = self._total
        if not self._masks.keys() & {"train", "valid"}:
            self._masks |= _train_and_valid(len(self._data))
        for key, names in self._masks.items():
            if names:
                self._file[f"mask/{key}"] = np.array(names, dtype="S")


def _write_observations(group: h5py.Group, episode: Episode, parts: Parts, compress: bool) -> None:
    """obs and next_obs, with the state cut back into the arrays it was joined from."""
    for key, frames in episode.observations.items():
        if key not in parts:
            # One frame a chunk: training reads single frames at random.
            options: dict[str, Any] = {"chunks": (1, *frames.shape[1:])}
            options |= {"compression": "gzip", "compression_opts": 1} if compress else {}
            _write_twice(group, camera_observation(key), frames, options)
    for key, columns_of in parts.items():
        for name, columns in columns_of.items():
            values = episode.observations[key]
            _write_twice(group, name, values[:, columns] if columns else values, {})


def _write_twice(group: h5py.Group, name: str, values: np.ndarray, options: dict[str, Any]) -> None:
    """What was seen before each action, and after it."""
    group.create_dataset(f"obs/{name}", data=values[:-1], **options)
    group.create_dataset(f"next_obs/{name}", data=values[1:], **options)


def _environment(
    attributes: dict[str, Any], metadata: dict[str, Any], spec: DataSpec
) -> dict[str, Any]:
    """robomimic's description of the environment, where the data came without one."""
    if "env_info" in attributes:
        return {
            "type": ROBOSUITE_TYPE,
            "env_name": attributes.get("env", ""),
            "env_version": attributes.get("repository_version", ""),
            "env_kwargs": parsed(unpacked(attributes["env_info"]), object, "attribute 'env_info'"),
        }
    name = spec.env_id or metadata.get("environment") or "unknown"
    kwargs = {"control_freq": spec.control_hz}
    return {"type": GYM_TYPE, "env_name": name, "env_kwargs": kwargs}


def _train_and_valid(count: int) -> dict[str, list[str]]:
    """Names for training and for validation, drawn at random but always the same."""
    order = np.random.default_rng(0).permutation(count)
    num_valid = max(1, round(VALID_SHARE * count)) if count > 1 else 0
    valid = sorted(order[:num_valid].tolist())
    train = sorted(order[num_valid:].tolist())
    return {"train": [_name(index) for index in train], "valid": [_name(i) for i in valid]}


def _name(index: int) -> str:
    return f"demo_{index}"
