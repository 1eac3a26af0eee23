"""Many episodes end to end in a few arrays, so that a batch of windows is a few indexings.

An episode of T control steps fills T+PADDING rows of every array: behind its end the last
observation and the last action are repeated, and rewards are zero. So most windows that run past
the end are gathered like all others; the rest, and those from before step 0, row by row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode

ACTION, REWARD = "action", "next.reward"
PADDING = 16
"""More would save time where prefix and chunk are longer, and cost memory: T is some 50 to 500."""
_MAX_STEPS_FORWARD = 4


TABLE = np.dtype(
    [
        ("store_index", np.int64),
        ("length", np.int64),
        ("terminated", bool),
        ("success", bool),
        ("identity", "S32"),
        ("first", np.int64),
    ]
)
"""What is known of an episode besides its rows: position in the store, T, as in `Episode` twice, a
hash of its file and its label, and its first row."""


class Places(NamedTuple):
    """Decision windows `[B]`: their episode, the row of its step 0, its length, and their step."""

    episode: np.ndarray
    first: np.ndarray
    length: np.ndarray
    step: np.ndarray


class FlatEpisodes:
    """States, actions and rewards of N episodes (images stay on disk). It never changes: who adds
    episodes makes a new one, and threads that gather from the old one are not disturbed.

    Args:
        arrays: state key, "action" or "next.reward" → `[rows, ...]` float32, in RAM or mapped.
        table: `[N]` of `TABLE`, the episodes in them; some of them, where arrays are shared.
        lead: P > 0 gives every episode one window more, in front of the others: at step -P, as if
            the robot had held still for P control steps before the recording.

    Attributes:
        store_index, length, terminated, success: columns of the table `[N]`.
        num_windows_of: windows of each episode `[N]`.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], table: np.ndarray, lead: int = 0) -> None:
        self.arrays = arrays
        self.table = table
        self.lead = lead
        self.store_index, self.length, self.terminated, self.success, self._first = (
            np.ascontiguousarray(table[name])
            for name in ("store_index", "length", "terminated", "success", "first")
        )
        self._states = {k: a for k, a in arrays.items() if k not in (ACTION, REWARD)}
        # Per window nothing is kept: a few windows share an entry that says where to look.
        self.num_windows_of = self.length + (lead > 0)
        self._ends = np.cumsum(self.num_windows_of)
        self._shift = max(1, self.num_windows // max(1, len(self))).bit_length() - 1
        blocks = np.arange(0, self.num_windows, 1 << self._shift)
        self._begins_in = np.searchsorted(self._ends, blocks, side="right")

    @classmethod
    def empty(cls, spec: DataSpec, lead: int = 0) -> FlatEpisodes:
        """No episodes."""
        return cls(filled_arrays(array_shapes(spec, 0), ()), np.empty(0, TABLE), lead)

    def __len__(self) -> int:
        return len(self.table)

    @property
    def num_windows(self) -> int:
        """Number of decision windows of all episodes."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def episode(self, number: int) -> Episode:
        """Views of the arrays of an episode, 0 … N − 1; without images and metadata."""
        first, length = int(self._first[number]), int(self.length[number])
        return Episode(
            {key: array[first : first + length + 1] for key, array in self._states.items()},
            self.arrays[ACTION][first : first + length],
            self.arrays[REWARD][first : first + length],
            terminated=bool(self.terminated[number]),
            truncated=not self.terminated[number],
            success=bool(self.success[number]),
        )

    def chosen(self, numbers: Sequence[int]) -> FlatEpisodes:
        """These of the episodes, in this order, in the same arrays."""
        return FlatEpisodes(self.arrays, self.table[np.asarray(numbers, np.int64)], self.lead)

    def places(self, windows: np.ndarray) -> Places:
        """Where windows `[B]` lie, numbered episode after episode."""
        episode = self._episodes(windows)
        length = self.length.take(episode)
        step = windows - self._ends.take(episode) + length
        if self.lead:
            step[step < 0] = -self.lead
        return Places(episode, self._first.take(episode), length, step)

    def _episodes(self, windows: np.ndarray) -> np.ndarray:
        """The episode `[B]` of each window, 2 to 10 times faster than by `searchsorted` alone."""
        episode = self._begins_in.take(windows >> self._shift)
        for _ in range(_MAX_STEPS_FORWARD):
            behind = windows >= self._ends.take(episode)
            if not behind.any():
                return episode
            episode += behind
        # Many short episodes share an entry.
        return np.searchsorted(self._ends, windows, side="right")

    def actions(self, places: Places, start: np.ndarray, count: int) -> np.ndarray:
        """`[B, count, A]`: actions from step `start` `[B]` on, past the end the last one.

        Before step 0 stands the first one, which is not what was commanded then.
        """
        return _windows(self.arrays[ACTION], places, start, count)

    def rewards(self, places: Places, start: np.ndarray, count: int) -> np.ndarray:
        """`[B, count]`: rewards from step `start` `[B]` on, before and past the episode zero."""
        rewards = _windows(self.arrays[REWARD], places, start, count)
        if self.lead:
            rewards[before_the_start(start, count)] = 0.0
        return rewards

    def states(self, places: Places, last: np.ndarray, count: int) -> dict[str, np.ndarray]:
        """key → `[B, count, ...]`: observations up to step `last` `[B]`, before 0 the first."""
        start = last - (count - 1)
        return {k: _windows(array, places, start, count) for k, array in self._states.items()}


def before_the_start(start: np.ndarray, count: int) -> np.ndarray:
    """`[B, count]`: which of the steps from `start` on lie before step 0."""
    return start[:, None] + np.arange(count) < 0


def laid_out(table: np.ndarray) -> np.ndarray:
    """The table `[N]` of the same episodes one behind the other, from row 0 on."""
    table, rows = table.copy(), table["length"] + PADDING
    table["first"] = np.cumsum(rows) - rows
    return table


def array_shapes(spec: DataSpec, num_rows: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the arrays that hold `num_rows` rows, T+PADDING for every episode."""
    shapes = {key: spec.observation_shapes[key] for key in spec.state_keys}
    shapes |= {ACTION: (spec.action_dim,), REWARD: ()}
    return {name: (num_rows, *shape) for name, shape in shapes.items()}


def row_bytes(spec: DataSpec) -> int:
    """Bytes of one row of all arrays; an episode of T control steps has T+PADDING."""
    return 4 * sum(math.prod(shape) for shape in array_shapes(spec, 1).values())


def rows_of(episode: Episode) -> dict[str, np.ndarray]:
    """What an episode adds to every array, T+PADDING rows each."""
    arrays = {**episode.observations, ACTION: episode.actions, REWARD: episode.rewards}
    rows = np.arange(episode.length + PADDING)
    result = {name: array[np.minimum(rows, len(array) - 1)] for name, array in arrays.items()}
    result[REWARD][episode.length :] *= 0
    return result


def filled_arrays(
    shapes: Mapping[str, tuple[int, ...]], episodes: Iterable[Episode]
) -> dict[str, np.ndarray]:
    """The rows of all episodes in RAM; episode by episode, so that nothing is there twice."""
    arrays = {name: np.empty(shape, np.float32) for name, shape in shapes.items()}
    stop = 0
    for episode in episodes:
        start, stop = stop, stop + episode.length + PADDING
        for name, rows in rows_of(episode).items():
            arrays[name][start:stop] = rows
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


def take_rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Rows `rows` (any shape, all in range) of a contiguous `[N, ...]`: `[*rows.shape, ...]`."""
    # One opaque value per row: numpy then copies it in one go, whatever its shape.
    values = _overlapping(array, 1).take(rows)
    return values.view(array.dtype).reshape(*rows.shape, *array.shape[1:])


def _windows(array: np.ndarray, places: Places, start: np.ndarray, count: int) -> np.ndarray:
    """`[B, count, ...]`: rows of the steps from `start` on; for steps before 0 the first row."""
    if not count:
        return np.empty((len(start), 0, *array.shape[1:]), array.dtype)
    rows = places.first + start
    outside = (start < 0) | (start + count > places.length + PADDING)
    which = outside.nonzero()[0]
    if not len(which):
        return _take_windows(array, rows, count)
    steps = np.clip(start[which, None] + np.arange(count), 0, places.length[which, None])
    cut = take_rows(array, places.first[which, None] + steps)
    if len(which) == len(rows):
        return cut
    result = _take_windows(array, np.clip(rows, 0, len(array) - count), count)
    result[which] = cut
    return result


def _take_windows(array: np.ndarray, starts: np.ndarray, count: int) -> np.ndarray:
    """Rows `starts[i]` to `starts[i] + count` of a contiguous `[N, ...]`: `[B, count, ...]`.

    Each window is copied in one go, 3 to 5 times faster than `count` single rows.
    """
    if count == 1:
        return take_rows(array, starts[:, None])
    values = _overlapping(array, count)[starts]
    return values.view(array.dtype).reshape(len(starts), count, *array.shape[1:])


def _overlapping(array: np.ndarray, count: int) -> np.ndarray:
    """Windows of `count` rows as opaque values `[N − count + 1]`; a view."""
    stride = array[:1].nbytes
    return np.ndarray(
        (len(array) - count + 1,), np.dtype((np.void, count * stride)), array, strides=(stride,)
    )
