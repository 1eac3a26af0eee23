"""One episode on a robot: a command every tick, whatever the policy, its process or a sensor do.

A tick looks, asks, and commands; it waits for nobody. When nothing that was planned is left, the
robot holds still, and is stopped if that goes on. What was executed is recorded, not what was
asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from softflow.control.chunk_scheduler import ChunkScheduler
from softflow.control.observation_history import ObservationHistory
from softflow.data.episode import Episode
from softflow.data.exploration import exploration_facts
from softflow.errors import RobotStoppedError, SoftflowError, brief, raised_at
from softflow.robot.inference.deciding import Answer, DecisionSource, Question
from softflow.robot.person.operator_commands import Command, Commands
from softflow.robot.person.take_over import TakeOver, nobody
from softflow.robot.protocol import Robot, Sensed
from softflow.robot.recorder import Recorder
from softflow.robot.safety.guards import Guards
from softflow.robot.safety.interventions import Interventions
from softflow.robot.safety.limits import Limits
from softflow.robot.safety.safety_layer import SafetyLayer
from softflow.robot.timing.loop_statistics import LoopStatistics
from softflow.robot.timing.ticks import Clock, MonotonicClock, Tick, Ticker
from softflow.utils.console import say

Ending = Literal["terminated", "time limit", "success", "failure", "discarded", "stopped"]


def _no_command() -> Command | None:
    return None


@dataclass(frozen=True)
class LoopParts:
    """What a loop works with.

    Attributes:
        robot: is commanded; source: decides.
        limits: that no command leaves, and how patient the watchdogs are.
        commands: what a person tells.
        take_over: a person's actions in place of the policy's.
        heartbeat: when somebody outside last gave a sign of life, on the clock; None: not watched.
        clock: of the loop and of `Sensed.taken_at_s`.
    """

    robot: Robot
    source: DecisionSource
    limits: Limits = field(default_factory=Limits)
    commands: Commands = _no_command
    take_over: TakeOver = nobody
    heartbeat: Callable[[], float] | None = None
    clock: Clock = field(default_factory=MonotonicClock)


@dataclass(frozen=True)
class EpisodeEnd:
    """How an episode ended.

    Attributes:
        episode: what was recorded; None if nothing was.
        ending: in a word.
        fault: why the robot was stopped, what to do next; empty otherwise.
    """

    episode: Episode | None
    ending: Ending
    fault: str = ""


def run_episode(
    parts: LoopParts, number: int, seed: int, metadata: dict[str, Any] | None = None
) -> EpisodeEnd:
    """Run one episode; the robot was reset and stands still. It rests again when this returns.

    Args:
        parts: what the loop works with.
        number: of the episode within the run; seed: of what is random in the decisions.
        metadata: kept with the episode.

    Raises:
        RobotStoppedError: the robot stands outside its limits; nothing was commanded.
    """
    loop = _Loop(parts, number, seed)
    ending: Ending = "stopped"
    faults: list[str] = []
    try:
        ending = loop.run()
    except Exception as error:
        faults.append(fault_in_words(error))
    finally:
        faults += stop_robot(parts.robot)
    fault = "; ".join(faults)
    if fault:
        ending = "stopped"
        loop.interventions.add(loop.recorder.steps, "stopped", fault)
        with suppress(Exception):  # that it cannot be observed may be why it was stopped
            loop.see_the_end()
    facts = loop.metadata(ending) | (metadata or {})
    return EpisodeEnd(loop.recorder.episode(facts), ending, fault)


def stop_robot(robot: Robot) -> list[str]:
    """Stop it; gives what is wrong if that fails, which is told at once, whatever comes next."""
    try:
        robot.stop()
    except Exception as error:
        fault = f"stop it by hand: its stop() raised {brief(error)} ({raised_at(error)})"
        say(fault, to_errors=True)
        return [fault]
    return []


def fault_in_words(error: Exception) -> str:
    """Why the robot was stopped: softflow's own words, or what a driver raised, and where."""
    if isinstance(error, SoftflowError):
        return str(error)
    return f"the robot raised {brief(error)} ({raised_at(error)}); mend the cause, then start again"


class _Loop:
    """The state of a running episode."""

    def __init__(self, parts: LoopParts, number: int, seed: int) -> None:
        self._parts, self._robot, self._source = parts, parts.robot, parts.source
        self._number, self._seed = number, seed
        spec, holding = self._robot.spec, self._holding()
        self.recorder = Recorder(spec)
        self.interventions = Interventions()
        self._statistics = LoopStatistics()
        self._safety = SafetyLayer(parts.limits, spec)
        self._safety.begin(holding)
        self._scheduler = ChunkScheduler(self._source.facts.chunk, holding)
        self._history: ObservationHistory | None = None
        now_s = parts.clock.now_s()
        self._guards = Guards(parts.limits.watchdogs, spec, now_s)
        self._ticker = Ticker(parts.clock, 1 / spec.control_hz)
        self._asked_s = now_s
        self._commanded_s = now_s - 1 / spec.control_hz  # it has stood still for at least that

    def run(self) -> Ending:
        """Tick until the episode ends."""
        while True:
            tick = self._ticker.wait()
            self._statistics.tick(tick)
            told = self._parts.commands()
            if told is not None:
                return self._told(told)
            sensed = self._sensed(tick)
            self.recorder.observed(sensed.values)
            if self.recorder.last.terminated:
                return "terminated"
            if self.recorder.steps == self._robot.max_episode_steps:
                self._guards.require_some_decision(self._source.problem)
                return "time limit"
            self._remember(sensed)
            self._take_answer(tick.at_s)
            self._command(sensed, tick)
            self._statistics.busy(self._parts.clock.now_s() - tick.at_s)

    def _told(self, command: Command) -> Ending:
        """End as a person wishes; the step before is the one that succeeded or failed."""
        if command == "stop":
            raise RobotStoppedError("stopped by a person; look around, then run the command again")
        if command == "discard":
            return "discarded"
        self.see_the_end()
        if self.recorder.steps:
            self.recorder.ended_by_person(success=command == "success")
        return command

    def see_the_end(self) -> None:
        """Sense what the last command led to, if that is possible."""
        values = self._robot.observe().values
        if self._guards.is_usable(values):
            self.recorder.observed(values)

    def _sensed(self, tick: Tick) -> Sensed:
        """The newest observation, or the last usable one; raises where the robot must stop."""
        sensed = self._guards.look(self._robot.observe(), tick)
        self._safety.watch(sensed.values)
        if self._parts.heartbeat is not None:
            self._guards.heartbeat(self._parts.heartbeat(), tick.at_s)
        return sensed

    def _remember(self, sensed: Sensed) -> None:
        if self._history is None:
            length = self._source.facts.chunk.history_length
            self._history = ObservationHistory(length, sensed.values)
        else:
            self._history.add(sensed.values)

    def _take_answer(self, now_s: float) -> None:
        """Give the scheduler a decision that has arrived."""
        answer = self._source.poll()
        if answer is None or answer.episode != self._number:
            return
        self._statistics.latency(now_s - self._asked_s, answer.decided_in_s)
        if not np.isfinite(answer.actions).all():
            self._refuse(answer)
            return
        arrival = self._scheduler.add(answer.step, answer.actions, answer.policy)
        self._statistics.arrived(arrival)

    def _refuse(self, answer: Answer) -> None:
        why = f"the decision of step {answer.step} is not finite"
        self.interventions.add(self.recorder.steps, "refused", why)
        self._scheduler.lost()

    def _command(self, sensed: Sensed, tick: Tick) -> None:
        """Ask for the next decision, and command this step's action."""
        step, holding = self.recorder.steps, self._holding()
        held_why = self._guards.held_why
        person = None if held_why else self._parts.take_over(sensed.values, holding)
        if person is not None:
            wanted = np.asarray(person, np.float32)
        elif held_why:
            wanted = holding
            self.interventions.add(step, "held", held_why)
        else:
            self._ask(tick.at_s)
            wanted = self._planned(holding, tick)
        safe = self._safety.command(wanted, sensed.values, self._elapsed_s())
        if safe.clipped:
            self.interventions.add(step, "clipped", safe.clipped)
        if person is not None:
            self._guards.decided(tick.at_s)
        if person is not None or held_why:
            self._scheduler.overridden(safe.action)
        else:
            self._scheduler.commanded(safe.action)
        outcome = self._robot.act(safe.action.copy())  # a driver may write into what it is given
        self.recorder.commanded(safe.action, outcome, by_person=person is not None)

    def _holding(self) -> np.ndarray:
        """A copy of what holds still: a driver may move the array it gave."""
        return np.array(self._robot.hold(), np.float32)

    def _ask(self, now_s: float) -> None:
        """Ask for a decision, if one is due and the policy is free."""
        source, history = self._source, self._history
        if history is None or source.is_busy or source.problem:
            return
        if not self._scheduler.decision_due:
            return
        step, self._asked_s = self._scheduler.control_step, now_s
        prefix = self._scheduler.ask()
        source.ask(Question(self._number, step, self._seed, history.stacked(), prefix))

    def _planned(self, holding: np.ndarray, tick: Tick) -> np.ndarray:
        """The action that the policy planned for now, or what holds still where there is none."""
        scheduled = self._scheduler.next_action()
        if not scheduled.held:
            if scheduled.decision_step >= 0:
                self._guards.decided(tick.at_s)
            return scheduled.action
        self._statistics.held()
        self._guards.require_decision(tick.at_s, self._source.problem)
        return holding

    def _elapsed_s(self) -> float:
        """Seconds since the command before."""
        now_s = self._parts.clock.now_s()
        before_s, self._commanded_s = self._commanded_s, now_s
        return now_s - before_s

    def metadata(self, ending: Ending) -> dict[str, Any]:
        """What an episode says of its run."""
        return {
            "source": "robot",
            "policy_version": self._source.facts.version,
            "seed": self._seed,
            "ended": ending,
            "loop": self._statistics.metadata(),
            "interventions": self.interventions.metadata(),
        } | exploration_facts(self._source.facts.exploration_std)
