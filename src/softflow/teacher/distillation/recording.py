"""Episodes of N hands, collected step by step and sealed in a store when they end."""

from __future__ import annotations

import numpy as np

from softflow.data.data_spec import STATE_KEY
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.measures import EVENTS_KEY
from softflow.envs.orca_cube.batched import HandStep
from softflow.envs.orca_cube.tasks import CUBE_PROFILE


class HandRecorder:
    """The episodes of N hands, as a store wants them; broken ones are thrown away.

    Args:
        store: to append to.
        num: N.
        source: what the episodes' metadata call their source.
    """

    def __init__(self, store: EpisodeStore, num: int, source: str) -> None:
        self._store, self._source = store, source
        self._states: list[list[np.ndarray]] = [[] for _ in range(num)]
        self._actions: list[list[np.ndarray]] = [[] for _ in range(num)]
        self._quarters: list[list[int]] = [[] for _ in range(num)]
        self.sealed = 0
        """Episodes appended by this recorder."""

    def add(
        self, states: np.ndarray, actions: np.ndarray, step: HandStep, teacher_share: float
    ) -> None:
        """One control step: states [N, S] before it, actions [N, A], and what came of them."""
        for row in range(len(states)):
            self._states[row].append(states[row].copy())
            self._actions[row].append(actions[row].astype(np.float32))
            self._quarters[row].append(int(step.quarters[row]))
        for row in np.flatnonzero(step.done):
            if not step.broken[row]:
                self._seal(int(row), step, teacher_share)
            self._forget(int(row))

    def _seal(self, row: int, step: HandStep, teacher_share: float) -> None:
        dropped = bool(step.dropped[row])
        quarters = self._quarters[row]
        events = [[t, "rotated"] for t, count in enumerate(quarters) for _ in range(count)]
        events += [[len(quarters) - 1, "dropped"]] * dropped
        names = [str(name) for _, name in events]
        states = np.stack([*self._states[row], step.state[row]])
        self._store.append(
            Episode(
                observations={STATE_KEY: states},
                actions=np.stack(self._actions[row]),
                rewards=np.array(quarters, np.float32),
                terminated=dropped,
                truncated=not dropped,
                success=CUBE_PROFILE.succeeded(names),
                metadata={
                    "source": self._source,
                    "teacher_share": teacher_share,
                    EVENTS_KEY: events,
                },
            )
        )
        self.sealed += 1

    def _forget(self, row: int) -> None:
        for kept in (self._states, self._actions, self._quarters):
            kept[row].clear()
