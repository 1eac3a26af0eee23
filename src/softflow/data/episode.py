"""One recorded episode, and whether a policy can be trained on it. numpy only."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from softflow.data.data_spec import DataSpec, is_image_key
from softflow.data.files.limits import MAX_METADATA_BYTES
from softflow.errors import DataError

ACTION_TOLERANCE = 1e-4
"""How far an action may lie outside the action space (env units): float32 rounding, no more."""


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
        self.require_within_bounds(spec, where)
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

    def require_within_bounds(self, spec: DataSpec, where: str) -> None:
        """Raise if an action lies outside the action space.

        Raises:
            DataError: says where (episode, step, component) and the value.
        """
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


def require_finite(key: str, array: np.ndarray, where: str) -> None:
    """Raise unless `array` [T, ...] holds finite numbers only.

    Raises:
        DataError: says where (episode, key, step, component), the value and the fix.
    """
    bad = np.argwhere(~np.isfinite(array))
    if len(bad):
        step, component = int(bad[0][0]), ", ".join(str(int(i)) for i in bad[0][1:])
        raise DataError(
            f"{where}: '{key}' at step {step}{f', component {component}' * bool(component)} is "
            f"{array[tuple(bad[0])]} ({len(bad)} such values in all); repair the sensor or drop "
            "the episode: a policy cannot be trained on NaN or infinity."
        )


def _check_metadata(metadata: dict[str, Any], where: str) -> None:
    """Raise unless the metadata survives JSON unchanged in meaning."""
    try:
        text = json.dumps(metadata, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"{where}: metadata cannot be written as JSON ({error}); use plain str, int, float, "
            "bool, list and dict (e.g. int(x) for a numpy integer)."
        ) from error
    if len(text) > MAX_METADATA_BYTES:
        raise DataError(
            f"{where}: metadata is {len(text):,} bytes of JSON; at most {MAX_METADATA_BYTES:,} are "
            "read back. Keep what is so long in an observation, or beside the store."
        )
