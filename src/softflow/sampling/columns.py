"""Rows of long float32 arrays, and windows of consecutive rows, gathered at memory speed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from softflow.data.data_spec import DataSpec

PADDING = 32
"""Rows behind each episode's actions and rewards, so that most windows that run past its end are
gathered like all others; longer ones are cut and padded one by one."""


@dataclass(frozen=True, eq=False)
class Columns:
    """Episodes laid end to end, each array in RAM or mapped from a file.

    Args:
        states: state key → `[observations, ...]` float32, T+1 rows an episode.
        actions: `[rows, A]` float32, T+PADDING rows an episode: behind its end the last action.
        rewards: `[rows]` float32, T+PADDING rows an episode: behind its end zeros.
    """

    states: Mapping[str, np.ndarray]
    actions: np.ndarray
    rewards: np.ndarray

    @classmethod
    def empty(cls, spec: DataSpec) -> Columns:
        """Columns of no episode."""
        states = {
            key: np.empty((0, *spec.observation_shapes[key]), np.float32) for key in spec.state_keys
        }
        actions = np.empty((0, spec.action_dim), np.float32)
        return cls(states, actions, np.empty(0, np.float32))

    @property
    def num_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in (*self.states.values(), self.actions, self.rewards))


def padded_actions(actions: np.ndarray) -> np.ndarray:
    """Rows of an episode's actions `[T, A]` in `Columns`."""
    return np.concatenate([actions, np.repeat(actions[-1:], PADDING, axis=0)])


def padded_rewards(rewards: np.ndarray) -> np.ndarray:
    """Rows of an episode's rewards `[T]` in `Columns`."""
    return np.concatenate([rewards, np.repeat(rewards[-1:] * np.float32(0), PADDING)])


def episode_bytes(spec: DataSpec, length: int) -> int:
    """Bytes that an episode of `length` control steps takes in `Columns`."""
    state = sum(int(np.prod(spec.observation_shapes[key])) for key in spec.state_keys)
    return 4 * (state * (length + 1) + (spec.action_dim + 1) * (length + PADDING))


def take_rows(column: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows `rows` (any shape, all in range) of a contiguous `[N, ...]`: `[*rows.shape, ...]`."""
    # One opaque value per row: numpy then copies it in one go, whatever its shape.
    values = _windows_of(column, 1).take(rows)
    return values.view(column.dtype).reshape(*rows.shape, *column.shape[1:])


def take_windows(column: np.ndarray, starts: np.ndarray, count: int) -> np.ndarray:
    """Rows `starts[i]` to `starts[i] + count` of a contiguous `[N, ...]`: `[B, count, ...]`.

    Every window lies inside the column. Each is copied in one go, 3 to 5 times faster than `count`
    single rows.
    """
    if count == 1:
        return take_rows(column, starts[:, None])
    values = _windows_of(column, count)[starts]
    return values.view(column.dtype).reshape(len(starts), count, *column.shape[1:])


def _windows_of(column: np.ndarray, count: int) -> np.ndarray:
    """Overlapping windows of `count` rows as opaque values `[N − count + 1]`; a view."""
    stride = column[:1].nbytes
    return np.ndarray(
        (len(column) - count + 1,), np.dtype((np.void, count * stride)), column, strides=(stride,)
    )
