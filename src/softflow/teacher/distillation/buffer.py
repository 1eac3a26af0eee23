"""What N hands did for T control steps, and the sliding windows of it (Fig. 7)."""

from __future__ import annotations

import numpy as np
import torch

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY
from softflow.sampling.chunk_batch import ChunkBatch


class DistillationBuffer:
    """States, executed actions and the teacher's actions of N hands over T control steps.

    A window at step t sees the states up to t and the P actions that were committed, a[t : t+P],
    and is to predict what the teacher would have done next, [t+P : t+P+H].

    Args:
        steps: T.
        num: N.
        state_dim: of a state; action_dim: of an action.
    """

    def __init__(self, steps: int, num: int, state_dim: int, action_dim: int) -> None:
        self._states = np.zeros((steps, num, state_dim), np.float32)
        self._executed = np.zeros((steps, num, action_dim), np.float32)
        self._wanted = np.zeros((steps, num, action_dim), np.float32)
        self._first = np.zeros((steps, num), int)
        self._last = np.full((steps, num), steps - 1)
        self._began = np.zeros(num, int)
        self._length = 0

    def __len__(self) -> int:
        """Control steps so far."""
        return self._length

    def add(
        self, states: np.ndarray, executed: np.ndarray, wanted: np.ndarray, ended: np.ndarray
    ) -> None:
        """One control step: states [N, S] before it, actions [N, A], whose episodes it ended."""
        step = self._length
        self._states[step], self._executed[step], self._wanted[step] = states, executed, wanted
        self._first[step] = self._began
        for row in np.flatnonzero(ended):
            self._last[self._began[row] : step + 1, row] = step
            self._began[row] = step + 1
        self._length += 1

    def windows(self, chunk: ChunkSpec) -> np.ndarray:
        """The (step, hand) [W, 2] of every window with at least one action to predict."""
        last = self._last[: self._length]
        steps = np.arange(self._length)[:, None]
        return np.argwhere(steps + chunk.prefix_length <= np.minimum(last, self._length - 1))

    def batch(self, windows: np.ndarray, chunk: ChunkSpec) -> ChunkBatch:
        """Windows [B, 2] as a batch; what is no part of imitation is empty."""
        step, hand = windows.T
        first, last = self._first[step, hand], self._last[step, hand]
        last = np.minimum(last, self._length - 1)
        seen = step[:, None] + np.arange(1 - chunk.history_length, 1)
        seen = np.maximum(seen, first[:, None])
        prefix = step[:, None] + np.arange(chunk.prefix_length)
        ahead = step[:, None] + chunk.prefix_length + np.arange(chunk.chunk_length)
        inside, limit, column = ahead <= last[:, None], last[:, None], hand[:, None]
        rows = len(windows)
        return ChunkBatch(
            observation={STATE_KEY: torch.from_numpy(self._states[seen, column])},
            prefix_actions=torch.from_numpy(self._executed[np.minimum(prefix, limit), column]),
            actions=torch.from_numpy(self._wanted[np.minimum(ahead, limit), column]),
            step_valid=torch.from_numpy(inside),
            rewards=torch.zeros(rows, chunk.execution_horizon),
            num_steps=torch.full((rows,), chunk.execution_horizon),
            next_observation={},
            next_prefix_actions=torch.zeros(rows, chunk.prefix_length, self._executed.shape[2]),
            bootstrap_mask=torch.zeros(rows),
            is_offline=torch.ones(rows, dtype=torch.bool),
            episode_success=torch.ones(rows, dtype=torch.bool),
            has_action=torch.from_numpy(inside.any(axis=1)),
            person_steps=torch.zeros(rows, dtype=torch.int64),
            window=torch.arange(rows),
        )
