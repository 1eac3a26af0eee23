"""One episode of a policy: observations in, actions out, control step by control step."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from softflow.control.chunk_scheduler import ChunkScheduler
from softflow.control.observation_history import ObservationHistory
from softflow.data.chunk_spec import ChunkSpec

Decide = Callable[[dict[str, np.ndarray], np.ndarray, int], np.ndarray]
"""Observations (key -> `[history, ...]`), prefix `[P, A]` and control step -> a chunk `[H, A]`."""


class ActingEpisode:
    """What a policy keeps within an episode: observation history, committed actions, planned ones.

    Simulated rollouts and a loaded policy (`softflow.load_policy`) act through this one loop. It
    waits for each decision; a robot that does not uses history and scheduler by themselves.

    Args:
        chunk: lengths of a decision.
        neutral_action: `[A]`, holds the robot still; committed before the first decision.
        decide: takes a decision, every `execution_horizon` control steps.
    """

    def __init__(self, chunk: ChunkSpec, neutral_action: np.ndarray, decide: Decide) -> None:
        self._chunk, self._decide = chunk, decide
        self._scheduler = ChunkScheduler(chunk, neutral_action)
        self._history: ObservationHistory | None = None

    @property
    def control_step(self) -> int:
        """The step whose action comes next, from 0."""
        return self._scheduler.control_step

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """The action `[A]` of this control step; the next call is for the next step.

        Args:
            observation: key -> value, as it is now; it is kept, so it must not be written to.
        """
        if self._history is None:
            self._history = ObservationHistory(self._chunk.history_length, observation)
        else:
            self._history.add(observation)
        if self._scheduler.decision_due:
            step, prefix = self.control_step, self._scheduler.prefix()
            self._scheduler.add(step, self._decide(self._history.stacked(), prefix, step))
        return self._scheduler.next_action().action
