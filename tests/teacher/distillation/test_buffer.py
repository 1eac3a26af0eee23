"""Windows of a buffer, against ones worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY
from softflow.teacher.distillation.buffer import DistillationBuffer

CHUNK = ChunkSpec(chunk_length=3, execution_horizon=3, prefix_length=1, history_length=2)


@pytest.fixture
def buffer() -> DistillationBuffer:
    """Six steps of two hands; the first hand's episode ends with step 2.

    The state of step t of hand n is 10 t + n, executed is 100 more, the teacher's 200 more.
    """
    filled = DistillationBuffer(6, 2, 1, 1)
    for step in range(6):
        state = 10 * step + np.arange(2.0)[:, None]
        ended = np.array([step == 2, False])
        filled.add(state, state + 100, state + 200, ended)
    return filled


def test_windows_have_an_action_to_predict_in_their_own_episode(
    buffer: DistillationBuffer,
) -> None:
    windows = {tuple(map(int, row)) for row in buffer.windows(CHUNK)}
    assert windows == {(t, 0) for t in (0, 1, 3, 4)} | {(t, 1) for t in range(5)}


def test_a_window_by_hand(buffer: DistillationBuffer) -> None:
    batch = buffer.batch(np.array([[1, 1]]), CHUNK)
    assert batch.observation[STATE_KEY].ravel().tolist() == [1, 11]
    assert batch.prefix_actions.ravel().tolist() == [111]
    assert batch.actions.ravel().tolist() == [221, 231, 241]
    assert batch.step_valid.all()


def test_windows_are_cut_at_both_ends_of_an_episode(buffer: DistillationBuffer) -> None:
    batch = buffer.batch(np.array([[1, 0], [3, 0], [4, 1]]), CHUNK)
    assert batch.observation[STATE_KEY].squeeze(-1).tolist() == [[0, 10], [30, 30], [31, 41]]
    assert batch.step_valid.tolist() == [
        [True, False, False],  # the episode ended with step 2
        [True, True, False],  # the buffer ends with step 5
        [True, False, False],
    ]
    assert batch.actions[0].ravel().tolist() == [220, 220, 220]
    assert batch.actions[1].ravel().tolist() == [240, 250, 250]
    assert batch.has_action.all()


def test_a_buffer_that_is_still_being_filled() -> None:
    half = DistillationBuffer(10, 1, 1, 1)
    for step in range(3):
        half.add(np.full((1, 1), step), np.zeros((1, 1)), np.zeros((1, 1)), np.zeros(1, bool))
    assert len(half) == 3
    assert [tuple(w) for w in half.windows(CHUNK)] == [(0, 0), (1, 0)]
