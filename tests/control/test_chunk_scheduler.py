"""The scheduler against a slow model of the same rules, and against the loop it replaced."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softflow.control.chunk_scheduler import ChunkScheduler
from softflow.data.chunk_spec import ChunkSpec
from softflow.errors import ConfigError

NEUTRAL = np.array([-1.0, 0.5], np.float32)
STEPS = 24


@st.composite
def chunk_specs(draw: st.DrawFn) -> ChunkSpec:
    length = draw(st.integers(1, 6))
    return ChunkSpec(length, draw(st.integers(1, length)), draw(st.integers(0, 4)))


def decision(step: int, chunk: ChunkSpec) -> np.ndarray:
    """Actions that tell the step they were decided at and their place in the chunk."""
    return np.array([[step, i] for i in range(chunk.chunk_length)], np.float32)


@dataclass
class SlowModel:
    """The rules of the module's docstring, looked up in everything that has happened so far."""

    chunk: ChunkSpec
    accepted: list[tuple[int, int, int, int]] = field(default_factory=list)  # t, start, first, v
    executed: list[list[float]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)  # neutral, decided, held or person
    overtaken_before: int = 0

    def add(self, step: int, asked_at: int, policy: int) -> tuple[int, int, str]:
        length = self.chunk.chunk_length
        if any(policy < version for *_, version in self.accepted):
            return 0, 0, "older policy"
        if any(asked_at < t for t, *_ in self.accepted):
            return 0, 0, "out of order"
        if any(asked_at == t for t, *_ in self.accepted):
            return 0, 0, "twice"
        if asked_at < self.overtaken_before:
            return 0, 0, "overtaken"
        start, verdict = asked_at + self.chunk.prefix_length, "in time"
        if step > start and not {"decided", "person"} & set(self.kinds[asked_at:step]):
            start, verdict, self.overtaken_before = step, "waited for", step
        skipped = max(step - start, 0)
        if skipped >= length:
            return 0, length, "too late"
        self.accepted.append((asked_at, start, max(step, start), policy))
        return length - skipped, skipped, "late" if skipped else verdict

    def act(self, step: int) -> tuple[list[float], bool]:
        """The newest accepted decision that covers a step has its say; none: the last again."""
        for asked_at, start, first, _ in reversed(self.accepted):
            newer = [other for other in self.accepted if other[0] > asked_at]
            replaced = any(step >= beginning for _, _, beginning, _ in newer)
            voided = any(kind == "person" for kind in self.kinds[first:step])
            voided |= "person" in self.kinds and first < self.overtaken_by_person()
            if first <= step < start + self.chunk.chunk_length and not (replaced or voided):
                return self._do([asked_at, step - start], "decided"), False
        if step < self.chunk.prefix_length and "person" not in self.kinds:
            return self._do(NEUTRAL.tolist(), "neutral"), False
        return self._do(self.executed[-1] if self.executed else NEUTRAL.tolist(), "held"), True

    def overtaken_by_person(self) -> int:
        return max(i for i, kind in enumerate(self.kinds) if kind == "person") + 1

    def take_over(self, action: list[float]) -> None:
        self._do(action, "person")
        self.accepted = [(t, start, 10**6, version) for t, start, _, version in self.accepted]
        self.overtaken_before = len(self.kinds)

    def _do(self, action: list[float], kind: str) -> list[float]:
        self.executed.append(action)
        self.kinds.append(kind)
        return action


@given(
    chunk_specs(),
    st.lists(st.lists(st.integers(0, 12), min_size=0, max_size=2), min_size=STEPS, max_size=STEPS),
    st.lists(st.integers(0, 1), min_size=STEPS, max_size=STEPS),
    st.sets(st.integers(0, STEPS - 1), max_size=3),
    st.booleans(),
)
def test_against_a_model_that_looks_everything_up(
    chunk: ChunkSpec,
    delays: list[list[int]],
    policies: list[int],
    taken_over: set[int],
    one_at_a_time: bool,
) -> None:
    """Decisions that come late, twice, in any order, never; two policies; a person in between."""
    scheduler, model = ChunkScheduler(chunk, NEUTRAL), SlowModel(chunk)
    arrivals: dict[int, list[int]] = {}
    for step in range(STEPS):
        for asked_at in arrivals.pop(step, []):
            expected = model.add(step, asked_at, policies[asked_at])
            arrived = scheduler.add(asked_at, decision(asked_at, chunk), policies[asked_at])
            assert tuple(arrived) == expected
        busy = one_at_a_time and any(arrivals.values())
        if scheduler.decision_due and not busy:
            assert len(scheduler.ask()) == chunk.prefix_length
            for delay in delays[step]:
                arrivals.setdefault(step + max(delay, 1), []).append(step)
        assert scheduler.control_step == step
        if step in taken_over:
            scheduler.overridden(np.array([7, step], np.float32))
            model.take_over([7, step])
            continue
        action, held = model.act(step)
        scheduled = scheduler.next_action()
        assert (scheduled.action.tolist(), scheduled.held) == (action, held)
        if scheduled.decision_step >= 0:
            assert action == [scheduled.decision_step, scheduled.place]


@given(chunk_specs(), st.integers(1, 25))
def test_without_delay_it_is_the_loop_it_replaced(chunk: ChunkSpec, steps: int) -> None:
    scheduler = ChunkScheduler(chunk, NEUTRAL)
    committed = deque([NEUTRAL] * chunk.prefix_length)
    for step in range(steps):
        assert scheduler.decision_due == (step % chunk.execution_horizon == 0)
        if scheduler.decision_due:
            prefix = [committed[index] for index in range(chunk.prefix_length)]
            assert scheduler.ask().tolist() == [action.tolist() for action in prefix]
            assert scheduler.prefix().shape == (chunk.prefix_length, 2)
            committed = deque([*prefix, *decision(step, chunk)])
            arrival = scheduler.add(step, decision(step, chunk))
            assert arrival == (chunk.chunk_length, 0, "in time")
        action = scheduler.next_action()
        assert not action.held
        assert action.action.tolist() == committed.popleft().tolist()


@given(chunk_specs(), st.integers(1, 40))
def test_a_slow_first_decision_skips_nothing(chunk: ChunkSpec, delay: int) -> None:
    """The robot stood still while networks were loaded: the plan begins with its first action."""
    scheduler = ChunkScheduler(chunk, NEUTRAL)
    scheduler.ask()
    waiting = [scheduler.next_action().action.tolist() for _ in range(delay)]
    assert waiting == [NEUTRAL.tolist()] * delay
    arrival = scheduler.add(0, decision(0, chunk))
    assert (arrival.usable, arrival.skipped) == (chunk.chunk_length, 0)
    begins = max(chunk.prefix_length - delay, 0)
    done = [scheduler.next_action().action.tolist() for _ in range(begins + chunk.chunk_length)]
    assert done[begins:] == decision(0, chunk).tolist()


def test_the_next_decision_is_due_e_steps_after_a_late_start() -> None:
    scheduler = ChunkScheduler(ChunkSpec(4, 3, 1), NEUTRAL)
    scheduler.ask()
    for _ in range(5):
        scheduler.next_action()
    scheduler.add(0, decision(0, scheduler.chunk))
    due = []
    for _ in range(5):
        due.append(scheduler.decision_due)
        scheduler.next_action()
    assert due == [False, False, True, True, True]  # as if asked for one step before it began


def test_a_delay_of_the_prefix_costs_nothing() -> None:
    """P steps of delay: every action of every decision up to the next one is executed (Fig. 7)."""
    chunk = ChunkSpec(chunk_length=4, execution_horizon=4, prefix_length=2)
    scheduler = ChunkScheduler(chunk, NEUTRAL)
    executed: list[list[float]] = []
    for step in range(12):
        if step % 4 == 2:
            assert scheduler.add(step - 2, decision(step - 2, chunk)).usable == 4
        if scheduler.decision_due:
            scheduler.ask()
        executed.append(scheduler.next_action().action.tolist())
    assert executed[:2] == [NEUTRAL.tolist()] * 2
    assert executed[2:] == [[t, i] for t in (0, 4) for i in range(4)] + [[8, 0], [8, 1]]


def test_a_late_decision_of_a_moving_robot_skips_what_has_gone_by() -> None:
    chunk = ChunkSpec(chunk_length=5, execution_horizon=2)
    scheduler = ChunkScheduler(chunk, NEUTRAL)
    scheduler.ask()
    scheduler.add(0, decision(0, chunk))
    scheduler.next_action()
    scheduler.next_action()
    scheduler.ask()
    scheduler.next_action()
    scheduler.next_action()
    assert scheduler.add(2, decision(2, chunk)) == (3, 2, "late")
    assert scheduler.next_action().action.tolist() == [2, 2]


def test_when_nothing_is_planned_the_last_command_is_repeated_and_said() -> None:
    chunk = ChunkSpec(2, 2)
    scheduler = ChunkScheduler(chunk, NEUTRAL)
    first = scheduler.next_action()
    assert (first.action.tolist(), first.held, first.place) == (NEUTRAL.tolist(), True, -1)
    assert scheduler.add(0, decision(0, chunk)) == (2, 0, "waited for")
    assert [scheduler.next_action().held for _ in range(4)] == [False, False, True, True]
    assert scheduler.next_action().action.tolist() == [0, 1]


def test_a_missing_prefix_is_what_was_commanded_last() -> None:
    chunk = ChunkSpec(chunk_length=2, execution_horizon=1, prefix_length=3)
    scheduler = ChunkScheduler(chunk, NEUTRAL)
    for _ in range(3):
        scheduler.next_action()
    assert scheduler.prefix().tolist() == [NEUTRAL.tolist()] * 3
    assert scheduler.add(0, decision(0, chunk)).usable == 2
    assert scheduler.prefix().tolist() == [[0, 0], [0, 1], [0, 1]]
    for _ in range(2):
        scheduler.next_action()
    scheduler.next_action()
    scheduler.commanded(np.array([0.25, 0.75], np.float32))  # a safety layer clipped it
    assert scheduler.prefix().tolist() == [[0.25, 0.75]] * 3


def test_after_a_person_had_the_robot_older_decisions_are_void() -> None:
    chunk = ChunkSpec(4, 2)
    scheduler = ChunkScheduler(chunk, NEUTRAL)
    scheduler.ask()
    scheduler.overridden(np.array([5, 5], np.float32))
    assert scheduler.add(0, decision(0, chunk)) == (0, 0, "overtaken")
    assert scheduler.decision_due
    assert scheduler.ask().tolist() == []
    assert scheduler.next_action().action.tolist() == [5, 5]
    assert scheduler.add(1, decision(1, chunk)) == (4, 0, "waited for")


def test_decisions_that_cannot_be_are_refused() -> None:
    chunk = ChunkSpec(2, 2)
    scheduler = ChunkScheduler(chunk, NEUTRAL)
    with pytest.raises(ConfigError, match=r"shape \(3, 2\), not \(2, 2\)"):
        scheduler.add(0, np.zeros((3, 2), np.float32))
    with pytest.raises(ConfigError, match="decision of control step 1 at control step 0"):
        scheduler.add(1, np.zeros((2, 2), np.float32))
