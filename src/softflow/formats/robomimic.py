"""RoboMimic and robosuite HDF5, in: low-dimensional and image datasets of versions 0.1 to 1.5.

data                    attributes: env_args or env_info (JSON), env, total
data/demo_7             attributes: num_samples, model_file
data/demo_7/actions     [T, A];  rewards, dones [T] (robomimic);  states [T, n] (simulator)
data/demo_7/obs/KEY     [T, ...];  next_obs/KEY [T, ...]
mask/NAME               names of the demonstrations that belong to a filter key
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

from softflow.data.batch import IMAGE_PREFIX, DataSpec, Episode
from softflow.errors import DataError
from softflow.formats.source import joined, repeated_last, require_equal_lengths

STATE_KEY = "observation.state"
IMAGE_SUFFIX = "_image"
SIMULATOR_STATE = "states"
DEFAULT_CONTROL_HZ = 20.0
"""robosuite's own default, for files that do not say."""


class RobomimicSource:
    """The demonstrations of one file, or those of a filter key.

    Args:
        path: the HDF5 file.
        filter_key: a name in its `mask` group; None takes all demonstrations.
        state_keys: observations that make up `observation.state`, in this order; all
            low-dimensional ones when empty. Files without observations (robosuite's own) give the
            simulator's state.
        cameras: image observations to take, such as "agentview_image"; all when None.
        end_at_success: cut an episode behind its first reward of at least 1 and terminate it
            there, instead of keeping the steps until the recording was stopped.

    Raises:
        DataError: not such a file, damaged, or without what was asked for; names what there is.
    """

    def __init__(
        self,
        path: Path,
        *,
        filter_key: str | None = None,
        state_keys: Sequence[str] = (),
        cameras: Sequence[str] | None = None,
        end_at_success: bool = True,
    ) -> None:
        self.path, self._end_at_success = path, end_at_success
        with self._opened() as file:
            self._names = self._demonstrations(file, filter_key)
            first = self._group(file, self._names[0])
            self._state_keys = self._chosen_states(first, tuple(state_keys))
            self._cameras = self._chosen_cameras(first, cameras)
            self.spec = self._spec(file)

    def episodes(self) -> list[str]:
        """demo_0, demo_1, … in the order of their numbers."""
        return list(self._names)

    def read(self, name: str) -> Episode:
        """A demonstration; its rewards are the file's, or none where the file has none."""
        with self._opened() as file:
            group = self._group(file, name)
            where = f"{self.path}, {name}"
            actions = np.asarray(self._dataset(group, "actions"), np.float32)
            lengths = {"actions": len(actions)}
            observations = self._observations(group, lengths)
            rewards = np.zeros(len(actions), np.float32)
            if "rewards" in group:
                rewards = np.asarray(self._dataset(group, "rewards"), np.float32)
                lengths["rewards"] = len(rewards)
            require_equal_lengths(lengths, where)
            metadata: dict[str, Any] = {"source": str(self.path), "operator": "human"}
            if "rewards" not in group:
                metadata["unlabelled"] = True
        return self._episode(observations, actions, rewards, metadata)

    def _episode(
        self,
        observations: dict[str, np.ndarray],
        actions: np.ndarray,
        rewards: np.ndarray,
        metadata: dict[str, Any],
    ) -> Episode:
        reached = np.flatnonzero(rewards >= 1)
        success = len(reached) > 0
        length = int(reached[0]) + 1 if success and self._end_at_success else len(actions)
        return Episode(
            {key: value[: length + 1] for key, value in observations.items()},
            actions[:length],
            rewards[:length],
            terminated=success,
            truncated=not success,
            success=success,
            metadata=metadata,
        )

    # ---- what the file holds ----------------------------------------------------------------

    def _demonstrations(self, file: h5py.File, filter_key: str | None) -> list[str]:
        if "data" not in file:
            raise DataError(
                f"{self.path} has no group 'data' (it has {sorted(file)}); is it a robomimic or "
                "robosuite file?"
            )
        names = sorted(cast("h5py.Group", file["data"]), key=_number)
        if filter_key is not None:
            masks = sorted(cast("h5py.Group", file["mask"])) if "mask" in file else []
            if filter_key not in masks:
                raise DataError(
                    f"{self.path} has no filter key '{filter_key}'; it has {masks or 'none'}"
                )
            chosen = np.asarray(cast("h5py.Dataset", file[f"mask/{filter_key}"]))
            wanted = {name.decode() if isinstance(name, bytes) else str(name) for name in chosen}
            if absent := sorted(wanted - set(names), key=_number):
                raise DataError(
                    f"{self.path}: mask '{filter_key}' names {absent[0]}, which 'data' has not "
                    f"({len(absent)} such names); the file was cut, take another filter key"
                )
            names = [name for name in names if name in wanted]
        if not names:
            raise DataError(f"{self.path} holds no demonstrations; choose another file or filter")
        return names

    def _chosen_states(self, first: h5py.Group, wanted: tuple[str, ...]) -> tuple[str, ...]:
        there = [key for key in self._observed(first) if not key.endswith(IMAGE_SUFFIX)]
        if not there and not wanted:
            if SIMULATOR_STATE in first:
                return ()
            raise DataError(
                f"{self.path}, {first.name}: neither 'obs' nor 'states'; extract observations "
                "first (robomimic's dataset_states_to_obs.py)"
            )
        if absent := [key for key in wanted if key not in there]:
            raise DataError(f"{self.path} has no observation '{absent[0]}'; it has {there}")
        return wanted or tuple(there)

    def _chosen_cameras(self, first: h5py.Group, wanted: Sequence[str] | None) -> tuple[str, ...]:
        there = [key for key in self._observed(first) if key.endswith(IMAGE_SUFFIX)]
        if absent := [key for key in wanted or () if key not in there]:
            raise DataError(f"{self.path} has no camera '{absent[0]}'; it has {there or 'none'}")
        return tuple(there if wanted is None else wanted)

    def _observed(self, group: h5py.Group) -> list[str]:
        return sorted(cast("h5py.Group", group["obs"])) if "obs" in group else []

    def _spec(self, file: h5py.File) -> DataSpec:
        first = self._group(file, self._names[0])
        observations = self._observations(first, {})
        _, names = joined(self._states(first, "obs"))
        low, high = self._action_range(file)
        kwargs = self._environment(file)
        return DataSpec(
            {key: value.shape[1:] for key, value in observations.items()},
            len(low),
            tuple(low),
            tuple(high),
            float(kwargs.get("control_freq", DEFAULT_CONTROL_HZ)),
            names={STATE_KEY: names},
        )

    def _environment(self, file: h5py.File) -> dict[str, Any]:
        """Arguments of the environment; robomimic and robosuite store them differently."""
        attributes = file["data"].attrs
        text = attributes.get("env_args", attributes.get("env_info", "{}"))
        try:
            value = json.loads(text)
        except ValueError as error:
            raise DataError(
                f"{self.path}: the environment's arguments are not JSON ({error}); the file is "
                "damaged or of a version nobody knows"
            ) from error
        return value.get("env_kwargs", value)

    def _action_range(self, file: h5py.File) -> tuple[np.ndarray, np.ndarray]:
        """[-1, 1] as robosuite's controllers have it, wider where the data is wider."""
        low = high = np.zeros(0)
        for name in self._names:
            actions = np.asarray(self._dataset(self._group(file, name), "actions"), np.float32)
            if low.size == 0:
                low, high = -np.ones(actions.shape[1]), np.ones(actions.shape[1])
            low = np.minimum(low, np.nanmin(actions, axis=0))
            high = np.maximum(high, np.nanmax(actions, axis=0))
        return low, high

    # ---- arrays -----------------------------------------------------------------------------

    def _states(self, group: h5py.Group, part: str) -> dict[str, np.ndarray]:
        if not self._state_keys:
            return {"simulator": np.asarray(self._dataset(group, SIMULATOR_STATE))}
        return {key: np.asarray(self._dataset(group, f"{part}/{key}")) for key in self._state_keys}

    def _observations(self, group: h5py.Group, lengths: dict[str, int]) -> dict[str, np.ndarray]:
        """key -> [T+1, ...]; the final one is next_obs', or the last one again."""
        states = self._states(group, "obs")
        lengths |= {key: len(value) for key, value in states.items()}
        has_next = bool(self._state_keys) and "next_obs" in group
        state, _ = joined(states)
        final, _ = joined(self._states(group, "next_obs")) if has_next else (state, ())
        result = {STATE_KEY: np.concatenate([state, final[-1:]])}
        for camera in self._cameras:
            frames = np.asarray(self._dataset(group, f"obs/{camera}"))
            lengths[camera] = len(frames)
            if has_next and f"next_obs/{camera}" in group:
                final = np.asarray(self._dataset(group, f"next_obs/{camera}")[-1:])
                frames = np.concatenate([frames, final])
            else:
                frames = repeated_last(frames)
            result[IMAGE_PREFIX + camera.removesuffix(IMAGE_SUFFIX)] = frames
        return result

    @contextmanager
    def _opened(self) -> Iterator[h5py.File]:
        try:
            with h5py.File(self.path, "r") as file:
                yield file
        except OSError as error:
            raise DataError(
                f"cannot read {self.path}: {error}; copy the file again, it may have been cut "
                "while downloading"
            ) from error

    def _group(self, file: h5py.File, name: str) -> h5py.Group:
        return cast("h5py.Group", file[f"data/{name}"])

    def _dataset(self, group: h5py.Group, name: str) -> h5py.Dataset:
        if name not in group:
            raise DataError(
                f"{self.path}, {group.name}: no '{name}'; every demonstration needs what the first "
                "one has, leave this one out with a filter key"
            )
        return cast("h5py.Dataset", group[name])


def _number(name: str) -> tuple[int, str]:
    """demo_2 comes before demo_10."""
    digits = re.findall(r"\d+", name)
    return (int(digits[-1]) if digits else -1), name
