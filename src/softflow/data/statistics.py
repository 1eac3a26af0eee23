"""What normalisation needs to know of a dataset. numpy only, and no storage: see `Episodes`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode, require_finite
from softflow.errors import DataError, brief

SeenActions = Callable[[Episode, str], np.ndarray]
"""Actions `[rows, A]` of an episode as networks see them; the name of the episode is for errors."""

CONSTANT_RANGE = 1e-6
"""An action component whose max − min is at most this (env units) counts as constant."""


@dataclass(frozen=True, eq=False)
class ArrayStatistics:
    """Statistics over all rows of one key, float64, each with the shape of one row."""

    mean: np.ndarray
    std: np.ndarray
    minimum: np.ndarray
    maximum: np.ndarray

    def __post_init__(self) -> None:
        for name in ("mean", "std", "minimum", "maximum"):
            array = np.asarray(getattr(self, name), np.float64)
            if array.shape != np.shape(self.mean):
                raise DataError(
                    f"ArrayStatistics.{name} has shape {array.shape}, mean {np.shape(self.mean)}."
                )
            if not np.isfinite(array).all():
                raise DataError(f"ArrayStatistics.{name} holds NaN or infinity: {array}.")
            object.__setattr__(self, name, array)
        if (self.std < 0).any() or (self.minimum > self.maximum).any():
            raise DataError("ArrayStatistics has a negative std, or a minimum above its maximum.")

    @property
    def constant(self) -> tuple[int, ...]:
        """Components that never change."""
        return tuple(np.flatnonzero(self.maximum - self.minimum <= CONSTANT_RANGE).tolist())

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; floats survive exactly."""
        return {
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "minimum": self.minimum.tolist(),
            "maximum": self.maximum.tolist(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ArrayStatistics:
        """The inverse of `to_json`."""
        return cls(**value)


@dataclass(frozen=True, eq=False)
class DatasetStatistics:
    """What normalisation needs to know of a dataset (images are not counted).

    Args:
        observations: state key → statistics over all T+1 observations of all episodes.
        action: statistics over all actions, env units.
        num_episodes, num_steps: how much was counted; steps are control steps.
        relative_action: statistics over the actions of all windows as the representation gives
            them; None if actions stay absolute.
    """

    observations: dict[str, ArrayStatistics]
    action: ArrayStatistics
    num_episodes: int
    num_steps: int
    relative_action: ArrayStatistics | None = None

    @property
    def seen_action(self) -> ArrayStatistics:
        """Statistics of the actions that the networks see."""
        return self.action if self.relative_action is None else self.relative_action

    @property
    def constant_actions(self) -> tuple[int, ...]:
        """Action components that never change in the data."""
        return self.action.constant

    def require_fit(self, spec: DataSpec) -> None:
        """Raise unless they are of such data.

        Raises:
            DataError: a key is missing, or has another shape.
        """
        expected = {key: spec.observation_shapes[key] for key in spec.state_keys}
        found = {key: item.mean.shape for key, item in self.observations.items()}
        action = (spec.action_dim,)
        if found != expected or any(
            item.mean.shape != action for item in (self.action, self.seen_action)
        ):
            raise DataError(
                f"the statistics are of {found} and actions of shape {self.seen_action.mean.shape},"
                f" the data hold {expected} and {action}."
            )

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dictionary; `from_json` gives back the same numbers exactly."""
        relative = self.relative_action
        return {
            "observations": {key: item.to_json() for key, item in self.observations.items()},
            "action": self.action.to_json(),
            "num_episodes": self.num_episodes,
            "num_steps": self.num_steps,
            "relative_action": None if relative is None else relative.to_json(),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DatasetStatistics:
        """The inverse of `to_json`.

        Raises:
            DataError: a field is missing or unusable.
        """
        try:
            observations = value["observations"].items()
            relative = value.get("relative_action")
            return cls(
                {key: ArrayStatistics.from_json(item) for key, item in observations},
                ArrayStatistics.from_json(value["action"]),
                int(value["num_episodes"]),
                int(value["num_steps"]),
                None if relative is None else ArrayStatistics.from_json(relative),
            )
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"DatasetStatistics: the JSON is damaged or of another version ({brief(error)}); "
                "compute the statistics again from the store."
            ) from error


class Episodes(Protocol):
    """What statistics are computed from: an episode store, or a dataset in memory."""

    @property
    def path(self) -> Path:
        """Where the episodes come from, for messages."""
        ...

    @property
    def spec(self) -> DataSpec:
        """What they hold."""
        ...

    def __len__(self) -> int: ...

    def episode(self, index: int, *, with_images: bool) -> Episode:
        """An episode, as its newest label has it."""
        ...


class _RunningStatistics:
    """Mean and variance merged part by part (Chan et al.), stable in float64."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._count = 0
        self._mean = np.zeros(shape)
        self._squares = np.zeros(shape)
        self._minimum = np.full(shape, np.inf)
        self._maximum = np.full(shape, -np.inf)

    def add(self, rows: np.ndarray) -> None:
        """Count rows `[N, *shape]`, N ≥ 1."""
        rows = rows.astype(np.float64)
        mean = rows.mean(axis=0)
        total = self._count + len(rows)
        shift = mean - self._mean
        self._squares += ((rows - mean) ** 2).sum(axis=0)
        self._squares += shift**2 * (self._count * len(rows) / total)
        self._mean += shift * (len(rows) / total)
        self._minimum = np.minimum(self._minimum, rows.min(axis=0))
        self._maximum = np.maximum(self._maximum, rows.max(axis=0))
        self._count = total

    def result(self) -> ArrayStatistics:
        """Statistics of everything added (population std)."""
        std = np.sqrt(self._squares / self._count)
        return ArrayStatistics(self._mean, std, self._minimum, self._maximum)


def compute_statistics(
    store: Episodes,
    episodes: Sequence[int] | None = None,
    seen_actions: SeenActions | None = None,
) -> DatasetStatistics:
    """Statistics of these episodes of a store (all of them when None).

    Warns (`UserWarning`) about constant action components: the policy will hold them.

    Args:
        store: where the episodes are.
        episodes: indices into it.
        seen_actions: the actions of an episode as the networks see them; None if they are the
            robot's own.

    Raises:
        DataError: there is no episode to count, one holds a NaN or infinity, or `seen_actions`
            refuses one.
    """
    indices = list(range(len(store)) if episodes is None else episodes)
    if not indices:
        raise DataError(f"no episodes of '{store.path}' were chosen; statistics need at least one.")
    shapes = store.spec.observation_shapes
    observations = {key: _RunningStatistics(shapes[key]) for key in store.spec.state_keys}
    action = _RunningStatistics((store.spec.action_dim,))
    relative = _RunningStatistics((store.spec.action_dim,))
    num_steps = 0
    for index in indices:
        episode = store.episode(index, with_images=False)
        _require_finite(store, index, episode)
        for key, running in observations.items():
            running.add(episode.observations[key])
        action.add(episode.actions)
        if seen_actions is not None:
            relative.add(seen_actions(episode, f"'{store.path}', episode {index}"))
        num_steps += episode.length
    statistics = DatasetStatistics(
        {key: running.result() for key, running in observations.items()},
        action.result(),
        len(indices),
        num_steps,
        None if seen_actions is None else relative.result(),
    )
    _warn_of_constant_actions(statistics, store)
    return statistics


def _require_finite(store: Episodes, index: int, episode: Episode) -> None:
    """Stores refuse such episodes, but one may have been written by another program."""
    arrays = {key: episode.observations[key] for key in store.spec.state_keys}
    for key, array in {**arrays, "action": episode.actions, "next.reward": episode.rewards}.items():
        require_finite(key, array, f"'{store.path}', episode {index}")


def _warn_of_constant_actions(statistics: DatasetStatistics, store: Episodes) -> None:
    constant = list(statistics.constant_actions)
    if not constant:
        return
    several = len(constant) > 1
    values = ", ".join(f"{value:.6g}" for value in statistics.action.minimum[constant])
    warnings.warn(
        f"'{store.path}': action component{'s' * several} {', '.join(map(str, constant))} "
        f"{'are' if several else 'is'} constant ({values}) in all {statistics.num_episodes} "
        f"episodes; the policy will always output {'these values' if several else 'that value'}. "
        f"Record data that moves {'them' if several else 'it'}, or leave "
        f"{'them' if several else 'it'} out of the action space.",
        stacklevel=3,
    )
