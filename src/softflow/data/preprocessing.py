"""Dataset statistics, the normalisers made from them, and what a dataset must offer a stage."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from softflow.data.action_representation import ActionRepresentation
from softflow.data.batch import STATE_KEY, DataSpec, Episode, require_finite
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import vouch
from softflow.errors import ConfigError, DataError

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
        span = self.action.maximum - self.action.minimum
        return tuple(int(i) for i in np.flatnonzero(span <= CONSTANT_RANGE))

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
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"DatasetStatistics: the JSON is damaged or of another version ({error!r}); "
                "compute the statistics again from the store."
            ) from error


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
    store: EpisodeStore,
    episodes: Sequence[int] | None = None,
    representation: ActionRepresentation | None = None,
    window_length: int = 1,
) -> DatasetStatistics:
    """Statistics of these episodes of a store (all of them when None).

    Warns (`UserWarning`) about constant action components: the policy will hold them.

    Args:
        store: where the episodes are.
        episodes: indices into it.
        representation: how the networks see actions; None leaves them absolute.
        window_length: actions of a decision, prefix and chunk together (P + H); matters only if
            they are relative to its observation.

    Raises:
        DataError: there is no episode to count, one holds a NaN or infinity, or what the
            representation takes for a quaternion is none.
    """
    indices = require_episodes(store) if episodes is None else list(episodes)
    if not indices:
        raise DataError(f"no episodes of '{store.path}' were chosen; statistics need at least one.")
    shapes = store.spec.observation_shapes
    observations = {key: _RunningStatistics(shapes[key]) for key in store.spec.state_keys}
    action = _RunningStatistics((store.spec.action_dim,))
    relative = _RunningStatistics((store.spec.action_dim,))
    representation = representation or ActionRepresentation()
    num_steps = 0
    for index in indices:
        episode = store.episode(index, with_images=False)
        _require_finite(store, index, episode)
        for key, running in observations.items():
            running.add(episode.observations[key])
        action.add(episode.actions)
        if not representation.is_absolute:
            representation.require_quaternions(
                episode.actions, episode.observations[STATE_KEY], f"'{store.path}', episode {index}"
            )
            relative.add(_seen_from_observations(episode, representation, window_length))
        num_steps += episode.length
    statistics = DatasetStatistics(
        {key: running.result() for key, running in observations.items()},
        action.result(),
        len(indices),
        num_steps,
        None if representation.is_absolute else relative.result(),
    )
    _warn_of_constant_actions(statistics, store)
    return statistics


def _seen_from_observations(
    episode: Episode, representation: ActionRepresentation, window_length: int
) -> np.ndarray:
    """The actions of all windows of an episode, relative: `[T · window_length, A]`."""
    last = episode.length - 1
    steps = np.minimum(np.arange(episode.length)[:, None] + np.arange(window_length), last)
    windows = torch.from_numpy(episode.actions[steps]).double()
    state = torch.from_numpy(episode.observations[STATE_KEY][:-1]).double()
    return representation.encode(windows, state).flatten(0, 1).numpy()


def _require_finite(store: EpisodeStore, index: int, episode: Episode) -> None:
    """Stores refuse such episodes, but one may have been written by another program."""
    arrays = {key: episode.observations[key] for key in store.spec.state_keys}
    for key, array in {**arrays, "action": episode.actions, "next.reward": episode.rewards}.items():
        require_finite(key, array, f"'{store.path}', episode {index}")


def _warn_of_constant_actions(statistics: DatasetStatistics, store: EpisodeStore) -> None:
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


class StateNormalizer(nn.Module):
    """(x − mean) / max(std, std_floor), clipped to ±clip.

    The floor keeps a component that was constant in the data from exploding on the robot.

    Args:
        statistics: of one state key.
        std_floor: smallest divisor, in the key's own unit.
        clip: bound of the normalised value.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, statistics: ArrayStatistics, std_floor: float = 1e-3, clip: float = 10.0
    ) -> None:
        super().__init__()
        if std_floor <= 0 or clip <= 0:
            raise ConfigError(f"std_floor {std_floor} and clip {clip} must be above 0.")
        self.clip = clip
        std = np.maximum(statistics.std, std_floor)
        self.register_buffer("mean", torch.tensor(statistics.mean, dtype=torch.get_default_dtype()))
        self.register_buffer("std", torch.tensor(std, dtype=torch.get_default_dtype()))

    def forward(self, state: Tensor) -> Tensor:
        """Normalised state, same shape `[..., *row_shape]`, at least the buffers' precision."""
        return ((state - self.mean) / self.std).clamp(-self.clip, self.clip)


class ActionNormalizer(nn.Module):
    """Env units ↔ [−action_scale, action_scale], by the range of the data.

    `action_scale` below 1 leaves a margin, so that an action at the border of the data plus
    `noise_std` rarely leaves the flow's open support (−1, 1) (App. C1: noise 0.05).
    A component that is constant in the data maps to 0 and decodes to its constant.

    Args:
        statistics: of the actions.
        action_scale: in (0, 1].
    """

    minimum: Tensor
    maximum: Tensor

    def __init__(self, statistics: ArrayStatistics, action_scale: float = 0.9) -> None:
        super().__init__()
        if not 0 < action_scale <= 1:
            raise ConfigError(f"action_scale is {action_scale}; it must lie in (0, 1].")
        self.action_scale = action_scale
        dtype = torch.get_default_dtype()
        self.register_buffer("minimum", torch.tensor(statistics.minimum, dtype=dtype))
        self.register_buffer("maximum", torch.tensor(statistics.maximum, dtype=dtype))

    def _half_range(self) -> tuple[Tensor, Tensor]:
        half = (self.maximum - self.minimum) / 2
        return half, half * 2 <= CONSTANT_RANGE

    def normalize(self, actions: Tensor) -> Tensor:
        """`[..., A]` env units → normalised; actions outside the data's range land beyond
        ±action_scale, they are not clipped here."""
        half, constant = self._half_range()
        centred = actions - (self.minimum + half)
        safe_half = torch.where(constant, torch.ones_like(half), half)
        return torch.where(
            constant, torch.zeros_like(centred), centred / safe_half * self.action_scale
        )

    def denormalize(self, normalised: Tensor) -> Tensor:
        """`[..., A]` normalised → env units, clipped into the range of the data."""
        half, _ = self._half_range()
        actions = self.minimum + half + normalised / self.action_scale * half
        return torch.clamp(actions, self.minimum, self.maximum)


def require_episodes(store: EpisodeStore) -> list[int]:
    """Indices of all episodes of a store.

    Raises:
        DataError: the store is empty.
    """
    if len(store) == 0:
        raise DataError(
            f"the dataset '{store.path}' holds no episodes; collect some with `softflow collect` "
            "or point to another folder."
        )
    return list(range(len(store)))


def successful_episodes(store: EpisodeStore) -> list[int]:
    """Indices of the successful episodes, ascending; possibly none."""
    return [summary.index for summary in store.summaries() if summary.success]


def require_successes(store: EpisodeStore) -> list[int]:
    """Indices of the successful episodes: what imitation learns from (Sec. IV-D).

    Raises:
        DataError: the store is empty, or no episode in it succeeded.
    """
    indices = require_episodes(store)
    successes = successful_episodes(store)
    if not successes:
        raise DataError(
            f"none of the {len(indices)} episodes in '{store.path}' is marked success, and "
            "imitation learns from successful ones only; add successful demonstrations, or say "
            f"which are: {vouch(store.path)}"
        )
    return successes


def require_same_spec(ours: DataSpec, theirs: DataSpec, our_name: str, their_name: str) -> None:
    """Raise unless two stores, or a store and an environment, fit together.

    Raises:
        DataError: names each differing field with both values.
    """
    lines = ours.differences(theirs)
    if lines:
        raise DataError(
            f"{our_name} and {their_name} do not fit together:\n  "
            + "\n  ".join(lines)
            + "\nUse data recorded with this environment, or the environment of this data."
        )
