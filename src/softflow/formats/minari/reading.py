"""Minari datasets (HDF5), in: Gymnasium-Robotics' Adroit hand, and any with vector actions.

episode_3/observations      [T+1, ...] or a group of such; cameras may be JPEG pictures
episode_3/actions, rewards, terminations, truncations    [T, ...];  infos/...  [T] or [T+1]
metadata.json               beside the file: the environment and its spaces
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, TypeVar

import h5py
import msgspec
import numpy as np

from softflow.data.data_spec import IMAGE_PREFIX, STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.errors import DataError, brief
from softflow.formats.contents import Notes, Part, spans
from softflow.formats.documents import converted, parsed, read_document
from softflow.formats.faults import require_valid
from softflow.formats.hdf5.files import (
    attribute,
    has,
    member,
    member_array,
    member_dataset,
    member_group,
    opened,
    place_of,
    require_room,
    usable,
    values_of,
)
from softflow.formats.hdf5.frames import Size, frame_shape, frames_of
from softflow.formats.hdf5.tree import Tally, leaves
from softflow.formats.minari.pictures import is_camera
from softflow.formats.outcome import SUCCESS_INFOS, episode_of, range_of_actions
from softflow.formats.rates import control_rate
from softflow.formats.source import (
    component_names,
    joined,
    repeated_last,
    require_distinct,
    require_equal_lengths,
)
from softflow.utils.files import inside

Document = TypeVar("Document")
MAX_OBSERVATIONS = 1000
"""Groups and arrays below the observations of an episode."""
WHOLE = "softflow needs whole episodes with vector actions: download the dataset again"


class MinariSource:
    """A Minari dataset on this disk.

    The observation's vectors become `observation.state`, its pictures one camera each. Without
    success among its infos an episode counts as unlabelled.

    Args:
        path: the dataset's folder, or its `main_data.hdf5`.
        control_hz: control steps a second; None takes what is known of the environment.
        end_at_success: cut an episode behind its first success and terminate it there.
        image_size: (height, width) that cameras are brought to as they are read; None leaves them.

    Raises:
        DataError: not such a dataset, or damaged; names the file and the fix.
    """

    def __init__(
        self,
        path: Path,
        *,
        control_hz: float | None = None,
        end_at_success: bool = True,
        image_size: Size | None = None,
    ) -> None:
        self.path, self._end_at_success = _main_data(path), end_at_success
        self._size = image_size
        self.notes = Notes()
        """What is odd about episodes as they are read."""
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
        pictured = [name for name, array in leaves.items() if is_camera(array)]
        require_distinct({name: _camera_key(name) for name in pictured}, str(self.path))
        shapes: dict[str, tuple[int, ...]] = {}
        names: list[str] = []
        for name, array in leaves.items():
            if is_camera(array):
                height, width, _ = frame_shape(array)
                shapes[_camera_key(name)] = (*(self._size or (height, width)), 3)
            else:
                names += component_names(name, math.prod(array.shape[1:]))
        if names:
            shapes[STATE_KEY] = (len(names),)
        # An observation that is one array has nothing to tell its components apart by.
        return shapes, {STATE_KEY: tuple(names)} if names and "" not in leaves else {}

    def contents(self) -> list[Part]:
        """Every array of the file, those of all episodes by one name."""
        tally = Tally(lambda leaf: "nothing of the kind is stored")
        with opened(self.path) as file:
            for name in self._names:
                tally.see(leaves(member_group(file, name, WHOLE)))
            first = _leaves(file, self._names[0])
            told = member_group(file, self._names[0], WHOLE)
            infos = [key for key in SUCCESS_INFOS if member(told, f"infos/{key}") is not None]
            widths = [
                (f"observations/{name}".rstrip("/"), math.prod(array.shape[1:]))
                for name, array in first.items()
                if not is_camera(array)
            ]
            becomes = spans(widths, STATE_KEY)
            becomes |= {
                f"observations/{name}".rstrip("/"): _camera_key(name)
                for name, array in first.items()
                if is_camera(array)
            }
        becomes |= {"actions": "action", "rewards": "next.reward"}
        becomes |= {"terminations": "terminated", "truncations": "truncated, as its opposite"}
        becomes |= {f"infos/{key}": "success" for key in infos[:1]}
        return tally.parts(becomes)

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
            keys = ("actions", "rewards", "terminations")
            stored = {key: member_array(group, key, WHOLE) for key in keys}
            leaves = _leaves(file, name)
            require_room([*stored.values(), *leaves.values()], where)
            arrays = {key: values_of(array) for key, array in stored.items()}
            lengths = {key: len(array) for key, array in arrays.items()}
            # Recorders of some public datasets forgot what was seen last (Minari, issue 199).
            missing = bool(leaves) and all(
                len(array) == len(arrays["actions"]) for array in leaves.values()
            )
            seen = 0 if missing else 1
            lengths |= {f"observations/{k} less one": len(a) - seen for k, a in leaves.items()}
            if require_equal_lengths(lengths, where) == 0:
                raise DataError(f"{where} has 0 steps; leave it out")
            observations = _observations(leaves, self._size)
            if missing:
                observations = {key: repeated_last(v) for key, v in observations.items()}
                self.notes.add(f"{where} has no final observation; the last one stands for it")
            succeeded = self._success(group, len(arrays["actions"]))
            episode = episode_of(
                observations,
                arrays["actions"],
                arrays["rewards"],
                succeeded,
                terminated=bool(arrays["terminations"][-1]),
                metadata=self._metadata(group)
                | ({"final_observation": "repeated"} if missing else {}),
                end_at_success=self._end_at_success,
            )
        require_valid(episode, self.spec, where)
        return episode

    def _metadata(self, group: h5py.Group) -> dict[str, Any]:
        metadata: dict[str, Any] = {"source": str(self.path)}
        if self._environment:
            metadata["environment"] = self._environment
        if "seed" in group.attrs:
            metadata["seed"] = int(attribute(group, "seed"))
        return metadata

    def _success(self, group: h5py.Group, length: int) -> np.ndarray | None:
        """bool [T], or None where the infos do not say."""
        if not has(group, "infos"):
            return None
        infos = member_group(group, "infos", WHOLE)
        told = [member_array(infos, key, WHOLE) for key in SUCCESS_INFOS if has(infos, key)]
        if not told:
            return None
        values = values_of(told[0]).reshape(-1)
        # The infos of a reset come first where there is one more than actions.
        if len(values) not in (length, length + 1):
            raise DataError(
                f"{place_of(told[0])} has {len(values)} values for {length} actions; {WHOLE}"
            )
        return values[-length:].astype(bool)


def _main_data(path: Path) -> Path:
    """The HDF5 file of a dataset's folder."""
    if path.is_file():
        return path
    for name in ("main_data.hdf5", "data/main_data.hdf5"):
        if (path / name).is_file():
            return inside(path, name)
    for folder in (path, path / "data"):
        if (data_format := _facts(folder).data_format) != "hdf5":
            raise DataError(
                f"{folder} is stored as {data_format}; softflow reads Minari's HDF5, write the "
                'dataset again with data_format="hdf5"'
            )
    raise DataError(f"no main_data.hdf5 in {path}; give the dataset's folder or that file")


class Facts(msgspec.Struct):
    """metadata.json: whatever it does not say is unknown."""

    data_format: str = "hdf5"
    dataset_id: str | None = None
    env_spec: str | None = None
    action_space: str | None = None


class Environment(msgspec.Struct):
    """The JSON in `env_spec`."""

    id: str | None = None


class Space(msgspec.Struct):
    """The JSON in `action_space`; bounds are numbers, or lists of them."""

    type: str = ""
    low: float | list[Any] | None = None
    high: float | list[Any] | None = None


def _facts(folder: Path) -> Facts:
    """metadata.json, nothing known where there is none."""
    if not (folder / "metadata.json").is_file():
        return Facts()
    return read_document(inside(folder, "metadata.json"), Facts)


def _described_by(file: Path) -> tuple[str, tuple[np.ndarray, np.ndarray] | None]:
    """What metadata.json says: what the environment is called, or else the dataset; its bounds."""
    facts = _facts(file.parent)
    described = _embedded(facts.env_spec, Environment, f"{file}: 'env_spec'")
    return described.id or facts.dataset_id or "", _action_bounds(facts, file)


def _action_bounds(facts: Facts, file: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """The action space, where metadata.json describes a bounded box."""
    where = f"{file}: 'action_space'"
    space = _embedded(facts.action_space, Space, where)
    if space.type != "Box":
        return None
    try:
        low, high = (np.asarray(side, np.float64).reshape(-1) for side in (space.low, space.high))
    except (TypeError, ValueError) as error:
        raise DataError(f"{where} has no bounds ({brief(error)}); download it again") from error
    if space.low is None or space.high is None:
        raise DataError(f"{where} lacks low or high; download the dataset again")
    return (low, high) if np.isfinite(low).all() and np.isfinite(high).all() else None


def _embedded(text: str | None, kind: type[Document], where: str) -> Document:
    """A JSON object that metadata.json holds as text; as if empty where it is something else."""
    value = parsed(text or "{}", object, where)
    return converted(value if isinstance(value, dict) else {}, kind, where)


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
    if not has(group, "observations"):
        raise DataError(f"{place_of(group)}: no 'observations'; {WHOLE}")
    found: dict[str, h5py.Dataset] = {}
    waiting = [(group, "observations", "")]
    for node, key, name in waiting:
        child = member(node, key)
        if isinstance(child, h5py.Group):
            waiting += [(child, inner, f"{name}/{inner}".lstrip("/")) for inner in sorted(child)]
        elif (pictured := member_dataset(node, key)) is not None and is_camera(pictured):
            found[name] = pictured
        else:
            found[name] = member_array(node, key, "softflow reads numbers and pictures")
        if len(waiting) > MAX_OBSERVATIONS:
            raise DataError(
                f"{place_of(group)}/observations holds more than {MAX_OBSERVATIONS} groups and "
                f"arrays, or itself; {WHOLE}"
            )
    return dict(sorted(found.items(), key=lambda item: item[0].split("/")))


def _actions(file: h5py.File, episode: str) -> np.ndarray:
    return values_of(member_array(member_group(file, episode, WHOLE), "actions", WHOLE))


def _observations(leaves: dict[str, h5py.Dataset], size: Size | None) -> dict[str, np.ndarray]:
    """key -> [T+1, ...]: the vectors side by side, and every camera."""
    vectors = {name: values_of(a) for name, a in leaves.items() if not is_camera(a)}
    result = {
        _camera_key(name): frames_of(a, size) for name, a in leaves.items() if name not in vectors
    }
    return result | ({STATE_KEY: joined(vectors)[0]} if vectors else {})


def _camera_key(name: str) -> str:
    return IMAGE_PREFIX + (name or "camera").replace("/", "_")
