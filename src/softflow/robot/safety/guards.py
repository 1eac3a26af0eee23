"""The watchdogs of a loop: what is missing makes the robot hold still, then stop, and why."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from softflow.data.data_spec import DataSpec, is_image_key
from softflow.errors import RobotStoppedError
from softflow.robot.protocol import Sensed
from softflow.robot.safety.limits import Watchdogs
from softflow.robot.safety.watchdogs import FrozenWatch, Watchdog
from softflow.robot.timing.ticks import Tick

MOST_AHEAD_S = 60.0
"""How far an observation may be ahead of its tick: a pause of the computer while it is sensed."""


class Guards:
    """Watches an episode's observations, decisions, ticks and signs of life.

    Attributes:
        held_why: why the robot is to hold still in this control step; empty: it may move.

    Args:
        watchdogs: how patient they are.
        spec: what an observation holds.
        now_s: the episode begins.
    """

    def __init__(self, watchdogs: Watchdogs, spec: DataSpec, now_s: float) -> None:
        self._limits, self._spec = watchdogs, spec
        self._observation = Watchdog(watchdogs.observation, now_s)
        self._heartbeat = Watchdog(watchdogs.heartbeat, now_s)
        self._decided_s, self._patience_s = now_s, watchdogs.first_decision_s
        self._ever_decided = False
        self._frozen = FrozenWatch(watchdogs.frozen_s)
        self._usable: Sensed | None = None
        self._missed = 0
        self.held_why = ""

    def look(self, sensed: Sensed, tick: Tick) -> Sensed:
        """Look at what was sensed, at the beginning of a control step.

        Returns:
            It, or the last one that could be used.

        Raises:
            RobotStoppedError: too old, of another clock, unusable for too long, frozen, or too
                many missed ticks.
        """
        self.held_why = ""
        self._count_missed(tick)
        _require_same_clock(sensed, tick)
        if self.is_usable(sensed.values):
            self._observation.seen(min(sensed.taken_at_s, tick.at_s))
            # Copies: a driver may fill the same arrays again and again.
            values = {key: sensed.values[key].copy() for key in self._spec.observation_shapes}
            self._usable = Sensed(values, sensed.taken_at_s)
        self._judge(self._observation, tick.at_s, "a fresh, finite observation")
        if self._usable is None:
            raise RobotStoppedError(
                "the first observation is unusable (a missing key, another shape or type, or a "
                "number that is not finite); mend the sensor, then start again"
            )
        frozen = self._frozen.frozen(sensed.values, tick.at_s)
        if frozen:
            raise RobotStoppedError(
                f"'{frozen}' has not changed for {self._limits.frozen_s:g} s; restart its driver, "
                "then start again"
            )
        return self._usable

    def is_usable(self, values: Mapping[str, np.ndarray]) -> bool:
        """Whether an observation is what the spec says, and finite."""
        for key, shape in self._spec.observation_shapes.items():
            value, is_image = values.get(key), is_image_key(key)
            dtype = np.uint8 if is_image else np.float32
            if value is None or value.shape != shape or value.dtype != dtype:
                return False
            if not is_image and not np.isfinite(value).all():
                return False
        return True

    def heartbeat(self, at_s: float, now_s: float) -> None:
        """Somebody outside gave a sign of life at `at_s`.

        Raises:
            RobotStoppedError: too long ago.
        """
        self._heartbeat.seen(min(at_s, now_s))
        self._judge(self._heartbeat, now_s, "a sign of life from outside")

    def decided(self, now_s: float) -> None:
        """Something decides what the robot does now: a decision covers it, or a person acts."""
        self._decided_s, self._patience_s = now_s, self._limits.decision_s
        self._ever_decided = True

    def require_decision(self, now_s: float, problem: str) -> None:
        """Nothing is planned for now.

        Args:
            problem: why no decision will come, if that is known.

        Raises:
            RobotStoppedError: that has been so for too long.
        """
        patience_s = self._limits.decision_s if problem else self._patience_s
        missing_s = now_s - self._decided_s
        if missing_s > patience_s:
            why = problem or "look at the policy's computer, or give it more time (limits file)"
            raise RobotStoppedError(
                f"no decision of the policy for {missing_s:.1f} s: {why}; then start again"
            )

    def require_some_decision(self, problem: str) -> None:
        """The episode reached its time limit.

        Args:
            problem: why no decision will come, if that is known.

        Raises:
            RobotStoppedError: the robot stood still all the time; so would the next episode's.
        """
        if not self._ever_decided:
            why = problem or "look at the policy's computer"
            raise RobotStoppedError(
                f"no decision of the policy for the whole episode: {why}; then start again"
            )

    def _count_missed(self, tick: Tick) -> None:
        self._missed = self._missed + tick.missed if tick.missed else 0
        if self._missed > self._limits.missed_ticks:
            raise RobotStoppedError(
                f"the loop missed {self._missed} control steps in a row; give the robot's computer "
                "less to do, or a lower rate, then start again"
            )

    def _judge(self, dog: Watchdog, now_s: float, what: str) -> None:
        """Hold or stop for want of something."""
        verdict, missing_s = dog.verdict(now_s), dog.missing_s(now_s)
        if verdict == "stop":
            raise RobotStoppedError(
                f"there was no {what.removeprefix('a ')} for {missing_s:.2f} s; see why it does "
                "not come, then start again"
            )
        if verdict == "hold":
            self.held_why = self.held_why or f"waiting for {what}"


def _require_same_clock(sensed: Sensed, tick: Tick) -> None:
    """What was taken in the future would never be old, as by `time.time()`."""
    ahead_s = sensed.taken_at_s - tick.at_s
    if not ahead_s <= MOST_AHEAD_S:
        raise RobotStoppedError(
            f"the observation was taken {ahead_s:,.0f} s from now, so how old it is cannot be "
            "told; give Sensed.taken_at_s by time.monotonic()"
        )
