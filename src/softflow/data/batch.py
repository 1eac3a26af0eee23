"""What one store holds (`DataSpec`) and one recorded episode (`Episode`). numpy only."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from softflow.errors import DataError

OBSERVATION_PREFIX = "observation."
STATE_KEY = "observation.state"
IMAGE_PREFIX = "observation.images."
ACTION_TOLERANCE = 1e-4
"""How far an action may lie outside the action space (env units): float32 rounding, no more."""


def is_image_key(key: str) -> bool:
    """True for `observation.images.<camera>`: uint8 frames `[height, width, 3]`."""
    return key.startswith(IMAGE_PREFIX)


@dataclass(frozen=True)
class DataSpec:
    """Shapes, action space and rate shared by all episodes of a store.

    Args:
        observation_shapes: key → shape of one observation; `observation.images.<camera>` is
            uint8 `(height, width, 3)`, every other `observation.*` key is float32.
        action_dim: number of action components A.
        action_low, action_high: bounds per component, env units, finite.
        control_hz: control steps per second.
        env_id: environment the data comes from; empty when unknown.
        names: what the components of "action" or of a one-dimensional observation are called,
            for example {"action": ("x", "y", "gripper")}; a key without names is left out. Names
            with a dot belong together: "eef_pos.0" to "eef_pos.2" came from one array.

    Raises:
        DataError: a field is unusable; the message names it and its value.
    """

    observation_shapes: dict[str, tuple[int, ...]]
    action_dim: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    control_hz: float
    env_id: str = ""
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes = {key: tuple(map(int, shape)) for key, shape in self.observation_shapes.items()}
        object.__setattr__(self, "observation_shapes", shapes)
        object.__setattr__(self, "action_low", tuple(map(float, self.action_low)))
        object.__setattr__(self, "action_high", tuple(map(float, self.action_high)))
        object.__setattr__(self, "control_hz", float(self.control_hz))
        object.__setattr__(self, "names", {key: tuple(names) for key, names in self.names.items()})
        self._check_observations()
        self._check_actions()
        self._check_names()
        if not (math.isfinite(self.control_hz) and self.control_hz > 0):
            raise DataError(f"DataSpec.control_hz is {self.control_hz}; give a rate above 0 Hz.")

    def _check_observations(self) -> None:
        if not self.observation_shapes:
            raise DataError("DataSpec.observation_shapes is empty; a policy needs an observation.")
        for key, shape in self.observation_shapes.items():
            if not key.startswith(OBSERVATION_PREFIX) or "/" in key:
                raise DataError(
                    f"DataSpec.observation_shapes has the key '{key}'; name it "
                    "'observation.state' or 'observation.images.<camera>', without '/'."
                )
            if any(size < 1 for size in shape):
                raise DataError(f"DataSpec: '{key}' has shape {shape}; every size must be ≥ 1.")
            if is_image_key(key) and (len(shape) != 3 or shape[2] != 3):
                raise DataError(
                    f"DataSpec: '{key}' has shape {shape}; an image is (height, width, 3)."
                )

    def _check_actions(self) -> None:
        if self.action_dim < 1:
            raise DataError(f"DataSpec.action_dim is {self.action_dim}; it must be ≥ 1.")
        for name, bound in (("action_low", self.action_low), ("action_high", self.action_high)):
            if len(bound) != self.action_dim:
                raise DataError(
                    f"DataSpec.{name} has {len(bound)} values for action_dim {self.action_dim}."
                )
            if not all(math.isfinite(value) for value in bound):
                raise DataError(f"DataSpec.{name} is {bound}; every bound must be finite.")
        for i, (low, high) in enumerate(zip(self.action_low, self.action_high, strict=True)):
            if low > high:
                raise DataError(f"DataSpec: action component {i} has low {low} above high {high}.")

    def _check_names(self) -> None:
        shapes = {**self.observation_shapes, "action": (self.action_dim,)}
        for key, names in self.names.items():
            if key not in shapes:
                raise DataError(f"DataSpec.names has '{key}', which the data has not.")
            if shapes[key] != (len(names),):
                raise DataError(
                    f"DataSpec.names['{key}'] has {len(names)} names for shape {shapes[key]}."
                )

    @property
    def state_keys(self) -> tuple[str, ...]:
        """Keys of the float32 observations, sorted."""
        return tuple(sorted(key for key in self.observation_shapes if not is_image_key(key)))

    @property
    def image_keys(self) -> tuple[str, ...]:
        """Keys of the uint8 camera observations, sorted."""
        return tuple(sorted(key for key in self.observation_shapes if is_image_key(key)))

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) of the cameras, None without one."""
        for key in self.image_keys:
            height, width, _ = self.observation_shapes[key]
            return height, width
        return None

    def differences(self, other: DataSpec) -> list[str]:
        """One line per differing field with both values; empty when the two fit together.

        Bounds and names are compared where there are as many on both sides. An empty `env_id` means
        "unknown" and fits every other one.
        """
        lines = [
            f"observation_shapes['{key}']: {ours} and {theirs}"
            for key in sorted(self.observation_shapes.keys() | other.observation_shapes.keys())
            if (ours := self.observation_shapes.get(key, "missing"))
            != (theirs := other.observation_shapes.get(key, "missing"))
        ]
        if self.action_dim != other.action_dim:
            lines.append(f"action_dim: {self.action_dim} and {other.action_dim}")
        else:
            for name in ("action_low", "action_high"):
                lines += _differing(name, getattr(self, name), getattr(other, name))
        if not math.isclose(self.control_hz, other.control_hz, rel_tol=1e-6):
            lines.append(f"control_hz: {self.control_hz} and {other.control_hz}")
        for key in sorted(self.names.keys() & other.names.keys()):
            lines += _differing(f"names['{key}']", self.names[key], other.names[key])
        if self.env_id and other.env_id and self.env_id != other.env_id:
            lines.append(f"env_id: '{self.env_id}' and '{other.env_id}'")
        return lines

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; `from_json` gives back an equal spec."""
        return {
            "observation_shapes": {k: list(s) for k, s in self.observation_shapes.items()},
            "action_dim": self.action_dim,
            "action_low": list(self.action_low),
            "action_high": list(self.action_high),
            "control_hz": self.control_hz,
            "env_id": self.env_id,
            "names": {key: list(names) for key, names in self.names.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DataSpec:
        """The inverse of `to_json`; names may be missing, as in older files.

        Raises:
            DataError: a field is missing, unknown or unusable.
        """
        known = {item.name for item in fields(cls)}
        if value.keys() | {"names"} != known:
            raise DataError(
                f"DataSpec: the JSON has the fields {sorted(value)}, expected {sorted(known)}; "
                "it was damaged or written by another version of softflow."
            )
        return cls(**value)


def within_the_same_bounds(one: DataSpec, other: DataSpec) -> tuple[DataSpec, DataSpec]:
    """Both, with the lower low and the higher high of the two; as they are if sizes differ."""
    if one.action_dim != other.action_dim:
        return one, other
    low = tuple(map(min, one.action_low, other.action_low))
    high = tuple(map(max, one.action_high, other.action_high))
    wide = (replace(spec, action_low=low, action_high=high) for spec in (one, other))
    return next(wide), next(wide)


def _differing(what: str, ours: Sequence[Any], theirs: Sequence[Any], most: int = 3) -> list[str]:
    """The first components in which two values of a length differ, and how many more do."""
    if len(ours) != len(theirs):
        return []
    pairs = [
        (i, a, b) for i, (a, b) in enumerate(zip(ours, theirs, strict=True)) if not _same(a, b)
    ]
    lines = [f"{what}[{i}]: {_shown(a)} and {_shown(b)}" for i, a, b in pairs[:most]]
    return lines + [f"{what}: {len(pairs) - most} more"] * (len(pairs) > most)


def _same(ours: Any, theirs: Any) -> bool:
    """Equal, but for rounding: bounds often pass through float32 on one side only."""
    if isinstance(ours, str) or isinstance(theirs, str):
        return ours == theirs
    return math.isclose(ours, theirs, rel_tol=1e-6, abs_tol=1e-6)


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, str) else f"{value:.6g}"


@dataclass(frozen=True, eq=False)
class Episode:
    """One recorded episode of T control steps.

    Args:
        observations: key → `[T+1, ...]`, one more than actions: the final observation is
            included. float32, images uint8.
        actions: `[T, A]` float32, env units.
        rewards: `[T]` float32; `rewards[t]` is what action t earned.
        terminated: the task itself ended after the last action (no bootstrap).
        truncated: the recording was cut there (bootstrap). Exactly one of the two is true.
        success: whether the episode reached the goal.
        metadata: JSON-able facts: source, operator, seed, policy_version, …
    """

    observations: dict[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray
    terminated: bool
    truncated: bool
    success: bool
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def length(self) -> int:
        """T, the number of control steps."""
        return len(self.actions)

    @property
    def return_(self) -> float:
        """Undiscounted sum of rewards."""
        return float(np.sum(self.rewards, dtype=np.float64))

    def validate(self, spec: DataSpec, where: str = "episode") -> None:
        """Raise unless a policy can be trained on this episode.

        Args:
            spec: what the store holds.
            where: how messages name this episode, e.g. "episode 12".

        Raises:
            DataError: empty, wrong keys, shapes or dtypes, NaN or infinity, an action outside
                the action space, a contradictory ending, or metadata that is not JSON. The
                message says where (episode, key, step, component), the value and the fix.
        """
        if len(self.actions) == 0:
            raise DataError(f"{where} is empty (0 actions); drop it before appending.")
        self._check_arrays(spec, where)
        self._check_action_bounds(spec, where)
        self._check_ending(where)
        _check_metadata(self.metadata, where)

    def _check_arrays(self, spec: DataSpec, where: str) -> None:
        if self.observations.keys() != spec.observation_shapes.keys():
            missing = sorted(spec.observation_shapes.keys() - self.observations.keys())
            extra = sorted(self.observations.keys() - spec.observation_shapes.keys())
            raise DataError(
                f"{where}: observation keys do not fit the store: missing {missing}, "
                f"unexpected {extra}; record exactly {sorted(spec.observation_shapes)}."
            )
        steps = len(self.actions)
        _check_array("action", self.actions, (steps, spec.action_dim), np.float32, where)
        _check_array("next.reward", self.rewards, (steps,), np.float32, where)
        for key, shape in spec.observation_shapes.items():
            dtype = np.uint8 if is_image_key(key) else np.float32
            _check_array(key, self.observations[key], (steps + 1, *shape), dtype, where)

    def _check_action_bounds(self, spec: DataSpec, where: str) -> None:
        low, high = np.asarray(spec.action_low), np.asarray(spec.action_high)
        outside = (self.actions < low - ACTION_TOLERANCE) | (self.actions > high + ACTION_TOLERANCE)
        if outside.any():
            step, component = (int(i) for i in np.argwhere(outside)[0])
            raise DataError(
                f"{where}: 'action' at step {step}, component {component} is "
                f"{self.actions[step, component]:.6g}, outside [{low[component]:.6g}, "
                f"{high[component]:.6g}] ({int(outside.sum())} values in all); clip the action "
                "before executing it, or correct the bounds of the action space."
            )

    def _check_ending(self, where: str) -> None:
        if bool(self.terminated) == bool(self.truncated):
            raise DataError(
                f"{where}: terminated and truncated are both {bool(self.terminated)}; set "
                "terminated if the task itself ended there, truncated if a time limit or the "
                "operator cut it."
            )


def _check_array(
    key: str, array: np.ndarray, shape: tuple[int, ...], dtype: type[np.generic], where: str
) -> None:
    """Raise unless `array` has this shape and dtype and holds finite numbers only."""
    if not isinstance(array, np.ndarray):
        raise DataError(
            f"{where}: '{key}' is a {type(array).__name__}; give a numpy array of shape {shape}."
        )
    if array.shape != shape:
        raise DataError(
            f"{where}: '{key}' has shape {array.shape}, expected {shape} (observations have one "
            "row more than actions: the final observation); fix the recorder or the store's spec."
        )
    if array.dtype != dtype:
        raise DataError(
            f"{where}: '{key}' is {array.dtype}, expected {np.dtype(dtype)}; convert it with "
            f".astype(np.{np.dtype(dtype)})."
        )
    if np.issubdtype(dtype, np.floating):
        require_finite(key, array, where)


def require_finite(key: str, array: np.ndarray, where: str, first_step: int = 0) -> None:
    """Raise unless `array` [T, ...], whose first row is of `first_step`, holds finite numbers only.

    Raises:
        DataError: says where (episode, key, step, component), the value and the fix.
    """
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        step, component = first_step + int(bad[0][0]), ", ".join(str(int(i)) for i in bad[0][1:])
        raise DataError(
            f"{where}: '{key}' at step {step}{f', component {component}' * bool(component)} is "
            f"{array[tuple(bad[0])]} ({len(bad)} such values in all); repair the sensor or drop "
            "the episode: a policy cannot be trained on NaN or infinity."
        )


def _check_metadata(metadata: dict[str, Any], where: str) -> None:
    """Raise unless the metadata survives JSON unchanged in meaning."""
    try:
        json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{where}: metadata cannot be written as JSON ({error}); use plain str, int, float, "
            "bool, list and dict (e.g. int(x) for a numpy integer)."
        ) from error
