"""The scheduler against a slow model of the same rules, and against the loop it replaced."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softflow.control.chunk_scheduler import ChunkScheduler
from softflow.data.chunk_spec import ChunkSpec
from softflow.errors import ConfigError

NEUTRAL = np.array([-1.0, 0.5], np.float32)


@st.composite
def chunk_specs(draw: st.DrawFn) -> ChunkSpec:
    length = draw(st.integers(1, 6))
    return ChunkSpec(length, draw(st.integers(1, length)), draw(st.integers(0, 4)))


def decision(step: int, chunk: ChunkSpec) -> np.ndarray:
    """Actions that tell the step they were decided at and their place in the chunk."""
    return np.array([[step, i] for i in range(chunk.chunk_length)], np.float32)


@given(chunk_specs(), st.lists(st.integers(0, 9), min_size=20, max_size=20))
def test_late_decisions_as_in_a_model_that_looks_everything_up(
    chunk: ChunkSpec, delays: list[int]
) -> None:
    """A decision every E steps, each with a delay of its own: late, in disorder, too late."""
    scheduler = ChunkScheduler(chunk, NEUTRAL)
    arrivals: dict[int, list[int]] = {}
    accepted: list[int] = []
    executed: list[np.ndarray] = []
    for step in range(20):
        if scheduler.decision_due:
            arrivals.setdefault(step + delays[step], []).append(step)
        for asked_at in arrivals.pop(step, []):
            last_step = asked_at + chunk.prefix_length + chunk.chunk_length - 1
            usable = min(chunk.chunk_length, last_step - step + 1)
            if (accepted and asked_at <= accepted[-1]) or usable <= 0:
                usable = 0
            else:
                accepted.append(asked_at)
            assert scheduler.add(asked_at, decision(asked_at, chunk)) == usable
        expected, held = looked_up(step, chunk, accepted, executed)
        assert scheduler.control_step == step
        action = scheduler.next_action()
        assert action.held == held
        assert action.action.tolist() == expected.tolist()
        executed.append(expected)


def looked_up(
    step: int, chunk: ChunkSpec, accepted: list[int], executed: list[np.ndarray]
) -> tuple[np.ndarray, bool]:
    """The newest accepted decision that covers a step has its say; none: the last action again."""
    for asked_at in reversed(accepted):
        place = step - asked_at - chunk.prefix_length
        if 0 <= place < chunk.chunk_length:
            return decision(asked_at, chunk)[place], False
    if step < chunk.prefix_length:
        return NEUTRAL, False
    return (executed[-1] if executed else NEUTRAL), True


@given(chunk_specs(), st.integers(1, 25))
def test_without_delay_it_is_the_loop_it_replaced(chunk: ChunkSpec, steps: int) -> None:
    scheduler = ChunkScheduler(chunk, NEUTRAL)
    committed = deque([NEUTRAL] * chunk.prefix_length)
    for step in range(steps):
        if step % chunk.execution_horizon == 0:
            prefix = [committed[index] for index in range(chunk.prefix_length)]
            assert scheduler.prefix().tolist() == [action.tolist() for action in prefix]
            assert scheduler.prefix().shape == (chunk.prefix_length, 2)
            committed = deque([*prefix, *decision(step, chunk)])
            assert scheduler.add(step, decision(step, chunk)) == chunk.chunk_length
        action = scheduler.next_action()
        assert not action.held
        assert action.action.tolist() == committed.popleft().tolist()


def test_a_delay_of_the_prefix_costs_nothing() -> None:
    """P steps of delay: every action of every decision up to the next one is executed (Fig. 7)."""
    chunk = ChunkSpec(chunk_length=4, execution_horizon=4, prefix_length=2)
    scheduler = ChunkScheduler(chunk, NEUTRAL)
    executed: list[list[float]] = []
    for step in range(12):
        if step % 4 == 2:
            assert scheduler.add(step - 2, decision(step - 2, chunk)) == 4
        executed.append(scheduler.next_action().action.tolist())
    assert executed[:2] == [NEUTRAL.tolist()] * 2
    assert executed[2:] == [[t, i] for t in (0, 4) for i in range(4)] + [[8, 0], [8, 1]]


def test_when_nothing_is_planned_the_last_command_is_repeated_and_said() -> None:
    chunk = ChunkSpec(2, 2)
    scheduler = ChunkScheduler(chunk, NEUTRAL)
    assert scheduler.next_action() == (pytest.approx(NEUTRAL), True)
    assert scheduler.add(0, decision(0, chunk)) == 1
    assert [scheduler.next_action().held for _ in range(3)] == [False, True, True]
    assert scheduler.next_action().action.tolist() == [0, 1]


def test_a_missing_prefix_is_what_will_be_commanded() -> None:
    chunk = ChunkSpec(chunk_length=2, execution_horizon=1, prefix_length=3)
    scheduler = ChunkScheduler(chunk, NEUTRAL)
    for _ in range(3):
        scheduler.next_action()
    assert scheduler.prefix().tolist() == [NEUTRAL.tolist()] * 3
    assert scheduler.add(0, decision(0, chunk)) == 2
    assert scheduler.prefix().tolist() == [[0, 0], [0, 1], [0, 1]]


def test_decisions_that_cannot_be_are_refused() -> None:
    chunk = ChunkSpec(2, 2)
    scheduler = ChunkScheduler(chunk, NEUTRAL)
    with pytest.raises(ConfigError, match=r"shape \(3, 2\), not \(2, 2\)"):
        scheduler.add(0, np.zeros((3, 2), np.float32))
    with pytest.raises(ConfigError, match="decision of control step 1 at control step 0"):
        scheduler.add(1, np.zeros((2, 2), np.float32))
