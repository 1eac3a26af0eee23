"""A robot, a clock and a source of decisions that tests drive: nothing in them sleeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.robot.inference.deciding import Answer, PolicyFacts, Question
from softflow.robot.protocol import Outcome, Sensed

HZ = 10.0
SPEC = DataSpec({STATE_KEY: (1,)}, 1, (-100.0,), (100.0,), HZ, env_id="toy")


class FakeClock:
    """Time passes when somebody waits, and whenever `now_s` is asked, as much as `costs` says."""

    def __init__(self, late: Callable[[], float] = lambda: 0.0) -> None:
        self.time_s = 100.0
        self._late = late

    def now_s(self) -> float:
        return self.time_s

    def wait_until(self, at_s: float) -> None:
        self.time_s = max(self.time_s, at_s) + self._late()


class ToyRobot:
    """Its state is the sum of all it was commanded; targets, steps or a stubborn driver."""

    def __init__(self, clock: FakeClock, max_episode_steps: int = 20) -> None:
        self.spec, self.max_episode_steps = SPEC, max_episode_steps
        self._clock = clock
        self.commands: list[float] = []
        self.stops = self.closes = self.resets = 0
        self.succeeds_at = -1
        self.raises_at = -1
        self.observed: Callable[[], Sensed] | None = None

    def reset(self, seed: int) -> None:
        self.resets += 1
        self.commands = []

    def observe(self) -> Sensed:
        if self.observed is not None:
            return self.observed()
        return self.fresh(len(self.commands))

    def fresh(self, value: float) -> Sensed:
        return Sensed({STATE_KEY: np.array([value], np.float32)}, self._clock.now_s())

    def act(self, action: np.ndarray) -> Outcome | None:
        if len(self.commands) == self.raises_at:
            raise OSError("the cable is out")
        self.commands.append(float(action[0]))
        if self.succeeds_at < 0:
            return None
        success = len(self.commands) == self.succeeds_at
        return Outcome(float(success), success, success)

    def hold(self) -> np.ndarray:
        return np.zeros(1, np.float32)

    def stop(self) -> None:
        self.stops += 1

    def close(self) -> None:
        self.closes += 1


@dataclass
class ToySource:
    """Decides on 100 k, 100 k + 1, … at decision k, from 1 on, `latency_s()` after its question."""

    clock: FakeClock
    chunk: ChunkSpec
    latency_s: Callable[[], float] = lambda: 0.0
    facts: PolicyFacts = field(init=False)
    problem: str = ""
    questions: list[Question] = field(default_factory=list)
    scale: float = 100.0
    nan_at: int = -1
    _due_s: float | None = None

    def __post_init__(self) -> None:
        self.facts = PolicyFacts(SPEC, self.chunk, "toy-3")

    @property
    def is_busy(self) -> bool:
        return self._due_s is not None

    def ask(self, question: Question) -> None:
        assert not self.is_busy
        self.questions.append(question)
        self._due_s = self.clock.time_s + self.latency_s()

    def poll(self) -> Answer | None:
        if self._due_s is None or self._due_s > self.clock.time_s or self.problem:
            return None
        self._due_s = None
        asked, number = self.questions[-1], len(self.questions)
        actions = (number * self.scale + np.arange(self.chunk.chunk_length))[:, None]
        if number == self.nan_at:
            actions = actions * np.nan
        return Answer(asked.episode, asked.step, actions.astype(np.float32) % 100, 0.01, 0)
