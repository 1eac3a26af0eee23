"""One episode of a policy: observations in, actions out, control step by control step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from softflow.control.chunk_scheduler import ChunkScheduler
from softflow.control.observation_history import ObservationHistory
from softflow.data.chunk_spec import ChunkSpec

Decide = Callable[[dict[str, np.ndarray], np.ndarray, int], np.ndarray]
"""Observations (key -> `[history, ...]`), prefix `[P, A]` and control step -> a chunk `[H, A]`."""


def _no_delay() -> int:
    return 0


class ActingEpisode:
    """What a policy keeps within an episode: observation history, committed actions, planned ones.

    Simulated rollouts and a loaded policy (`softflow.load_policy`) act through this one loop. It
    waits for each decision; a robot that does not uses history and scheduler by themselves.

    Args:
        chunk: lengths of a decision.
        neutral_action: `[A]`, holds the robot still; committed before the first decision, and
            commanded where a late decision leaves nothing to execute.
        decide: takes a decision, every `execution_horizon` control steps.
        delay: after how many control steps a decision arrives; meanwhile none is taken.
        stops_to_think: the robot stands still until a decision is there, instead of going on with
            what is left of the one before: of that no more than `execution_horizon` is kept.
    """

    def __init__(
        self,
        chunk: ChunkSpec,
        neutral_action: np.ndarray,
        decide: Decide,
        delay: Callable[[], int] = _no_delay,
        stops_to_think: bool = False,
    ) -> None:
        self._chunk, self._decide, self._delay = chunk, decide, delay
        self._neutral = np.asarray(neutral_action, np.float32)
        self._kept = chunk.execution_horizon if stops_to_think else chunk.chunk_length
        self._scheduler = ChunkScheduler(replace(chunk, chunk_length=self._kept), self._neutral)
        self._history: ObservationHistory | None = None
        self._on_its_way: tuple[int, int, np.ndarray] | None = None
        self.held_steps = 0
        """Control steps that no decision covered."""

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
        self._hand_over()
        if self._scheduler.decision_due and self._on_its_way is None:
            step, prefix = self.control_step, self._scheduler.ask()
            chunk = self._decide(self._history.stacked(), prefix, step)
            self._on_its_way = (step + self._delay(), step, chunk)
            self._hand_over()
        return self._next_action()

    def _hand_over(self) -> None:
        """Give the scheduler what has arrived by now."""
        if self._on_its_way is not None and self._on_its_way[0] <= self.control_step:
            _, asked_at, chunk = self._on_its_way
            self._on_its_way = None
            self._scheduler.add(asked_at, chunk[: self._kept])

    def _next_action(self) -> np.ndarray:
        scheduled = self._scheduler.next_action()
        if not scheduled.held:
            return scheduled.action
        self.held_steps += 1
        self._scheduler.commanded(self._neutral)
        return self._neutral
