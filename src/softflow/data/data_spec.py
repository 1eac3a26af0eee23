"""What one store holds: observations, action space, rate."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import msgspec

from softflow.errors import DataError
from softflow.utils.documents import misfit

OBSERVATION_PREFIX = "observation."
STATE_KEY = "observation.state"
IMAGE_PREFIX = "observation.images."
CONTROL_HZ_RANGE = (1e-6, 1e6)
MAX_KEY_LETTERS = 200
RENDERING_DETAILS = frozenset({"mujoco", "driver"})
"""Settings of rendering that move pixels by shades, not things: a warning, no error."""


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
        neutral_action: the action that holds the robot still, env units; empty: zeros, or the
            bound nearest to zero.
        rendering: how a simulator draws the cameras' pictures, setting -> value; empty where
            nothing is known of it.

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
    neutral_action: tuple[float, ...] = ()
    rendering: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shapes = {key: tuple(map(int, shape)) for key, shape in self.observation_shapes.items()}
        object.__setattr__(self, "observation_shapes", shapes)
        object.__setattr__(self, "action_low", tuple(map(float, self.action_low)))
        object.__setattr__(self, "action_high", tuple(map(float, self.action_high)))
        object.__setattr__(self, "neutral_action", tuple(map(float, self.neutral_action)))
        object.__setattr__(self, "control_hz", float(self.control_hz))
        object.__setattr__(self, "names", {key: tuple(names) for key, names in self.names.items()})
        self._check_observations()
        self._check_actions()
        self._check_names()
        low, high = CONTROL_HZ_RANGE
        if not low <= self.control_hz <= high:
            raise DataError(
                f"DataSpec.control_hz is {self.control_hz}; give a rate above 0 Hz "
                f"({low:g} to {high:g})."
            )

    def _check_observations(self) -> None:
        if not self.observation_shapes:
            raise DataError("DataSpec.observation_shapes is empty; a policy needs an observation.")
        for key, shape in self.observation_shapes.items():
            if not key.startswith(OBSERVATION_PREFIX) or "/" in key:
                raise DataError(
                    f"DataSpec.observation_shapes has the key '{key}'; name it "
                    "'observation.state' or 'observation.images.<camera>', without '/'."
                )
            # Keys become names of files: in an episode, and in what is exported.
            if not key.isprintable() or "\\" in key or len(key) > MAX_KEY_LETTERS:
                raise DataError(
                    f"DataSpec.observation_shapes has the key {key!r:.250}; a name has at most "
                    f"{MAX_KEY_LETTERS} printable letters, and no backslash."
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
        neutral = self.neutral_action
        if neutral and not (len(neutral) == self.action_dim and all(map(math.isfinite, neutral))):
            raise DataError(
                f"DataSpec.neutral_action is {neutral}; give {self.action_dim} finite values."
            )

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
    def held_still(self) -> tuple[float, ...]:
        """The action `[A]` that holds the robot still."""
        bounds = zip(self.action_low, self.action_high, strict=True)
        return self.neutral_action or tuple(min(max(low, 0.0), high) for low, high in bounds)

    @property
    def image_size(self) -> tuple[int, int] | None:
        """(height, width) of the cameras, None without one."""
        for key in self.image_keys:
            height, width, _ = self.observation_shapes[key]
            return height, width
        return None

    def differences(self, other: DataSpec) -> list[str]:
        """One line per differing field with both values, its own first; empty when both fit.

        Bounds and names are compared where there are as many on both sides. An empty `env_id` means
        "unknown" and fits every other one.
        """
        renamed = self.renamed(other)
        lines = [f"'{old}' seems to be called '{new}' there" for old, new in renamed.items()]
        lines += [
            f"observation_shapes['{key}']: {ours} and {theirs}"
            for key in sorted(self.observation_shapes.keys() | other.observation_shapes.keys())
            if (ours := self.observation_shapes.get(key, "missing"))
            != (theirs := other.observation_shapes.get(key, "missing"))
            and key not in {*renamed, *renamed.values()}
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
        lines += [
            f"rendering, {name}: {ours} and {theirs}"
            for name, ours, theirs in self._redrawn(other)
            if name not in RENDERING_DETAILS and not renamed
        ]
        if self.env_id and other.env_id and self.env_id != other.env_id:
            lines.append(f"env_id: '{self.env_id}' and '{other.env_id}'")
        return lines

    def renamed(self, other: DataSpec) -> dict[str, str]:
        """The key that is missing there -> the one that is only there, if they may be the same.

        So where one is missing on each side, of one shape, a camera or no camera both.
        """
        ours, theirs = self.observation_shapes, other.observation_shapes
        gone, new = ours.keys() - theirs.keys(), theirs.keys() - ours.keys()
        if len(gone) != 1 or len(new) != 1:
            return {}
        (old,), (now,) = gone, new
        same = ours[old] == theirs[now] and is_image_key(old) == is_image_key(now)
        return {old: now} if same else {}

    def _redrawn(self, other: DataSpec) -> list[tuple[str, str, str]]:
        """Every setting of rendering that differs, with both values; none if one says nothing."""
        if not (self.rendering and other.rendering):
            return []
        return [
            (name, ours, theirs)
            for name in sorted(self.rendering.keys() | other.rendering.keys())
            if (ours := self.rendering.get(name, "nothing"))
            != (theirs := other.rendering.get(name, "nothing"))
        ]

    def doubts(self, other: DataSpec) -> list[str]:
        """What about the cameras may differ without any error: one line each."""
        if not self.image_keys:
            return []
        if bool(self.rendering) != bool(other.rendering):
            return ["one of them does not say how its pictures were rendered"]
        return [
            f"pictures were rendered with another {name}: {ours} and {theirs}"
            for name, ours, theirs in self._redrawn(other)
            if name in RENDERING_DETAILS
        ]

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; `from_json` gives back an equal spec."""
        optional: dict[str, Any] = {
            "neutral_action": list(self.neutral_action),
            "rendering": dict(self.rendering),
        }
        return {name: value for name, value in optional.items() if value} | {
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
        """The inverse of `to_json`; names, the neutral action and rendering may be missing.

        Raises:
            DataError: a field is missing, unknown or unusable.
        """
        known = {item.name for item in fields(cls)}
        if not isinstance(value, Mapping):
            raise DataError(f"DataSpec: the JSON is a {type(value).__name__}, expected an object")
        if value.keys() | {"names", "neutral_action", "rendering"} != known:
            raise DataError(
                f"DataSpec: the JSON has the fields {sorted(value)}, expected {sorted(known)}; "
                "it was damaged or written by another version of softflow."
            )
        try:
            return msgspec.convert(value, cls)
        except (msgspec.ValidationError, OverflowError) as error:
            raise DataError(f"DataSpec: {misfit(error, value)}") from error


def within_the_same_bounds(one: DataSpec, other: DataSpec) -> tuple[DataSpec, DataSpec]:
    """Both, with the lower low and the higher high of the two; as they are if sizes differ."""
    if one.action_dim != other.action_dim:
        return one, other
    low = tuple(map(min, one.action_low, other.action_low))
    high = tuple(map(max, one.action_high, other.action_high))
    wide = (replace(spec, action_low=low, action_high=high) for spec in (one, other))
    return next(wide), next(wide)


_USE_OTHERS = "Use data recorded with this environment, or the environment of this data."
_CALL_IT_THE_SAME = "Let the environment call it as the data do; if it is another one, " + (
    _USE_OTHERS[0].lower() + _USE_OTHERS[1:]
)


def require_same_spec(ours: DataSpec, theirs: DataSpec, our_name: str, their_name: str) -> None:
    """Raise unless two stores, or a store and an environment, fit together.

    Warns where pictures may have been rendered in another way.

    Raises:
        DataError: names each differing field with both values.
    """
    lines = ours.differences(theirs)
    if lines:
        raise DataError(
            f"{our_name} and {their_name} do not fit together; their values, in this order:\n  "
            + "\n  ".join(lines)
            + "\n"
            + (_CALL_IT_THE_SAME if ours.renamed(theirs) else _USE_OTHERS)
        )
    for doubt in ours.doubts(theirs):
        warnings.warn(f"{our_name} and {their_name}: {doubt}", stacklevel=2)


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
