"""Chosen episodes of a store laid end to end, so that many windows are gathered with one indexing
each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from softflow.sampling.columns import PADDING, Columns, take_rows, take_windows
from softflow.sampling.window_index import WindowIndex


@dataclass(frozen=True, eq=False)
class EpisodeTable:
    """What is known of N episodes, and where in `Columns` they lie; all arrays `[N]`.

    Args:
        store_index: position in the store.
        length: T, as the newest label has it.
        terminated, success: as in `Episode`.
        first_action, first_observation, first_reward: row of the episode's first one.
        action_rows: rows from first_action on that are as `Columns` says; fewer than T+PADDING
            where a label ends the episode before the recording does.
    """

    store_index: np.ndarray
    length: np.ndarray
    terminated: np.ndarray
    success: np.ndarray
    first_action: np.ndarray
    first_observation: np.ndarray
    first_reward: np.ndarray
    action_rows: np.ndarray

    @classmethod
    def empty(cls) -> EpisodeTable:
        """The table of no episode."""
        none, no = np.empty(0, np.int64), np.empty(0, bool)
        return cls(none, none, no, no, none, none, none, none)

    def followed_by(self, other: EpisodeTable) -> EpisodeTable:
        """These episodes, and behind them the other ones, of the same columns."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return EpisodeTable(*(np.append(ours, theirs) for ours, theirs in pairs))


class Places(NamedTuple):
    """Decision windows `[B]`: their episode 0 … N−1, its length T, and the control step t."""

    episode: np.ndarray
    length: np.ndarray
    step: np.ndarray


class FlatEpisodes:
    """States, actions and rewards of N episodes (images stay on disk). It never changes: who adds
    episodes makes a new one, and threads that gather from the old one are not disturbed.

    Args:
        columns: the arrays.
        table: the episodes in them.
    """

    def __init__(self, columns: Columns, table: EpisodeTable) -> None:
        self.columns = columns
        self.table = table
        self.windows = WindowIndex(table.length)

    def places(self, windows: np.ndarray) -> Places:
        """Episode, length and control step of windows `[B]`."""
        episode = self.windows.episodes(windows)
        step = windows - self.windows.first.take(episode)
        return Places(episode, self.table.length.take(episode), step)

    def actions(self, places: Places, start: np.ndarray, count: int) -> np.ndarray:
        """`[B, count, A]`: actions from step `start` on, past the end the episode's last one."""
        column = self.columns.actions
        if not count:
            return np.empty((len(start), 0, *column.shape[1:]), column.dtype)
        first = self.table.first_action.take(places.episode)

        def one_by_one(which: np.ndarray) -> np.ndarray:
            steps = start[which, None] + np.arange(count)
            within = np.minimum(steps, places.length[which, None] - 1)
            return take_rows(column, first[which, None] + within)

        crosses = start + count > self.table.action_rows.take(places.episode)
        return _windows(column, first + start, count, crosses, one_by_one)

    def rewards(self, places: Places, start: np.ndarray, count: int) -> np.ndarray:
        """`[B, count]`: rewards from step `start` on, past the end zero."""
        column = self.columns.rewards
        first = self.table.first_reward.take(places.episode)

        def one_by_one(which: np.ndarray) -> np.ndarray:
            steps = start[which, None] + np.arange(count)
            return take_rows(
                column, first[which, None] + np.minimum(steps, places.length[which, None])
            )

        return _windows(
            column, first + start, count, start + count > places.length + PADDING, one_by_one
        )

    def states(self, places: Places, last: np.ndarray, count: int) -> dict[str, np.ndarray]:
        """key → `[B, count, ...]`: the observations up to step `last`, padded with the first."""
        first = self.table.first_observation.take(places.episode)
        start = last - (count - 1)
        crosses = start < 0
        result: dict[str, np.ndarray] = {}
        for key, column in self.columns.states.items():

            def one_by_one(which: np.ndarray, column: np.ndarray = column) -> np.ndarray:
                steps = np.maximum(start[which, None] + np.arange(count), 0)
                return take_rows(column, first[which, None] + steps)

            result[key] = _windows(column, first + start, count, crosses, one_by_one)
        return result


def _windows(
    column: np.ndarray,
    rows: np.ndarray,
    count: int,
    crosses: np.ndarray,
    one_by_one: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """`[B, count, ...]`: whole windows where they lie inside their episode, else `one_by_one`.

    Args:
        column: `[N, ...]`.
        rows: `[B]`, where each window begins; may lie outside the column where it crosses.
        count: rows of a window.
        crosses: `[B]`, windows that leave the rows of their episode.
        one_by_one: gathers the windows of these numbers in the batch.
    """
    if not crosses.any():
        return take_windows(column, rows, count)
    crossing = crosses.nonzero()[0]
    if len(crossing) == len(rows):
        return one_by_one(crossing)
    result = take_windows(column, np.clip(rows, 0, len(column) - count), count)
    result[crossing] = one_by_one(crossing)
    return result
