"""Chosen episodes of a store laid end to end, so that many windows are gathered with one indexing
each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from softflow.data.columns import Columns, take_rows, take_windows
from softflow.data.window_index import WindowIndex


@dataclass(frozen=True, eq=False)
class EpisodeTable:
    """What is known of N episodes, and where in `Columns` they lie; all arrays `[N]`.

    Args:
        store_index: position in the store.
        length: T, as the newest label has it.
        terminated, success: as in `Episode`.
        first_action, first_observation, first_reward: row of the episode's first one.
    """

    store_index: np.ndarray
    length: np.ndarray
    terminated: np.ndarray
    success: np.ndarray
    first_action: np.ndarray
    first_observation: np.ndarray
    first_reward: np.ndarray

    @classmethod
    def empty(cls) -> EpisodeTable:
        """The table of no episode."""
        none, no = np.empty(0, np.int64), np.empty(0, bool)
        return cls(none, none, no, no, none, none, none)

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
        step = windows - np.take(self.windows.first, episode)
        return Places(episode, np.take(self.table.length, episode), step)

    def actions(self, places: Places, start: np.ndarray, count: int) -> np.ndarray:
        """`[B, count, A]`: actions from step `start` on, past the end the episode's last one."""
        column = self.columns.actions
        first = np.take(self.table.first_action, places.episode)

        def one_by_one(which: np.ndarray) -> np.ndarray:
            steps = start[which, None] + np.arange(count)
            within = np.minimum(steps, places.length[which, None] - 1)
            return np.take(column, first[which, None] + within, axis=0)

        return _windows(column, first + start, count, start + count > places.length, one_by_one)

    def rewards(self, places: Places, start: np.ndarray, count: int) -> np.ndarray:
        """`[B, count]`: rewards from step `start` on, past the end zero."""
        column = self.columns.rewards
        first = np.take(self.table.first_reward, places.episode)

        def one_by_one(which: np.ndarray) -> np.ndarray:
            steps = start[which, None] + np.arange(count)
            length = places.length[which, None]
            rows = first[which, None] + np.minimum(steps, length - 1)
            return np.take(column, rows) * (steps < length)

        return _windows(column, first + start, count, start + count > places.length, one_by_one)

    def states(self, places: Places, last: np.ndarray, count: int) -> dict[str, np.ndarray]:
        """key → `[B, count, ...]`: the observations up to step `last`, padded with the first."""
        first = np.take(self.table.first_observation, places.episode)
        start = last - (count - 1)
        result: dict[str, np.ndarray] = {}
        for key, column in self.columns.states.items():

            def one_by_one(which: np.ndarray, column: np.ndarray = column) -> np.ndarray:
                steps = np.maximum(start[which, None] + np.arange(count), 0)
                return take_rows(column, first[which, None] + steps)

            result[key] = _windows(column, first + start, count, start < 0, one_by_one)
        return result


def _windows(
    column: np.ndarray,
    rows: np.ndarray,
    count: int,
    crosses_end: np.ndarray,
    one_by_one: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """`[B, count, ...]`: whole windows where they lie inside their episode, else `one_by_one`.

    Args:
        column: `[N, ...]`.
        rows: `[B]`, where each window begins; may lie outside the column where it crosses.
        count: rows of a window.
        crosses_end: `[B]`, windows that leave their episode.
        one_by_one: gathers the windows of these numbers in the batch.
    """
    crossing = np.flatnonzero(crosses_end)
    if len(column) < count or not count or len(crossing) == len(rows):
        return one_by_one(np.arange(len(rows)))
    if not len(crossing):
        return take_windows(column, rows, count)
    result = take_windows(column, np.clip(rows, 0, len(column) - count), count)
    result[crossing] = one_by_one(crossing)
    return result
