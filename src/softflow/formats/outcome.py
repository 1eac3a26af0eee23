"""How an episode of other people's data ends, and the bounds of its actions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from softflow.data.episode import Episode
from softflow.errors import DataError
from softflow.formats.source import one_a_step

SUCCESS_INFOS = ("success", "is_success", "goal_achieved")
"""What environments call success in their infos; the first one found counts."""


def episode_of(
    observations: dict[str, np.ndarray],
    actions: np.ndarray,
    rewards: np.ndarray,
    success: np.ndarray | None,
    *,
    terminated: bool,
    metadata: dict[str, Any],
    end_at_success: bool,
) -> Episode:
    """An episode as a store holds it.

    Args:
        observations: key -> [T+1, ...].
        actions: [T, A]; rewards: [T] or [T, 1].
        success: bool [T], or None where nobody says: then it counts as unlabelled.
        terminated: whether the task ended with the last action.
        metadata: facts about it.
        end_at_success: cut it behind the first success and terminate it there.

    Raises:
        DataError: more than one reward a step.
    """
    reached = np.flatnonzero(success) if success is not None else np.zeros(0, np.int64)
    succeeded = len(reached) > 0
    length = int(reached[0]) + 1 if succeeded and end_at_success else len(actions)
    ended = terminated or (succeeded and end_at_success)
    return Episode(
        {key: value[: length + 1] for key, value in observations.items()},
        actions[:length].astype(np.float32),
        one_a_step(rewards, "reward")[:length].astype(np.float32),
        terminated=ended,
        truncated=not ended,
        success=succeeded,
        metadata=metadata | ({"unlabelled": True} if success is None else {}),
    )


def range_of_actions(
    parts: Iterable[tuple[str, np.ndarray]], bounds: tuple[np.ndarray, np.ndarray] | float | None
) -> tuple[np.ndarray, np.ndarray]:
    """The action space: `bounds`, wider where the data is wider; None takes what the data spans.

    The first episode with vectors for actions says how many components there are; another one that
    has more or fewer is passed over here, and told of when it is read.

    Args:
        parts: where they lie, for messages, and the actions [T, A] of one episode after the other.
        bounds: lowest and highest value per component, or one number for -bounds to bounds.

    Returns:
        float64 [A] each.

    Raises:
        DataError: no episode has actions that are vectors, or the bounds are of another length.
    """
    low = high = np.zeros(0)
    misfit = ""
    for where, values in parts:
        actions = np.asarray(values, np.float32)
        if actions.ndim != 2 or actions.shape[1] != (low.size or actions.shape[1]):
            misfit = misfit or f"{where}: actions have shape {actions.shape}"
            continue
        if low.size == 0:
            low, high = _first_bounds(bounds, actions.shape[1], where)
        # NaN and infinity are told of when that episode is read.
        finite = np.isfinite(actions)
        low = np.minimum(low, np.min(actions, axis=0, initial=np.inf, where=finite))
        high = np.maximum(high, np.max(actions, axis=0, initial=-np.inf, where=finite))
    if low.size == 0:
        raise DataError(
            f"{misfit or 'there are no actions'}, expected [steps, components]; softflow needs a "
            "continuous action vector"
        )
    return np.where(np.isfinite(low), low, 0.0), np.where(np.isfinite(high), high, 0.0)


def _first_bounds(
    bounds: tuple[np.ndarray, np.ndarray] | float | None, action_dim: int, where: str
) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(bounds, tuple) and {len(bound) for bound in bounds} != {action_dim}:
        raise DataError(
            f"{where}: actions have {action_dim} components, the dataset's action space has "
            f"{len(bounds[0])}; download it again"
        )
    least = bounds[0] if isinstance(bounds, tuple) else np.inf if bounds is None else -bounds
    most = bounds[1] if isinstance(bounds, tuple) else -np.inf if bounds is None else bounds
    return np.broadcast_to(least, (action_dim,)), np.broadcast_to(most, (action_dim,))
