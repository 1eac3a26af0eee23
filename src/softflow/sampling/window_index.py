"""Windows numbered episode after episode, and found again in constant time and little memory."""

from __future__ import annotations

import numpy as np

MAX_STEPS_FORWARD = 4


class WindowIndex:
    """Which episode a window lies in; an episode of T control steps has T windows.

    A table says in which episode each block of 2^k windows begins, with 2^k at most the mean
    length, so it holds at most two entries an episode: nothing here grows with the windows.

    Args:
        lengths: T of each episode, all ≥ 1.

    Attributes:
        first: `[N + 1]`, number of each episode's first window, and the number of all windows.
    """

    def __init__(self, lengths: np.ndarray) -> None:
        self.first = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        mean = max(1, len(self) // max(1, len(lengths)))
        self._shift = mean.bit_length() - 1
        self._end = self.first[1:]
        blocks = np.arange(0, len(self), 1 << self._shift)
        self._begins_in = np.searchsorted(self._end, blocks, side="right")

    def __len__(self) -> int:
        return int(self.first[-1])

    def episodes(self, windows: np.ndarray) -> np.ndarray:
        """The episode `[B]` of each window `[B]`, all in 0 … len − 1."""
        episode = self._begins_in.take(windows >> self._shift)
        for _ in range(MAX_STEPS_FORWARD):
            behind = windows >= self._end.take(episode)
            if not behind.any():
                return episode
            episode += behind
        # Many short episodes in one block.
        return np.searchsorted(self._end, windows, side="right")
