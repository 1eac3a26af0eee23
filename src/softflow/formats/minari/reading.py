"""Minari datasets (HDF5), in: Gymnasium-Robotics' Adroit hand, and any with vector actions.

episode_3/observations      [T+1, ...] or a group of such; cameras may be JPEG pictures
episode_3/actions, rewards, terminations, truncations    [T, ...];  infos/...  [T] or [T+1]
metadata.json               beside the file: the environment and its spaces
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

from softflow.data.data_spec import IMAGE_PREFIX, STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.errors import DataError
from softflow.formats.frames import rgb_shape
from softflow.formats.hdf5 import member_array, member_group, opened, place_of, usable
from softflow.formats.minari.pictures import is_camera, pictures
from softflow.formats.outcome import SUCCESS_INFOS, episode_of, range_of_actions
from softflow.formats.rates import control_rate
from softflow.formats.source import component_names, joined, require_equal_lengths
from softflow.utils.files import read_json

WHOLE = "softflow needs whole episodes with vector actions: download the dataset again"


class MinariSource:
    """A Minari dataset on this disk.

    The observation's vectors become `observation.state`, its pictures one camera each. Without
    success among its infos an episode counts as unlabelled.

    Args:
        path: the dataset's folder, or its `main_data.hdf5`.
        control_hz: control steps a second; None takes what is known of the environment.
        end_at_success: cut an episode behind its first success and terminate it there.

    Raises:
        DataError: not such a dataset, or damaged; names the file and the fix.
        StoreError: its metadata.json is damaged.
    """

    def __init__(
        self, path: Path, *, control_hz: float | None = None, end_at_success: bool = True
    ) -> None:
        self.path, self._end_at_success = _main_data(path), end_at_success
        self._environment, bounds = _described_by(self.path.parent / "metadata.json")
        with opened(self.path) as file:
            self._names = _episodes(file)
            low, high = range_of_actions(
                usable(self._names, lambda name: (f"{path}, {name}", _actions(file, name))),
                bounds,
            )
            first = usable(self._names, lambda name: self._described(_leaves(file, name)))
            shapes, names = next(first)
        rate = control_rate(control_hz, self._environment, str(self.path))
        self.spec = DataSpec(shapes, len(low), tuple(low), tuple(high), rate, names=names)

    def _described(
        self, leaves: dict[str, h5py.Dataset]
    ) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[str, ...]]]:
        """Shapes of the store's keys, and what the components of the state are called."""
        shapes: dict[str, tuple[int, ...]] = {}
        names: list[str] = []
        for name, array in leaves.items():
            if is_camera(array):
                first = pictures(array, slice(0, 1))
                shapes[_camera_key(name)] = rgb_shape(first.shape, place_of(array))
            else:
                names += component_names(name, math.prod(array.shape[1:]))
        if names:
            shapes[STATE_KEY] = (len(names),)
        # An observation that is one array has nothing to tell its components apart by.
        return shapes, {STATE_KEY: tuple(names)} if names and "" not in leaves else {}

    def episodes(self) -> list[str]:
        """episode_0, episode_1, … in the order of their numbers."""
        return list(self._names)

    def read(self, name: str) -> Episode:
        """An episode.

        Raises:
            DataError: something is missing, of another length, or NaN; names the place.
        """
        where = f"{self.path}, {name}"
        with opened(self.path) as file:
            group = member_group(file, name, WHOLE)
            arrays = {
                key: np.asarray(member_array(group, key, WHOLE))
                for key in ("actions", "rewards", "terminations")
            }
            leaves = _leaves(file, name)
            lengths = {key: len(array) for key, array in arrays.items()}
            lengths |= {f"observations/{k} less one": len(a) - 1 for k, a in leaves.items()}
            if require_equal_lengths(lengths, where) == 0:
                raise DataError(f"{where} has 0 steps; leave it out")
            observations = _observations(leaves)
            succeeded = self._success(group, len(arrays["actions"]))
            metadata = self._metadata(group)
        episode = episode_of(
            observations,
            arrays["actions"],
            arrays["rewards"],
            succeeded,
            terminated=bool(arrays["terminations"][-1]),
            metadata=metadata,
            end_at_success=self._end_at_success,
        )
        episode.validate(self.spec, where)
        return episode

    def _metadata(self, group: h5py.Group) -> dict[str, Any]:
        metadata: dict[str, Any] = {"source": str(self.path)}
        if self._environment:
            metadata["environment"] = self._environment
        if "seed" in group.attrs:
            metadata["seed"] = int(cast("int", group.attrs["seed"]))
        return metadata

    def _success(self, group: h5py.Group, length: int) -> np.ndarray | None:
        """bool [T], or None where the infos do not say."""
        if "infos" not in group:
            return None
        infos = member_group(group, "infos", WHOLE)
        told = [member_array(infos, key, WHOLE) for key in SUCCESS_INFOS if key in infos]
        if not told:
            return None
        values = np.asarray(told[0]).reshape(-1)
        # The infos of a reset come first where there is one more than actions.
        if len(values) not in (length, length + 1):
            raise DataError(
                f"{place_of(told[0])} has {len(values)} values for {length} actions; {WHOLE}"
            )
        return values[-length:].astype(bool)


def _main_data(path: Path) -> Path:
    """The HDF5 file of a dataset's folder."""
    for candidate in (path, path / "main_data.hdf5", path / "data" / "main_data.hdf5"):
        if candidate.is_file():
            return candidate
    for folder in (path, path / "data"):
        if (data_format := _facts(folder).get("data_format", "hdf5")) != "hdf5":
            raise DataError(
                f"{folder} is stored as {data_format}; softflow reads Minari's HDF5, write the "
                'dataset again with data_format="hdf5"'
            )
    raise DataError(f"no main_data.hdf5 in {path}; give the dataset's folder or that file")


def _facts(folder: Path) -> dict[str, Any]:
    """metadata.json, empty where there is none."""
    file = folder / "metadata.json"
    facts = read_json(file) if file.is_file() else {}
    if not isinstance(facts, dict):
        raise DataError(f"{file} is no JSON object; download the dataset again")
    return facts


def _described_by(file: Path) -> tuple[str, tuple[np.ndarray, np.ndarray] | None]:
    """What metadata.json says: what the environment is called, or else the dataset; its bounds."""
    facts = _facts(file.parent)
    try:
        name = _embedded(facts, "env_spec").get("id") or facts.get("dataset_id") or ""
        return str(name), _action_bounds(facts)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{file} is damaged ({error}); download the dataset again") from error


def _action_bounds(facts: dict[str, Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """The action space, where metadata.json describes a bounded box."""
    space = _embedded(facts, "action_space")
    if space.get("type") != "Box":
        return None
    if not {"low", "high"} <= space.keys():
        raise ValueError("'action_space' lacks low or high")
    low, high = (np.asarray(space[side], np.float64).reshape(-1) for side in ("low", "high"))
    return (low, high) if np.isfinite(low).all() and np.isfinite(high).all() else None


def _embedded(facts: dict[str, Any], key: str) -> dict[str, Any]:
    """A JSON object that metadata.json holds as text."""
    try:
        value = json.loads(facts.get(key) or "{}")
    except ValueError as error:
        raise ValueError(f"'{key}' is not JSON: {error}") from error
    return value if isinstance(value, dict) else {}


def _episodes(file: h5py.File) -> list[str]:
    names = [name for name in map(str, file) if re.fullmatch(r"episode_\d+", name)]
    if not names:
        raise DataError(
            f"{file.filename} has no group episode_0 (it has {sorted(file)[:5]}); is it a Minari "
            "dataset? D4RL files are imported as such"
        )
    return sorted(names, key=lambda name: int(name.rpartition("_")[2]))


def _leaves(file: h5py.File, episode: str) -> dict[str, h5py.Dataset]:
    """Every array of an episode's observations by its path; "" where they are a single one."""
    group = member_group(file, episode, WHOLE)
    if "observations" not in group:
        raise DataError(f"{place_of(group)}: no 'observations'; {WHOLE}")
    found: dict[str, h5py.Dataset] = {}

    def collect(node: h5py.Group, key: str, name: str) -> None:
        child = node[key]
        if isinstance(child, h5py.Group):
            for inner in sorted(child):
                collect(child, inner, f"{name}/{inner}".lstrip("/"))
        elif is_camera(cast("h5py.Dataset", child)):
            found[name] = cast("h5py.Dataset", child)
        else:
            found[name] = member_array(node, key, "softflow reads numbers and pictures")

    collect(group, "observations", "")
    return found


def _actions(file: h5py.File, episode: str) -> np.ndarray:
    return np.asarray(member_array(member_group(file, episode, WHOLE), "actions", WHOLE))


def _observations(leaves: dict[str, h5py.Dataset]) -> dict[str, np.ndarray]:
    """key -> [T+1, ...]: the vectors side by side, and every camera."""
    vectors = {name: np.asarray(a) for name, a in leaves.items() if not is_camera(a)}
    result = {_camera_key(name): pictures(a) for name, a in leaves.items() if name not in vectors}
    return result | ({STATE_KEY: joined(vectors)[0]} if vectors else {})


def _camera_key(name: str) -> str:
    return IMAGE_PREFIX + (name or "camera").replace("/", "_")
