"""A policy of chunks that acts in N hands at once, each deciding when its own chunk is used up."""

from __future__ import annotations

import numpy as np
import torch

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY
from softflow.errors import NumericalError
from softflow.models.action_selection import ChunkSelector


class BatchedStudent:
    """Decisions of N hands.

    A decision is made every `execution_horizon` control steps and arrives at once; its prefix are
    the P actions that were committed before, neutral ones at the start of an episode.

    Args:
        selector: decides.
        chunk: lengths of a decision.
        num: N.
        neutral: [A], the action that holds still.
        seed: of the candidates.
    """

    def __init__(
        self, selector: ChunkSelector, chunk: ChunkSpec, num: int, neutral: np.ndarray, seed: int
    ) -> None:
        self._selector, self._chunk, self._neutral = selector, chunk, neutral
        self._generator = torch.Generator().manual_seed(seed)
        planned = chunk.prefix_length + chunk.chunk_length
        self._plan = np.tile(neutral.astype(np.float32), (num, planned, 1))
        self._used = np.full(num, chunk.execution_horizon)
        self._history: np.ndarray | None = None
        self._fresh = np.ones(num, dtype=bool)

    def begin(self, indices: np.ndarray) -> None:
        """New episodes of some hands begin with the next states."""
        self._fresh[indices] = True
        self._plan[indices] = self._neutral
        self._used[indices] = self._chunk.execution_horizon

    def act(self, states: np.ndarray) -> np.ndarray:
        """The actions [N, A] for states [N, S], float32.

        Raises:
            NumericalError: the policy chose an action that is not finite.
        """
        self._remember(states)
        rows = np.flatnonzero(self._used >= self._chunk.execution_horizon)
        if len(rows):
            self._decide(rows)
        actions = self._plan[np.arange(len(states)), self._used]
        self._used += 1
        return actions

    def _remember(self, states: np.ndarray) -> None:
        length = self._chunk.history_length
        if self._history is None:
            self._history = np.repeat(states[:, None], length, axis=1)
        self._history = np.concatenate([self._history[:, 1:], states[:, None]], axis=1)
        self._history[self._fresh] = states[self._fresh, None]
        self._fresh[:] = False

    def _decide(self, rows: np.ndarray) -> None:
        assert self._history is not None
        begin, prefix_length = self._chunk.execution_horizon, self._chunk.prefix_length
        prefix = self._plan[rows, begin : begin + prefix_length]
        chunk = self._selector(
            {STATE_KEY: torch.from_numpy(self._history[rows])},
            torch.from_numpy(prefix),
            self._generator,
        ).numpy()
        if not np.isfinite(chunk).all():
            raise NumericalError("the student chose an action that is not finite")
        self._plan[rows, :prefix_length] = prefix
        self._plan[rows, prefix_length:] = np.clip(chunk, -1.0, 1.0)
        self._used[rows] = 0
