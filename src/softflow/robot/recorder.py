"""What happens on a robot, control step by control step, until it is an episode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.measures import EVENTS_KEY
from softflow.data.taken_over import TAKEN_OVER_KEY
from softflow.robot.protocol import Outcome

UNLABELLED_KEY = "unlabelled"
"""Metadata: nobody said how the episode ended, neither the robot nor a person."""


class Recorder:
    """One running episode, in memory: what it costs a tick is to keep a reference.

    Args:
        spec: what the episode holds.
    """

    def __init__(self, spec: DataSpec) -> None:
        self._spec = spec
        self._observations: list[Mapping[str, np.ndarray]] = []
        self._actions: list[np.ndarray] = []
        self._outcomes: list[Outcome] = []
        self._is_told = False
        self._taken_over: list[list[int]] = []

    @property
    def steps(self) -> int:
        """Control steps that were commanded."""
        return len(self._actions)

    @property
    def last(self) -> Outcome:
        """What the last step led to."""
        return self._outcomes[-1] if self._outcomes else Outcome()

    def observed(self, values: Mapping[str, np.ndarray]) -> None:
        """What was sensed before the next command, or after the last one; kept, not copied."""
        self._observations.append(values)

    def commanded(self, action: np.ndarray, outcome: Outcome | None, *, by_person: bool) -> None:
        """What was executed, which may not be what was asked for, and what it led to."""
        step = len(self._actions)
        if by_person and self._taken_over and self._taken_over[-1][1] == step - 1:
            self._taken_over[-1][1] = step
        elif by_person:
            self._taken_over.append([step, step])
        self._actions.append(action)
        self._outcomes.append(outcome or Outcome())
        self._is_told = self._is_told or outcome is not None

    def ended_by_person(self, *, success: bool) -> None:
        """A person says that the last step succeeded, or that nothing can go on from there."""
        last = self._outcomes[-1]
        self._outcomes[-1] = Outcome(float(success), True, success, last.events)
        self._is_told = True

    def episode(self, metadata: Mapping[str, Any]) -> Episode | None:
        """The episode so far; None before a step was commanded and what it led to was seen.

        A last action whose outcome nobody saw, because the robot was stopped, is left out.
        """
        steps = min(len(self._actions), len(self._observations) - 1)
        if steps < 1:
            return None
        outcomes = self._outcomes[:steps]
        return Episode(
            {
                key: np.stack([seen[key] for seen in self._observations[: steps + 1]])
                for key in self._spec.observation_shapes
            },
            np.stack(self._actions[:steps]),
            np.array([outcome.reward for outcome in outcomes], np.float32),
            terminated=outcomes[-1].terminated,
            truncated=not outcomes[-1].terminated,
            success=outcomes[-1].success,
            metadata={**metadata, **self._events(outcomes), TAKEN_OVER_KEY: self._taken_over}
            | ({} if self._is_told else {UNLABELLED_KEY: True}),
        )

    def _events(self, outcomes: list[Outcome]) -> dict[str, Any]:
        """What happened when, where the robot's task declares events."""
        if any(outcome.events is None for outcome in outcomes):
            return {}
        happened = [
            [step, name] for step, outcome in enumerate(outcomes) for name in outcome.events or ()
        ]
        return {EVENTS_KEY: happened}
