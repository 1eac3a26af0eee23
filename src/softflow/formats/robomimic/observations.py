"""Which observations of a RoboMimic file make up which key of a store, and their arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

import h5py
import numpy as np

from softflow.data.data_spec import IMAGE_PREFIX, STATE_KEY
from softflow.errors import DataError
from softflow.formats.contents import spans
from softflow.formats.faults import Faults
from softflow.formats.hdf5.files import (
    has,
    member_array,
    member_dataset,
    member_group,
    place_of,
    values_of,
)
from softflow.formats.hdf5.frames import Size, frame_shape, frames_of, is_camera
from softflow.formats.hdf5.tree import Leaf, leaves
from softflow.formats.robomimic.record import IMAGE_SUFFIX, FileRecord, camera_observation
from softflow.formats.source import component_names, joined

SIMULATOR_STATE = "states"
SIMULATOR_NAME = "simulator"
ANNOTATIONS = "datagen_info"
"""A group of observations in which mimic tools keep what no robot sees: poses, subtask signals."""
LEAVE_OUT = "leave this demonstration out with a filter key, or repair the file"


class Observations:
    """How the observations of every demonstration are read, decided by the first one.

    Cameras are told by their numbers and sizes, whatever they are called. Groups in `obs` are gone
    through: "policy/joint_pos" is an observation too.

    Args:
        first: the group of a demonstration.
        record: what softflow wrote about the file, if it did.
        state_keys, cameras, image_size: as in `RobomimicSource`.

    Raises:
        DataError: something asked for is not there; names what is.
    """

    def __init__(
        self,
        first: h5py.Group,
        record: FileRecord | None,
        state_keys: Sequence[str],
        cameras: Sequence[str] | None,
        image_size: Size | None = None,
    ) -> None:
        self._size = image_size
        group = member_group(first, "obs", LEAVE_OUT) if has(first, "obs") else None
        observed = [leaf.path for leaf in leaves(group)] if group is not None else []
        images = [key for key in observed if _is_pictures(first, key)]
        if record:
            images = [camera_observation(key) for key in record.spec.image_keys]
        self._cameras = _chosen_cameras(images, observed, cameras, first)
        if record and not state_keys:
            self._states = {key: tuple(parts) for key, parts in record.parts.items()}
        else:
            others = [key for key in observed if key not in images]
            self._states = self._chosen_states(first, others, tuple(state_keys))
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.names: dict[str, tuple[str, ...]] = {}
        self._describe(first, None if state_keys else record)

    def _chosen_states(
        self, first: h5py.Group, there: list[str], wanted: tuple[str, ...]
    ) -> dict[str, tuple[str, ...]]:
        """Key of the store -> observations; depth images and the like only if asked for."""
        if absent := [key for key in wanted if key not in there]:
            raise DataError(f"{place_of(first)} has no observation '{absent[0]}'; it has {there}")
        if twice := [key for key in wanted if wanted.count(key) > 1]:
            raise DataError(f"--state-keys names '{twice[0]}' twice; give each observation once")
        if wanted:
            return {STATE_KEY: wanted}
        if flat := tuple(key for key in there if _is_state(first, key)):
            return {STATE_KEY: flat}
        if self._cameras:
            return {}
        if not has(first, SIMULATOR_STATE):
            raise DataError(
                f"{place_of(first)}: neither 'obs' nor 'states'; extract observations first "
                "(robomimic's dataset_states_to_obs.py)"
            )
        return {STATE_KEY: ()}

    def _describe(self, first: h5py.Group, record: FileRecord | None) -> None:
        self.becomes: dict[str, str] = {}
        """Place in a demonstration of everything that is taken -> what it becomes."""
        for key in self._states:
            names: list[str] = []
            widths: list[tuple[str, int]] = []
            for name, place in self._places(key, "obs").items():
                widths.append((place, math.prod(_array(first, place).shape[1:])))
                names += component_names(name, widths[-1][1])
            self.becomes |= spans(widths, key)
            self.shapes[key], self.names[key] = (len(names),), tuple(names)
        if record:
            self.shapes |= {key: record.spec.observation_shapes[key] for key in self._states}
            self.names = {key: record.spec.names.get(key, ()) for key in self._states}
        self.names = {key: names for key, names in self.names.items() if names}
        for key, camera in self._cameras.items():
            height, width, _ = frame_shape(_frames(first, f"obs/{camera}"))
            self.shapes[key] = (*(self._size or (height, width)), 3)
            self.becomes[f"obs/{camera}"] = key

    def why_not(self, leaf: Leaf) -> str:
        """Why an array of a demonstration is left out, and how to take it."""
        place, _, name = leaf.path.partition("/")
        if place == SIMULATOR_STATE or leaf.path.startswith("initial_state"):
            return "the simulator's state, which no robot sees"
        if place != "obs" or leaf.dataset is None:
            return "nothing of the kind is stored"
        if leaf.dataset.dtype.kind not in "biuf":
            return "neither numbers nor pictures"
        if ANNOTATIONS in name.split("/"):
            return f"what an annotator knows, no robot: --state-keys {name} … takes it all the same"
        if is_camera(leaf.dataset) or _is_coloured_shape(leaf.shape):
            return f"--cameras {name} … takes it"
        if len(leaf.shape) > 2:
            return (
                "more than a vector a step; depth is not kept (--state-keys takes all its numbers)"
            )
        return f"--state-keys {name} … takes it"

    def _places(self, key: str, part: str) -> dict[str, str]:
        """Name of each array that makes up a state key -> where it lies in a demonstration."""
        if not self._states[key]:
            return {SIMULATOR_NAME: SIMULATOR_STATE}
        return {name: f"{part}/{name}" for name in self._states[key]}

    def has_next(self, group: h5py.Group) -> bool:
        """Whether the final observation of a demonstration was recorded."""
        return has(group, "next_obs") and (bool(self._cameras) or any(self._states.values()))

    def arrays(self, group: h5py.Group) -> dict[str, h5py.Dataset]:
        """Every array that `read` reads, by its place.

        Raises:
            DataError: one of them is missing.
        """
        parts = ("obs", "next_obs") if self.has_next(group) else ("obs",)
        states = [
            place
            for part in parts
            for key in self._states
            for place in self._places(key, part).values()
        ]
        pictures = [f"{part}/{camera}" for part in parts for camera in self._cameras.values()]
        found = {place: _array(group, place) for place in states}
        return found | {place: _frames(group, place) for place in pictures}

    def read(self, group: h5py.Group, faults: Faults) -> dict[str, np.ndarray]:
        """key -> [T+1, ...]; the final one is next_obs', or the last one again.

        What is missing, of another width, or holds what no pixel can be, is left out and a fault.
        """
        final = "next_obs" if self.has_next(group) else "obs"
        result: dict[str, np.ndarray] = {}
        for key in self._states:
            with faults.of_a_part():
                last = self._state(group, key, final, slice(-1, None))
                result[key] = np.concatenate([self._state(group, key, "obs"), last])
        for key, camera in self._cameras.items():
            with faults.of_a_part():
                # Frames are large: they are read to where they stay, the final one included.
                both = frames_of(_frames(group, f"obs/{camera}"), self._size, extra=1)
                last = _frames(group, f"{final}/{camera}")
                both[-1:] = self._last_frame(last, both.shape[1:])
                result[key] = both
        return result

    def _last_frame(self, frames: h5py.Dataset, shape: tuple[int, ...]) -> np.ndarray:
        """[1, H, W, 3]; a DataError if it is of another size than those before."""
        last = frames_of(frames, self._size, slice(-1, None))
        if last.shape[1:] != shape:
            raise DataError(
                f"{place_of(frames)} has frames of {last.shape[1:]}, 'obs' of {shape}; {LEAVE_OUT}"
            )
        return last

    def _state(
        self, group: h5py.Group, key: str, part: str, rows: slice = slice(None)
    ) -> np.ndarray:
        """float32 [rows, ...]."""
        places = self._places(key, part)
        values, _ = joined(
            {name: values_of(_array(group, place), rows) for name, place in places.items()}
        )
        shape = self.shapes[key]
        if values.shape[1] != math.prod(shape):
            raise DataError(
                f"{place_of(group)}/{part}: '{key}' has {values.shape[1]} components, "
                f"{math.prod(shape)} in the first demonstration; {LEAVE_OUT}"
            )
        return values.reshape(len(values), *shape)


def _chosen_cameras(
    there: list[str], observed: list[str], wanted: Sequence[str] | None, first: h5py.Group
) -> dict[str, str]:
    """Key of the store -> observation; one of three channels may be named, whatever its numbers."""
    coloured = [key for key in observed if key in there or _is_coloured(first, key)]
    if absent := [key for key in wanted or () if key not in coloured]:
        raise DataError(f"{place_of(first)} has no camera '{absent[0]}'; it has {there or 'none'}")
    chosen = there if wanted is None else wanted
    names = [_camera_name(key) for key in chosen]
    return {
        # Two that differ in what is cut off keep all of it.
        IMAGE_PREFIX + (name if names.count(name) == 1 else key.replace("/", "_")): key
        for key, name in zip(chosen, names, strict=True)
    }


def _camera_name(key: str) -> str:
    """front for front_image; policy_table_cam for policy/table_cam."""
    return key.replace("/", "_").removesuffix(IMAGE_SUFFIX)


def _is_pictures(first: h5py.Group, key: str) -> bool:
    """By what it holds; robomimic's own name for cameras vouches for fractions, too."""
    array = member_dataset(first, f"obs/{key}")
    if array is None or is_camera(array):
        return array is not None
    return key.endswith(IMAGE_SUFFIX) and array.ndim == 4 and array.dtype.kind in "uif"


def _is_coloured(first: h5py.Group, key: str) -> bool:
    array = member_dataset(first, f"obs/{key}")
    return array is not None and _is_coloured_shape(array.shape)


def _is_coloured_shape(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and 3 in (shape[1], shape[3])


def _is_state(first: h5py.Group, key: str) -> bool:
    """A number or a vector a step, and none of those that only an annotator saw."""
    array = member_dataset(first, f"obs/{key}")
    numbers = array is not None and array.dtype.kind in "biuf" and array.ndim in (1, 2)
    return numbers and ANNOTATIONS not in key.split("/")


def _frames(group: h5py.Group, name: str) -> h5py.Dataset:
    """An array of frames, or of pictures, which are no numbers over time."""
    array = member_dataset(group, name)
    return array if array is not None and is_camera(array) else _array(group, name)


def _array(group: h5py.Group, name: str) -> h5py.Dataset:
    fix = f"every demonstration needs what the first one has: {LEAVE_OUT}"
    return member_array(group, name, fix)
