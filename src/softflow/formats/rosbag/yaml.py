"""The YAML file that maps a ROS recording to episodes.

    control_hz: 10
    observation.state:                       # joined in this order
      - {topic: /joint_states, field: position, names: [joint1, joint2]}
      - {topic: /ee_pose, field: pose.orientation}              # x, y, z, w; slerp by itself
      - {topic: /gripper, field: data, interpolate: nearest}
    observation.images.wrist: {topic: /camera/image_raw, crop: [0, 80, 480, 480], size: [84, 84]}
    action:
      - {topic: /joint_command, field: position, names: [joint1, joint2]}
    success: {topic: /operator, field: data, equals: success}

Every option is described in `rosbag_mapping`.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, get_args

import yaml

from softflow.data.data_spec import IMAGE_PREFIX, OBSERVATION_PREFIX
from softflow.errors import DataError
from softflow.formats.rosbag.bounds import MAX_ALIASES, require_plain_yaml
from softflow.formats.rosbag.mapping import (
    CameraMap,
    Clock,
    EpisodesMap,
    EventMap,
    OnGap,
    RosbagMapping,
    SignalMap,
)
from softflow.formats.rosbag.resampling import Interpolation
from softflow.utils.files import require_regular

WHOLE_BAG = "bag"


def load_mapping(path: Path) -> RosbagMapping:
    """The mapping in a YAML file; paths in it are relative to its folder.

    Raises:
        DataError: no such file, no YAML, or it says something unusable; names the place.
    """
    require_regular(path)
    try:
        text = path.read_text(encoding="utf-8")
        require_plain_yaml(text, str(path), aliases=MAX_ALIASES)
        value = yaml.load(text, Loader=_StrictLoader)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; give the mapping") from error
    # Dates that do not exist and keys that are lists are ValueError and TypeError.
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise DataError(f"{path} is no YAML: {error}"[:500]) from error
    return parse_mapping(value, str(path), path.parent)


def parse_mapping(value: Any, where: str = "mapping", folder: Path = Path()) -> RosbagMapping:
    """The mapping that a dictionary, with the keys of the YAML file, tells.

    Args:
        value: the dictionary.
        where: how messages name it.
        folder: what paths in it are relative to.

    Raises:
        DataError: it says something unusable; names the place in it and the fix.
    """
    return _Parser(where, folder).mapping(value)


class _StrictLoader(yaml.SafeLoader):
    """A key given twice is an error, instead of the last one counting."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise yaml.constructor.ConstructorError(
                None, None, f"'{twice[0]}' is given twice", node.start_mark
            )
        return super().construct_mapping(node, deep)


class _Parser:
    """Turns what YAML holds into a `RosbagMapping`; errors name the place in the file."""

    def __init__(self, where: str, folder: Path) -> None:
        self._where, self._folder = where, folder

    def mapping(self, value: Any) -> RosbagMapping:
        if not isinstance(value, Mapping):
            raise DataError(
                f"{self._where} holds {value!r}; give 'control_hz:', 'action:' and so on"
            )
        observed = {key: item for key, item in value.items() if _is_observation(key)}
        options = {key: item for key, item in value.items() if key not in observed}
        known = {item.name for item in fields(RosbagMapping)} - {"observations", "cameras"}
        self._require_known("the file", options, known)
        for key in ("control_hz", "action"):
            if key not in value:
                raise self._error(key, "is missing; it is needed")
        parsed = {key: self._option(key, item) for key, item in options.items()}
        cameras = {
            key: self._entry(CameraMap, item, key)
            for key, item in observed.items()
            if key.startswith(IMAGE_PREFIX)
        }
        states = {
            key: self._signals(item, key) for key, item in observed.items() if key not in cameras
        }
        if not observed:
            raise self._error("observation.state", "is missing; a policy needs an observation")
        self._check_names({**states, "action": parsed["action"]})
        return RosbagMapping(observations=states, cameras=cameras, **parsed)

    def _option(self, key: str, value: Any) -> Any:
        entries = {"reward": EventMap, "success": EventMap, "episodes": EpisodesMap}
        if key == "action":
            signals = self._signals(value, key)
            return tuple(replace(s, interpolate=s.interpolate or "previous") for s in signals)
        if key == "episodes" and value == WHOLE_BAG:
            return None
        if key in entries:
            return None if value is None else self._entry(entries[key], value, key)
        return self._value(key, value, key)

    def _signals(self, value: Any, place: str) -> tuple[SignalMap, ...]:
        entries = [value] if isinstance(value, Mapping) else value
        if not isinstance(entries, list) or not entries:
            raise self._error(place, f"is {value!r}; give a list of {{topic: …, field: …}}")
        return tuple(self._entry(SignalMap, e, f"{place}[{i}]") for i, e in enumerate(entries))

    def _entry(self, kind: type[Any], value: Any, place: str) -> Any:
        """A `SignalMap`, `CameraMap`, `EventMap` or `EpisodesMap`."""
        if not isinstance(value, Mapping):
            raise self._error(place, f"is {value!r}; give {{topic: …}}")
        self._require_known(place, value, {item.name for item in fields(kind)})
        for item in fields(kind):
            if item.default is MISSING and item.name not in value:
                raise self._error(place, f"has no '{item.name}'; it is needed")
        return kind(**{k: self._value(k, v, f"{place}.{k}") for k, v in value.items()})

    def _value(self, key: str, value: Any, place: str) -> Any:
        """A value, checked and converted by what its option means."""
        if key in ("topic", "field", "name"):
            return self._checked(place, value, isinstance(value, str) and value, "a text")
        if key in ("equals", "start", "stop"):
            return self._checked(
                place, value, isinstance(value, bool | int | float | str), "a value"
            )
        if key in ("names", "message_definitions"):
            return self._texts(key, value, place)
        if key in _CHOICES:
            return self._checked(place, value, value in _CHOICES[key], " or ".join(_CHOICES[key]))
        if key == "end_at_success":
            return self._checked(place, value, isinstance(value, bool), "true or false")
        if key in _COUNTS or key in ("action_low", "action_high"):
            return self._numbers(key, value, place)
        if key == "max_gap_s" and value is None:
            return None if place == key else math.inf
        valid = _is_number(value) and (key == "latency_s" or value > 0)
        return float(self._checked(place, value, valid, "a number above 0"))

    def _texts(self, key: str, value: Any, place: str) -> tuple[Any, ...]:
        valid = isinstance(value, list) and all(isinstance(item, str) for item in value)
        self._checked(place, value, valid, "a list of texts")
        if twice := [item for item in value if value.count(item) > 1]:
            raise self._error(place, f"has '{twice[0]}' twice")
        return tuple(self._folder / item for item in value) if key != "names" else tuple(value)

    def _numbers(self, key: str, value: Any, place: str) -> tuple[float, ...]:
        whole, count = key in _COUNTS, _COUNTS.get(key)
        valid = isinstance(value, list) and all(_is_number(item) for item in value)
        if valid and whole:
            sizes = value[-2:]
            valid = len(value) == count and all(isinstance(item, int) for item in value)
            valid = valid and min(value) >= 0 and min(sizes) > 0
        told = f"a list of {count} whole numbers" if whole else "a list of numbers"
        self._checked(place, value, valid, told)
        return tuple(value) if whole else tuple(float(item) for item in value)

    def _check_names(self, groups: Mapping[str, Sequence[SignalMap]]) -> None:
        """A signal listed twice under a key is a slip: nobody could tell its components apart."""
        for key, signals in groups.items():
            for i, signal in enumerate(signals):
                for other in signals[:i]:
                    same = (signal.topic, signal.field) == (other.topic, other.field)
                    if same and (set(signal.names) & set(other.names) or not signal.names):
                        raise self._error(
                            f"{key}[{i}]", f"takes {signal.topic} {signal.field} again"
                        )

    def _require_known(self, place: str, value: Mapping[Any, Any], known: set[str]) -> None:
        if unknown := [key for key in value if key not in known]:
            choices = ", ".join(sorted(known))
            hint = ", observation.…" if place == "the file" else ""
            raise self._error(place, f"has '{unknown[0]}', which is no option; use {choices}{hint}")

    def _checked(self, place: str, value: Any, valid: Any, expected: str) -> Any:
        if not valid:
            raise self._error(place, f"is {value!r}; give {expected}")
        return value

    def _error(self, place: str, what: str) -> DataError:
        return DataError(f"{self._where}: {place} {what}")


_CHOICES: dict[str, tuple[str, ...]] = {
    "interpolate": get_args(Interpolation),
    "clock": get_args(Clock),
    "on_gap": get_args(OnGap),
}
_COUNTS = {"size": 2, "crop": 4}


def _is_observation(key: Any) -> bool:
    return isinstance(key, str) and key.startswith(OBSERVATION_PREFIX)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
