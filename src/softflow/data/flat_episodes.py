"""Episodes laid end to end in RAM, so that many windows are gathered with one indexing each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from softflow.data.batch import DataSpec
from softflow.data.episode_store import EpisodeStore


class FlatEpisodes:
    """States, actions and rewards of N episodes, concatenated (images stay on disk).

    Attributes:
        states: state key → `[sum(T+1), ...]` float32.
        store_index, length, terminated, success: `[N]`, one entry per episode.
        window_episode, window_step: `[sum(T)]`, episode 0 … N−1 and control step t of each
            decision window.
    """

    def __init__(self, spec: DataSpec) -> None:
        self.states = {
            key: np.empty((0, *spec.observation_shapes[key]), np.float32) for key in spec.state_keys
        }
        self.store_index = np.empty(0, np.int64)
        self.length = np.empty(0, np.int64)
        self.terminated = np.empty(0, bool)
        self.success = np.empty(0, bool)
        self.window_episode = np.empty(0, np.int64)
        self.window_step = np.empty(0, np.int64)
        self._first_action = np.empty(0, np.int64)
        self._actions = np.empty((0, spec.action_dim), np.float32)
        self._rewards = np.empty(0, np.float32)

    def add(self, store: EpisodeStore, indices: Sequence[int]) -> None:
        """Read these episodes and lay them behind the present ones; all of them or none."""
        episodes = [store.episode(index, with_images=False) for index in indices]
        if not episodes:
            return
        for key, old in self.states.items():
            self.states[key] = np.concatenate([old, *(e.observations[key] for e in episodes)])
        self._actions = np.concatenate([self._actions, *(e.actions for e in episodes)])
        self._rewards = np.concatenate([self._rewards, *(e.rewards for e in episodes)])
        self.store_index = np.append(self.store_index, np.asarray(indices, np.int64))
        self.length = np.append(self.length, [e.length for e in episodes])
        self.terminated = np.append(self.terminated, [bool(e.terminated) for e in episodes])
        self.success = np.append(self.success, [bool(e.success) for e in episodes])
        self._number_windows()

    def _number_windows(self) -> None:
        self._first_action = np.cumsum(self.length) - self.length
        self.window_episode = np.repeat(np.arange(len(self.length)), self.length)
        window = np.arange(len(self.window_episode))
        self.window_step = window - self._first_action[self.window_episode]

    def actions(self, episode: np.ndarray, start: np.ndarray, count: int) -> np.ndarray:
        """`[B, count, A]`: actions from `start` on, past the end the episode's last one."""
        steps = np.minimum(start[:, None] + np.arange(count), self.length[episode][:, None] - 1)
        return np.take(self._actions, self._first_action[episode][:, None] + steps, axis=0)

    def rewards(self, episode: np.ndarray, start: np.ndarray, count: int) -> np.ndarray:
        """`[B, count]`: rewards from `start` on, past the end zero."""
        steps = start[:, None] + np.arange(count)
        length = self.length[episode][:, None]
        rows = self._first_action[episode][:, None] + np.minimum(steps, length - 1)
        return np.take(self._rewards, rows) * (steps < length)

    def observation_rows(self, episode: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Rows of `states` for observations `steps` `[B, K]` of each episode `[B]`."""
        # Every earlier episode has one observation more than actions.
        return (self._first_action[episode] + episode)[:, None] + steps
