"""Which action is executed at which control step, from decisions that may arrive late.

A decision taken at control step t sees the P actions committed for t … t+P−1 and predicts those of
t+P … t+P+H−1 (Sec. IV-A, Fig. 7). There is no clock in here: whoever steps the robot asks for one
action a control step and hands decisions over when they come, so a simulator without delay and a
robot run the same code, and how many actions of a chunk were used is counted, never estimated.

    early, in time   used from t+P on
    late             used from the step of its arrival on; the actions of steps gone by are skipped
    late, but the robot has stood still since t: nothing is skipped, its actions begin now, as the
                     state it was decided for is the state of now (the first decision, and any
                     that was waited for)
    later than H     of no use
    never            the last commanded action is held, and said to be
    twice            the second time it is ignored
    out of order     one older than the newest in use is ignored
    older policy     ignored after one of a newer policy
    overtaken        taken before somebody else had the robot, or before it began to move with
                     another one: it expected other actions than were executed; ignored
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from softflow.data.chunk_spec import ChunkSpec
from softflow.errors import ConfigError

Verdict = Literal[
    "in time",
    "late",
    "waited for",
    "too late",
    "twice",
    "out of order",
    "older policy",
    "overtaken",
]
"""What came of a decision that arrived."""


class Arrival(NamedTuple):
    """What came of a decision.

    Attributes:
        usable: how many of its actions can still be executed.
        skipped: how many cannot, because their steps have gone by.
        verdict: in a word.
    """

    usable: int
    skipped: int
    verdict: Verdict


class ScheduledAction(NamedTuple):
    """What to command in a control step.

    Attributes:
        action: `[A]` float32, the robot's units.
        held: no decision covers this step: the robot is to stand still. The action is the last one
            commanded; where another one holds it still, command that and say so (`commanded`).
        decision_step: the control step of the decision it comes from; -1 for none.
        place: where it stands in that decision, from 0; -1 for none.
    """

    action: np.ndarray
    held: bool
    decision_step: int = -1
    place: int = -1


class ChunkScheduler:
    """The committed actions of one episode.

    Args:
        chunk: lengths of a decision.
        neutral_action: `[A]`, holds the robot still: what is committed before the first decision.
    """

    def __init__(self, chunk: ChunkSpec, neutral_action: np.ndarray) -> None:
        self.chunk = chunk
        self._last = np.asarray(neutral_action, np.float32)
        neutral = ScheduledAction(self._last, held=False)
        self._ahead: list[ScheduledAction | None] = [neutral] * chunk.prefix_length
        self._step = 0
        self._asked: int | None = None
        self._newest_decision = -1
        self._newest_policy = 0
        self._still_since = 0
        self._overtaken_before = 0

    @property
    def control_step(self) -> int:
        """The step whose action comes next, from 0."""
        return self._step

    @property
    def decision_due(self) -> bool:
        """Whether a decision is to be taken: every E steps, or at once when that was missed."""
        return self._asked is None or self._step - self._asked >= self.chunk.execution_horizon

    def ask(self) -> np.ndarray:
        """Note that a decision is taken at this step; returns its `prefix()`."""
        self._asked = self._step
        return self.prefix()

    def prefix(self) -> np.ndarray:
        """The actions committed for the next P steps, `[P, A]`: the context of a decision now.

        Where fewer are committed, the last of them is repeated, or the last one commanded: that is
        what will be commanded. Zeros would be the mean of the data to a network, and a jump.
        """
        prefix = np.empty((self.chunk.prefix_length, len(self._last)), np.float32)
        last = self._last
        for index in range(len(prefix)):
            planned = self._ahead[index] if index < len(self._ahead) else None
            last = last if planned is None else planned.action
            prefix[index] = last
        return prefix

    def add(self, decision_step: int, actions: np.ndarray, policy: int = 0) -> Arrival:
        """Take over a decision; it replaces what older ones planned from its first action on.

        Hand over whatever has arrived before asking for the next decision of the same step.

        Args:
            decision_step: the control step t at which it was asked for.
            actions: `[H, A]`, for the steps t+P … t+P+H−1.
            policy: which policy took it: the later one has the higher number.

        Raises:
            ConfigError: actions of another shape, or a decision of a step that is still to come.
        """
        self._require_possible(decision_step, actions)
        ignored = self._why_ignored(decision_step, policy)
        if ignored is not None:
            return Arrival(0, 0, ignored)
        late = max(self._step - decision_step - self.chunk.prefix_length, 0)
        waited_for = late > 0 and decision_step >= self._still_since
        skipped = 0 if waited_for else min(late, len(actions))
        if skipped == len(actions):
            return Arrival(0, skipped, "too late")
        self._newest_decision, self._newest_policy = decision_step, policy
        if waited_for:
            # As if it had been asked for now: what was asked in between saw the same robot.
            self._asked = self._step - self.chunk.prefix_length
            self._overtaken_before = self._step
        self._plan(decision_step, actions, skipped)
        verdict: Verdict = "waited for" if waited_for else "late" if late else "in time"
        return Arrival(len(actions) - skipped, skipped, verdict)

    def _require_possible(self, decision_step: int, actions: np.ndarray) -> None:
        expected = (self.chunk.chunk_length, len(self._last))
        if actions.shape != expected:
            raise ConfigError(f"a decision has actions of shape {actions.shape}, not {expected}")
        if not 0 <= decision_step <= self._step:
            raise ConfigError(
                f"a decision of control step {decision_step} at control step {self._step}; a "
                "decision is taken before it arrives"
            )

    def _why_ignored(self, decision_step: int, policy: int) -> Verdict | None:
        if policy < self._newest_policy:
            return "older policy"
        if decision_step == self._newest_decision:
            return "twice"
        if decision_step < self._newest_decision:
            return "out of order"
        return "overtaken" if decision_step < self._overtaken_before else None

    def _plan(self, decision_step: int, actions: np.ndarray, skipped: int) -> None:
        """Put the actions of a decision where their steps are, behind what is committed."""
        first = max(decision_step + self.chunk.prefix_length - self._step, 0)
        kept = self._ahead[:first]
        planned = [
            ScheduledAction(actions[index], held=False, decision_step=decision_step, place=index)
            for index in range(skipped, len(actions))
        ]
        self._ahead = [*kept, *[None] * (first - len(kept)), *planned]
        if self._asked is None:
            self._asked = decision_step
        self._asked = max(self._asked, decision_step)

    def next_action(self) -> ScheduledAction:
        """The action of this control step; the next call is for the next step."""
        planned = self._ahead.pop(0) if self._ahead else None
        self._step += 1
        if planned is None:
            return ScheduledAction(self._last, held=True)
        if planned.decision_step >= 0:
            self._still_since = self._step
        self._last = planned.action
        return planned

    def commanded(self, action: np.ndarray) -> None:
        """What was commanded in the step before, where it is not what `next_action` said.

        Args:
            action: `[A]`: as a safety layer clipped it, or what holds the robot still.
        """
        self._last = np.asarray(action, np.float32)

    def lost(self) -> None:
        """The decision that was asked for last will not come: another one is due at once."""
        self._asked = None

    def overridden(self, action: np.ndarray) -> None:
        """Somebody else commands this control step: everything planned and asked for is void.

        Args:
            action: `[A]`, what a person, or whoever holds the robot, commands; the next call is for
                the next step.
        """
        self._step += 1
        self._last = np.asarray(action, np.float32)
        self._ahead = []
        self._asked = None
        self._still_since = self._overtaken_before = self._step
