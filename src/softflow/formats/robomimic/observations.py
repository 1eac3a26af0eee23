"""Which observations of a RoboMimic file make up which key of a store, and their arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence

import h5py
import numpy as np

from softflow.data.data_spec import IMAGE_PREFIX, STATE_KEY
from softflow.errors import DataError
from softflow.formats.frames import rgb_frames, rgb_shape
from softflow.formats.hdf5 import (
    has,
    member_array,
    member_group,
    place_of,
    require_stored,
    values_of,
)
from softflow.formats.robomimic.record import IMAGE_SUFFIX, FileRecord, camera_observation
from softflow.formats.source import component_names, joined

SIMULATOR_STATE = "states"
SIMULATOR_NAME = "simulator"
LEAVE_OUT = "leave this demonstration out with a filter key, or repair the file"


class Observations:
    """How the observations of every demonstration are read, decided by the first one.

    Args:
        first: the group of a demonstration.
        record: what softflow wrote about the file, if it did.
        state_keys, cameras: as in `RobomimicSource`.

    Raises:
        DataError: something asked for is not there; names what is.
    """

    def __init__(
        self,
        first: h5py.Group,
        record: FileRecord | None,
        state_keys: Sequence[str],
        cameras: Sequence[str] | None,
    ) -> None:
        observed = sorted(member_group(first, "obs", LEAVE_OUT)) if has(first, "obs") else []
        images = [key for key in observed if key.endswith(IMAGE_SUFFIX)]
        if record:
            images = [camera_observation(key) for key in record.spec.image_keys]
        self._cameras = _chosen_cameras(images, cameras, first)
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
        if flat := tuple(key for key in there if _array(first, f"obs/{key}").ndim <= 2):
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
        for key in self._states:
            names: list[str] = []
            for name, place in self._places(key, "obs").items():
                names += component_names(name, math.prod(_array(first, place).shape[1:]))
            self.shapes[key], self.names[key] = (len(names),), tuple(names)
        if record:
            self.shapes |= {key: record.spec.observation_shapes[key] for key in self._states}
            self.names = {key: record.spec.names.get(key, ()) for key in self._states}
        self.names = {key: names for key, names in self.names.items() if names}
        for key, camera in self._cameras.items():
            frames = _array(first, f"obs/{camera}")
            self.shapes[key] = rgb_shape(frames.shape, place_of(frames))

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
        places = [
            place
            for part in (("obs", "next_obs") if self.has_next(group) else ("obs",))
            for place in (
                *(place for key in self._states for place in self._places(key, part).values()),
                *(f"{part}/{camera}" for camera in self._cameras.values()),
            )
        ]
        return {place: _array(group, place) for place in places}

    def read(self, group: h5py.Group) -> dict[str, np.ndarray]:
        """key -> [T+1, ...]; the final one is next_obs', or the last one again.

        Raises:
            DataError: an array is missing, of another width, or holds what no pixel can be.
        """
        final = "next_obs" if self.has_next(group) else "obs"
        result: dict[str, np.ndarray] = {}
        for key in self._states:
            values = [
                self._state(group, key, "obs"),
                self._state(group, key, final, slice(-1, None)),
            ]
            result[key] = np.concatenate(values)
        for key, camera in self._cameras.items():
            frames = _array(group, f"obs/{camera}")
            require_stored(frames)
            # Frames are large: they are read to where they stay, the final one included.
            both = np.empty((len(frames) + 1, *frames.shape[1:]), frames.dtype)
            frames.read_direct(both, dest_sel=np.s_[:-1])
            both[-1:] = _last_frame(_array(group, f"{final}/{camera}"), both.shape[1:])
            result[key] = rgb_frames(both, place_of(frames))
        return result

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
    there: list[str], wanted: Sequence[str] | None, first: h5py.Group
) -> dict[str, str]:
    """Key of the store -> observation."""
    if absent := [key for key in wanted or () if key not in there]:
        raise DataError(f"{place_of(first)} has no camera '{absent[0]}'; it has {there or 'none'}")
    chosen = there if wanted is None else wanted
    return {IMAGE_PREFIX + name.removesuffix(IMAGE_SUFFIX): name for name in chosen}


def _last_frame(frames: h5py.Dataset, shape: tuple[int, ...]) -> np.ndarray:
    """[1, ...]; a DataError if it is of another size than those before."""
    if frames.shape[1:] != shape:
        raise DataError(
            f"{place_of(frames)} has frames of {frames.shape[1:]}, 'obs' of {shape}; {LEAVE_OUT}"
        )
    return values_of(frames, slice(-1, None))


def _array(group: h5py.Group, name: str) -> h5py.Dataset:
    fix = f"every demonstration needs what the first one has: {LEAVE_OUT}"
    return member_array(group, name, fix)
