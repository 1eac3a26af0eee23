"""ACT and ALOHA: a folder of HDF5 files, one an episode.

observations/qpos, qvel, effort    [T, n];  observations/images/CAMERA    [T, H, W, 3], or
                                   [T, bytes] of JPEG pictures padded with zeros
action                             [T, A];  base_action [T, 2] (Mobile ALOHA)
compress_len                       lengths of the pictures, which tell them themselves
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from softflow.data.data_spec import IMAGE_PREFIX, STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.errors import DataError
from softflow.formats.contents import Notes, Part, spans
from softflow.formats.faults import Faults, require_valid
from softflow.formats.hdf5.files import (
    attribute,
    json_attributes,
    member_array,
    member_dataset,
    member_group,
    opened,
    require_room,
    usable,
    values_of,
)
from softflow.formats.hdf5.frames import Size, frame_shape, frames_of, holds_pictures, is_camera
from softflow.formats.hdf5.tree import Leaf, Tally, leaves
from softflow.formats.outcome import SUCCESS_INFOS, episode_of, range_of_actions
from softflow.formats.source import (
    component_names,
    joined,
    repeated_last,
    require_distinct,
    require_equal_lengths,
)
from softflow.utils.files import require_inside

OBSERVATIONS = "observations"
IMAGES = "images/"
FIRST_STATES = ("qpos", "qvel", "effort")
ENDINGS = ("*.hdf5", "*.h5")
FIX = "every episode needs what the first one has: leave this file out, or repair it"


class ActSource:
    """The episodes of a folder of ACT's or ALOHA's files, or of one file.

    Args:
        path: the folder, or a file.
        control_hz: steps a second; the format does not say it.
        action_key: arrays that are the action, side by side.
        state_keys: observations that make up `observation.state`, in this order; all vectors when
            empty: qpos, qvel, effort, then others by name.
        cameras: cameras to take, such as "cam_high"; all when None.
        swap_red_blue: pictures were encoded with red and blue exchanged, as OpenCV does with
            RGB arrays; put them right.
        image_size: (height, width) that cameras are brought to as they are read; None leaves them.

    Raises:
        DataError: not such files, damaged, or without what was asked for; names what there is.
    """

    def __init__(
        self,
        path: Path,
        *,
        control_hz: float | None = None,
        action_key: Sequence[str] = ("action",),
        state_keys: Sequence[str] = (),
        cameras: Sequence[str] | None = None,
        swap_red_blue: bool = False,
        image_size: Size | None = None,
    ) -> None:
        self.path, self._size, self._swap = path, image_size, swap_red_blue
        self._action_key = tuple(action_key)
        self.notes = Notes()
        """What is odd about the dataset."""
        self._files = _files(path)
        if control_hz is None:
            raise DataError(
                f"{path} does not say how many steps a second has; give --control-hz (ALOHA "
                "records 50)"
            )
        self._states: list[str] = []
        self._cameras: list[str] = []
        shapes, names = next(usable([*self._files], lambda n: self._look(n, state_keys, cameras)))
        low, high = range_of_actions(usable([*self._files], self._actions_of), None)
        self.spec = DataSpec(shapes, len(low), tuple(low), tuple(high), control_hz, names=names)

    def episodes(self) -> list[str]:
        """episode_0, episode_1, … in the order of their numbers."""
        return list(self._files)

    def read(self, name: str) -> Episode:
        """An episode; the format has no final observation, so the last one comes again.

        Raises:
            DataError: something is missing, of another length, or NaN; names the place.
        """
        where = f"{self._files[name]}"
        with opened(self._files[name]) as file:
            arrays = self._arrays(file)
            require_room(arrays.values(), where)
            lengths = {place: len(array) for place, array in arrays.items()}
            if require_equal_lengths(lengths, where) == 0:
                raise DataError(f"{where} has 0 steps; leave it out")
            faults, observations = Faults(), dict[str, np.ndarray]()
            for camera in self._cameras:
                with faults.of_a_part():
                    key = IMAGE_PREFIX + _short(camera)
                    observations[key] = self._frames(arrays[f"{OBSERVATIONS}/{camera}"])
            with faults.of_a_part():
                found = {key: values_of(arrays[f"{OBSERVATIONS}/{key}"]) for key in self._states}
                if found:
                    observations[STATE_KEY] = repeated_last(joined(found)[0])
            with faults.of_a_part():
                actions = self._actions(file)
            faults.raise_any()
            told = [attribute(file, key) for key in SUCCESS_INFOS if key in file.attrs]
            last = np.arange(len(actions)) == len(actions) - 1
            episode = episode_of(
                observations,
                actions,
                np.zeros(len(actions), np.float32),
                last & bool(np.asarray(told[0]).reshape(-1)[0]) if told else None,
                terminated=False,
                metadata=self._metadata(file, where),
                end_at_success=True,
            )
        require_valid(episode, self.spec, where)
        return episode

    def contents(self) -> list[Part]:
        """Every array of the files, those of all episodes by one name."""
        tally = Tally(_why_not)
        parts: list[Part] = []
        for number, path in enumerate(self._files.values()):
            with opened(path) as file:
                tally.see(leaves(file))
                if number == len(self._files) - 1:
                    parts = self._parts(tally, file)
        return parts

    def _parts(self, tally: Tally, file: h5py.File) -> list[Part]:
        def width(place: str) -> int:
            return math.prod(member_array(file, place, FIX).shape[1:])

        states = [(f"{OBSERVATIONS}/{key}", width(f"{OBSERVATIONS}/{key}")) for key in self._states]
        actions = [(key, width(key)) for key in self._action_key]
        becomes = spans(states, STATE_KEY) | spans(actions, "action")
        becomes |= {f"{OBSERVATIONS}/{c}": IMAGE_PREFIX + _short(c) for c in self._cameras}
        return tally.parts(becomes)

    # ---- what the files hold ----------------------------------------------------------------

    def _look(
        self, name: str, state_keys: Sequence[str], cameras: Sequence[str] | None
    ) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[str, ...]]]:
        """Shapes and component names, decided by one episode."""
        with opened(self._files[name]) as file:
            group = member_group(file, OBSERVATIONS, "is it an ACT or ALOHA file?")
            found = {leaf.path: leaf for leaf in leaves(group)}
            arrays = {path: leaf.dataset for path, leaf in found.items() if leaf.dataset}
            pictured = [path for path, array in arrays.items() if is_camera(array)]
            vectors = [
                path
                for path, array in arrays.items()
                if path not in pictured and array.dtype.kind in "biuf" and array.ndim in (1, 2)
            ]
            self._cameras = _chosen_cameras(pictured, cameras, str(self._files[name]))
            places = {path: IMAGE_PREFIX + _short(path) for path in self._cameras}
            require_distinct(places, str(self._files[name]))
            self._states = _chosen_states(vectors, state_keys, str(self._files[name]))
            shapes: dict[str, tuple[int, ...]] = {}
            for path in self._cameras:
                height, width, _ = frame_shape(arrays[path])
                shapes[IMAGE_PREFIX + _short(path)] = (*(self._size or (height, width)), 3)
            encoded = [path for path in self._cameras if holds_pictures(arrays[path])]
            if encoded and not self._swap:
                self.notes.add(
                    f"{self.path}: '{encoded[0]}' holds encoded pictures, and some recorders "
                    "exchange red and blue in them: look at the frames (softflow data plot); "
                    "--swap-red-blue puts them right"
                )
            names = [
                told
                for path in self._states
                for told in component_names(path, math.prod(arrays[path].shape[1:]))
            ]
        if names:
            shapes[STATE_KEY] = (len(names),)
        return shapes, {STATE_KEY: tuple(names)} if names else {}

    def _arrays(self, file: h5py.File) -> dict[str, h5py.Dataset]:
        """Every array that is read, by its place."""
        numbers = [*self._action_key, *(f"{OBSERVATIONS}/{key}" for key in self._states)]
        arrays = {place: member_array(file, place, FIX) for place in numbers}
        for camera in self._cameras:
            place = f"{OBSERVATIONS}/{camera}"
            if (array := member_dataset(file, place)) is None or not is_camera(array):
                raise DataError(f"{file.filename} has no pictures '{place}'; {FIX}")
            arrays[place] = array
        return arrays

    def _frames(self, array: h5py.Dataset) -> np.ndarray:
        """uint8 [T + 1, H, W, 3]."""
        frames = frames_of(array, self._size, extra=1)
        for frame in frames[:-1] if self._swap else ():
            frame[...] = frame[..., ::-1].copy()
        frames[-1] = frames[-2]
        return frames

    def _actions(self, file: h5py.File) -> np.ndarray:
        """[T, A]."""
        arrays = [values_of(member_array(file, key, FIX)) for key in self._action_key]
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=1)

    def _actions_of(self, name: str) -> tuple[str, np.ndarray]:
        with opened(self._files[name]) as file:
            return str(self._files[name]), self._actions(file)

    def _metadata(self, file: h5py.File, where: str) -> dict[str, Any]:
        facts = json_attributes(file)
        told = {"act": facts} if facts else {}
        return {"source": where, "final_observation": "repeated", **told}


def _files(path: Path) -> dict[str, Path]:
    """Name of each episode -> its file."""
    if path.is_file():
        return {path.stem: path}
    # Beside its files, macOS leaves others of their names with a dot in front.
    found = [f for ending in ENDINGS for f in path.glob(ending) if not f.name.startswith(".")]
    if not found:
        raise DataError(
            f"{path} holds no .hdf5 files; give the folder with episode_0.hdf5, episode_1.hdf5, …"
        )
    for file in found:
        require_inside(path, file)
    return {file.stem: file for file in sorted(found, key=_number)}


def _number(file: Path) -> tuple[int, str]:
    """episode_2 comes before episode_10."""
    digits = re.findall(r"\d+", file.stem)
    return (int(digits[-1]) if digits else -1), file.stem


def _chosen_cameras(there: list[str], wanted: Sequence[str] | None, where: str) -> list[str]:
    if wanted is None:
        return there
    by_name = {name: path for path in there for name in (path, _short(path))}
    if absent := [name for name in wanted if name not in by_name]:
        raise DataError(f"{where} has no camera '{absent[0]}'; it has {[*map(_short, there)]}")
    return [by_name[name] for name in wanted]


def _chosen_states(there: list[str], wanted: Sequence[str], where: str) -> list[str]:
    if absent := [name for name in wanted if name not in there]:
        raise DataError(f"{where} has no observation '{absent[0]}'; it has {there}")
    first = [name for name in FIRST_STATES if name in there]
    return list(wanted) or first + [name for name in there if name not in first]


def _short(path: str) -> str:
    """cam_high for images/cam_high."""
    return path.removeprefix(IMAGES).replace("/", "_")


def _why_not(leaf: Leaf) -> str:
    place, _, name = leaf.path.partition("/")
    if leaf.path == "compress_len":
        return "lengths of the pictures, which they tell themselves"
    if place != OBSERVATIONS:
        return f"--action-key … {leaf.path} adds it to the action"
    if leaf.dataset is not None and is_camera(leaf.dataset):
        return f"--cameras {_short(name)} … takes it"
    if len(leaf.shape) > 2:
        return "more than a vector a step, and no colours (depth is not kept)"
    return f"--state-keys {name} … takes it"
