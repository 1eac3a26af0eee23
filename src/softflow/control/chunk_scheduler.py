"""Which action is executed at which control step, from decisions that may arrive late.

A decision taken at control step t sees the P actions committed for t … t+P−1 and predicts those of
t+P … t+P+H−1 (Sec. IV-A, Fig. 7). It is used from t+P on, or from the step at which it arrives if
that is later; the next one is due at t+E. There is no clock in here: whoever steps the robot asks
for one action a control step and hands decisions over when they come, so a simulator without delay
and a robot run the same code.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from softflow.data.chunk_spec import ChunkSpec
from softflow.errors import ConfigError


class ScheduledAction(NamedTuple):
    """What to command in a control step.

    Attributes:
        action: `[A]` float32, the robot's units.
        held: no decision covers this step, so the last commanded action is repeated.
    """

    action: np.ndarray
    held: bool


class ChunkScheduler:
    """The committed actions of one episode.

    Args:
        chunk: lengths of a decision.
        neutral_action: `[A]`, holds the robot still: what is committed before the first decision.
    """

    def __init__(self, chunk: ChunkSpec, neutral_action: np.ndarray) -> None:
        self.chunk = chunk
        self._last = np.asarray(neutral_action, np.float32)
        self._ahead: list[np.ndarray | None] = [self._last] * chunk.prefix_length
        self._step = 0
        self._newest_decision = -1

    @property
    def control_step(self) -> int:
        """The step whose action comes next, from 0."""
        return self._step

    @property
    def decision_due(self) -> bool:
        """Whether a decision is to be taken at this step (every E steps)."""
        return self._step % self.chunk.execution_horizon == 0

    def prefix(self) -> np.ndarray:
        """The actions committed for the next P steps, `[P, A]`: the context of a decision now.

        Where fewer are committed, the last of them is repeated: that is what will be commanded.
        """
        prefix = np.empty((self.chunk.prefix_length, len(self._last)), np.float32)
        last = self._last
        for index in range(len(prefix)):
            planned = self._ahead[index] if index < len(self._ahead) else None
            last = last if planned is None else planned
            prefix[index] = last
        return prefix

    def add(self, decision_step: int, actions: np.ndarray) -> int:
        """Take over a decision; it replaces what older ones planned from its first action on.

        Args:
            decision_step: the control step t at which it was asked for.
            actions: `[H, A]`, for the steps t+P … t+P+H−1.

        Returns:
            How many of its actions can still be executed: H if it is in time, fewer if it is late,
            0 if it is too late or a newer one is there already.

        Raises:
            ConfigError: actions of another shape, or a decision of a step that is still to come.
        """
        expected = (self.chunk.chunk_length, len(self._last))
        if actions.shape != expected:
            raise ConfigError(f"a decision has actions of shape {actions.shape}, not {expected}")
        if not 0 <= decision_step <= self._step:
            raise ConfigError(
                f"a decision of control step {decision_step} at control step {self._step}; a "
                "decision is taken before it arrives"
            )
        first = decision_step + self.chunk.prefix_length - self._step
        if decision_step <= self._newest_decision or first + len(actions) <= 0:
            return 0
        self._newest_decision = decision_step
        usable = list(actions[max(-first, 0) :])
        kept = self._ahead[: max(first, 0)]
        gap = max(first, 0) - len(kept)
        self._ahead = [*kept, *[None] * gap, *usable]
        return len(usable)

    def next_action(self) -> ScheduledAction:
        """The action of this control step; the next call is for the next step."""
        planned = self._ahead.pop(0) if self._ahead else None
        if planned is not None:
            self._last = planned
        self._step += 1
        return ScheduledAction(self._last, held=planned is None)
