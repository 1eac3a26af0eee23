"""RoboMimic and robosuite HDF5, in: low-dimensional and image datasets of versions 0.1 to 1.5.

data                    attributes: env_args (robomimic), env and env_info (robosuite), total
data/demo_7             attributes: num_samples, model_file
data/demo_7/actions     [T, A];  rewards, dones [T] (robomimic);  states [T, n] (simulator)
data/demo_7/obs/KEY     [T, ...];  next_obs/KEY [T, ...]
mask/NAME               names of the demonstrations that belong to a filter key
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.errors import DataError
from softflow.formats.contents import Part, spans
from softflow.formats.documents import converted
from softflow.formats.faults import Faults, require_valid
from softflow.formats.hdf5.files import (
    as_text,
    attribute,
    has,
    json_object,
    member,
    member_array,
    member_dataset,
    member_group,
    opened,
    place_of,
    require_room,
    require_stored,
    usable,
    values_of,
)
from softflow.formats.hdf5.frames import Size
from softflow.formats.hdf5.tree import Tally, leaves
from softflow.formats.outcome import episode_of, range_of_actions
from softflow.formats.rates import control_rate
from softflow.formats.robomimic.observations import LEAVE_OUT, Observations
from softflow.formats.robomimic.outcomes import ROBOSUITE_TYPE, Outcomes
from softflow.formats.robomimic.record import (
    ATTRIBUTE,
    FOREIGN,
    EpisodeDocument,
    FileRecord,
    foreign_attributes,
)
from softflow.formats.robomimic.recorded_environment import RecordedEnvironment
from softflow.formats.source import one_a_step, require_equal_lengths

ROBOSUITE_HZ = 20.0
"""robosuite's own default, for files that do not say."""
ROBOSUITE_BOUND = 1.0
"""Its controllers take -1 to 1."""
EVERY = f"every demonstration needs it: {LEAVE_OUT}"
SUCCESS_ATTRIBUTE = "success"
"""Of a demonstration, in IsaacLab's files."""


class RobomimicSource:
    """The demonstrations of one file, or those of a filter key.

    Files that softflow exported come back as they were in the store. In others `outcomes` says
    which episodes are successes.

    Args:
        path: the HDF5 file.
        filter_key: a name in its `mask` group; None takes all demonstrations.
        state_keys: observations that make up `observation.state`, in this order; all
            low-dimensional ones when empty. Files without observations (robosuite's own) give the
            simulator's state.
        cameras: image observations to take, such as "agentview_image"; all when None.
        action_key: arrays that are the action, side by side.
        control_hz: control steps a second; None takes what the file says.
        end_at_success: cut an episode behind its first success and terminate it there, instead of
            keeping the steps until the recording was stopped.
        image_size: (height, width) that cameras are brought to as they are read; None leaves them.

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
        action_key: Sequence[str] = ("actions",),
        control_hz: float | None = None,
        end_at_success: bool = True,
        image_size: Size | None = None,
    ) -> None:
        self.path, self._end_at_success = path, end_at_success
        self._action_key = tuple(action_key)
        with opened(path) as file:
            data = member_group(file, "data", "is it a robomimic or robosuite file?")
            self._record = FileRecord.read(data)
            added = self._record.added if self._record else ()
            self._attributes = foreign_attributes(data, leave_out=added)
            self._masks = self._read_masks(file)
            self._names = self._demonstrations(data, filter_key)
            self._observations = next(
                usable(
                    self._names,
                    lambda name: Observations(
                        self._demonstration(file, name),
                        self._record,
                        state_keys,
                        cameras,
                        image_size,
                    ),
                )
            )
            environment = self._environment(data)
            named = as_text(attribute(data, "env")) if "env" in data.attrs else ""
            self.environment = RecordedEnvironment.from_settings(environment, named)
            """Where it was recorded, as far as the file tells."""
            rate = self._control_rate(environment, named, control_hz)
            rewards = usable(self._names, lambda name: self._rewards_of(file, name))
            self._outcomes = Outcomes.of_file(rewards, environment.get("type"))
            actions = usable(self._names, lambda name: self._actions_of(file, name))
            self.spec = self._spec(*range_of_actions(actions, ROBOSUITE_BOUND), rate)

    def episodes(self) -> list[str]:
        """demo_0, demo_1, … in the order of their numbers."""
        return list(self._names)

    def read(self, name: str) -> Episode:
        """A demonstration; its rewards are the file's, or none where the file has none.

        Raises:
            DataError: something is missing, of another length, or NaN; names the place.
        """
        where = f"{self.path}, {name}"
        with opened(self.path) as file:
            group = self._demonstration(file, name)
            arrays = self._arrays(group)
            require_room(arrays.values(), where)
            if require_equal_lengths(self._lengths(group, arrays), where) == 0:
                raise DataError(f"{where} has 0 steps; {LEAVE_OUT}")
            if ATTRIBUTE in group.attrs:
                episode = self._as_it_was(group, name)
            else:
                episode = self._recorded(group, name)
        require_valid(episode, self.spec, where)
        return episode

    def contents(self) -> list[Part]:
        """Every array of the file, those of all demonstrations by one name."""
        observations = self._observations
        tally, beside = Tally(observations.why_not), Tally(lambda _: "it is no demonstration")
        with opened(self.path) as file:
            for name in self._names:
                tally.see(leaves(self._demonstration(file, name)))
            beside.see(leaves(file, leave_out=("data",)))
            first = self._demonstration(file, self._names[0])
            widths = [(key, self._array(first, key).shape[-1]) for key in self._action_key]
            becomes = spans(widths, "action") | observations.becomes
            becomes |= {f"next_{place}": "the final observation" for place in observations.becomes}
            becomes["rewards"] = "next.reward"
            if self._outcomes.by_reward:
                becomes |= {"rewards": "next.reward, success", "dones": "success without a reward"}
            masks = {f"mask/{key}": "metadata filter_keys" for key in self._masks}
            return [
                *tally.parts(becomes, "data/*/"),
                *beside.parts(masks),
            ]

    def _recorded(self, group: h5py.Group, name: str) -> Episode:
        success = self._success(group)
        return episode_of(
            self._observed(group),
            self._actions(group),
            self._rewards(group),
            success,
            terminated=success is not None and bool(success.any()),
            metadata=self._metadata(group, name),
            end_at_success=self._end_at_success,
        )

    def _observed(self, group: h5py.Group) -> dict[str, np.ndarray]:
        """key -> [T+1, ...].

        Raises:
            DataError: everything that is wrong with them.
        """
        faults = Faults()
        observations = self._observations.read(group, faults)
        faults.raise_any()
        return observations

    def _success(self, group: h5py.Group) -> np.ndarray | None:
        """bool [T], or None where the file does not say."""
        said = attribute(group, SUCCESS_ATTRIBUTE) if SUCCESS_ATTRIBUTE in group.attrs else None
        rewards = self._rewards(group) if has(group, "rewards") else None
        dones = self._one_a_step(group, "dones") if has(group, "dones") else None
        return self._outcomes.success(int(self._count(group)), said, rewards, dones)

    def _as_it_was(self, group: h5py.Group, name: str) -> Episode:
        """An episode that softflow exported."""
        where = (
            f"{place_of(group)}: attribute '{ATTRIBUTE}' (delete it to import the demonstration as "
            "any other)"
        )
        said = converted(json_object(group, ATTRIBUTE), EpisodeDocument, where)
        metadata = said.metadata
        if FOREIGN in metadata:
            kept = converted(metadata[FOREIGN], dict[str, Any], f"{where}: '{FOREIGN}'")
            metadata[FOREIGN] = self._metadata(group, name)[FOREIGN] | kept
        return Episode(
            self._observed(group),
            self._actions(group).astype(np.float32),
            self._rewards(group),
            terminated=said.terminated,
            truncated=said.truncated,
            success=said.success,
            metadata=metadata,
        )

    def _metadata(self, group: h5py.Group, name: str) -> dict[str, Any]:
        metadata: dict[str, Any] = {"source": str(self.path)}
        if self.environment.name:
            metadata["environment"] = self.environment.name
        if keys := [key for key, names in self._masks.items() if name in names]:
            metadata["filter_keys"] = keys
        if not self._observations.has_next(group):
            metadata["final_observation"] = "repeated"
        metadata[FOREIGN] = {"data": self._attributes, "demo": foreign_attributes(group)}
        return metadata

    # ---- what the file holds ----------------------------------------------------------------

    def _read_masks(self, file: h5py.File) -> dict[str, set[str]]:
        if not has(file, "mask"):
            return {}
        masks = member_group(file, "mask", "rewrite the filter keys")
        found = {key: member_dataset(masks, key) for key in sorted(masks)}
        return {
            key: _texts(mask) for key, mask in found.items() if mask is not None and mask.ndim == 1
        }

    def _demonstrations(self, data: h5py.Group, filter_key: str | None) -> list[str]:
        names = [name for name in map(str, data) if isinstance(member(data, name), h5py.Group)]
        names.sort(key=_number)
        if filter_key is not None:
            if filter_key not in self._masks:
                raise DataError(
                    f"{self.path} has no filter key '{filter_key}'; it has "
                    f"{sorted(self._masks) or 'none'}"
                )
            wanted = self._masks[filter_key]
            if absent := sorted(wanted - set(names), key=_number):
                raise DataError(
                    f"{self.path}: mask '{filter_key}' names {absent[0]}, which 'data' has not "
                    f"({len(absent)} such names); the file was cut, take another filter key"
                )
            names = [name for name in names if name in wanted]
        if not names:
            which = f"filter key '{filter_key}'" if filter_key else "its group 'data'"
            raise DataError(f"{self.path}: {which} holds no demonstrations; choose another")
        return names

    # ---- the spec ---------------------------------------------------------------------------

    def _spec(self, low: np.ndarray, high: np.ndarray, control_hz: float) -> DataSpec:
        shapes, names = self._observations.shapes, dict(self._observations.names)
        if not self._record:
            return DataSpec(shapes, len(low), tuple(low), tuple(high), control_hz, names=names)
        theirs = self._record.spec
        if "action" in theirs.names:
            names["action"] = theirs.names["action"]
        return replace(theirs, observation_shapes=shapes, control_hz=control_hz, names=names)

    def _environment(self, data: h5py.Group) -> dict[str, Any]:
        """Its name, type and arguments; robomimic and robosuite store them differently."""
        if "env_args" in data.attrs:
            return json_object(data, "env_args")
        if "env_info" in data.attrs:
            return {"env_kwargs": json_object(data, "env_info")}
        return {}

    def _control_rate(self, environment: dict[str, Any], named: str, given: float | None) -> float:
        if given is not None:
            return given
        if self._record:
            return self._record.spec.control_hz
        settings = environment.get("env_kwargs")
        rate = settings.get("control_freq") if isinstance(settings, dict) else None
        if isinstance(rate, int | float):
            return float(rate)
        if named or environment.get("type") == ROBOSUITE_TYPE:
            return ROBOSUITE_HZ
        return control_rate(None, self.environment.name, str(self.path))

    # ---- arrays -----------------------------------------------------------------------------

    def _arrays(self, group: h5py.Group) -> dict[str, h5py.Dataset]:
        """Every array of a demonstration that is read, by its place."""
        own = [*self._action_key, *(key for key in ("rewards", "dones") if has(group, key))]
        arrays = {key: member_array(group, key, EVERY) for key in own}
        return arrays | self._observations.arrays(group)

    def _lengths(self, group: h5py.Group, arrays: dict[str, h5py.Dataset]) -> dict[str, int]:
        """Steps of everything a demonstration has, as its arrays and its attribute tell them."""
        lengths = {place: len(array) for place, array in arrays.items()}
        if "num_samples" in group.attrs:
            lengths["num_samples"] = int(attribute(group, "num_samples"))
        return lengths

    def _rewards(self, group: h5py.Group) -> np.ndarray:
        """float32 [T]."""
        if not has(group, "rewards"):
            return np.zeros(self._count(group), np.float32)
        return self._one_a_step(group, "rewards").astype(np.float32)

    def _rewards_of(self, file: h5py.File, name: str) -> np.ndarray:
        """[T], empty where a demonstration has none."""
        group = self._demonstration(file, name)
        return self._rewards(group) if has(group, "rewards") else np.zeros(0, np.float32)

    def _count(self, group: h5py.Group) -> int:
        return len(member_array(group, self._action_key[0], EVERY))

    def _actions(self, group: h5py.Group) -> np.ndarray:
        """[T, A]."""
        found = [self._array(group, key) for key in self._action_key]
        return found[0] if len(found) == 1 else np.concatenate(found, axis=1)

    def _one_a_step(self, group: h5py.Group, name: str) -> np.ndarray:
        return one_a_step(self._array(group, name), f"{place_of(group)}/{name}")

    def _array(self, group: h5py.Group, name: str) -> np.ndarray:
        return values_of(member_array(group, name, EVERY))

    def _actions_of(self, file: h5py.File, name: str) -> tuple[str, np.ndarray]:
        return f"{self.path}, {name}", self._actions(self._demonstration(file, name))

    def _demonstration(self, file: h5py.File, name: str) -> h5py.Group:
        return member_group(file, f"data/{name}", LEAVE_OUT)


def _texts(mask: h5py.Dataset) -> set[str]:
    """One after the other: they are stored as what may be many times the same."""
    if mask.dtype.kind not in "SO":
        return set()
    require_stored(mask)
    require_room([mask], place_of(mask))
    return {as_text(mask[row]) for row in range(len(mask))}


def _number(name: str) -> tuple[int, str]:
    """demo_2 comes before demo_10."""
    digits = re.findall(r"\d+", name)
    return (int(digits[-1]) if digits else -1), name
