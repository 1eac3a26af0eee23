"""A batch of students decides as one would alone: its history, its prefix, when it is its turn."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY
from softflow.teacher.distillation.student import BatchedStudent

CHUNK = ChunkSpec(chunk_length=3, execution_horizon=2, prefix_length=1, history_length=2)


class _Asked:
    """Answers with a hundredth of the newest state, plus a thousandth a step; remembers."""

    def __init__(self) -> None:
        self.history: list[list[list[float]]] = []
        self.prefix: list[list[float]] = []

    def __call__(
        self, observation: dict[str, torch.Tensor], prefix: torch.Tensor, _: object
    ) -> torch.Tensor:
        seen = observation[STATE_KEY].squeeze(-1)
        self.history.append(seen.tolist())
        self.prefix.append([round(float(p), 4) for p in prefix.ravel()])
        return 0.01 * seen[:, -1:, None] + 0.001 * torch.arange(3.0)[None, :, None]


def _student(asked: _Asked, num: int) -> BatchedStudent:
    return BatchedStudent(cast("Any", asked), CHUNK, num, np.array([0.5]), 0)


def test_prefix_first_then_the_chunk_and_a_decision_every_second_step() -> None:
    asked = _Asked()
    student = _student(asked, 1)
    acted = [round(float(student.act(np.full((1, 1), s, np.float32))[0, 0]), 4) for s in range(5)]
    assert acted == [0.5, 0.0, 0.001, 0.02, 0.021]
    assert asked.history == [[[0, 0]], [[1, 2]], [[3, 4]]]
    assert asked.prefix == [[0.5], [0.001], [0.021]]


def test_a_hand_that_begins_anew_decides_alone_and_forgets() -> None:
    asked = _Asked()
    student = _student(asked, 2)
    student.act(np.array([[0], [1]], np.float32))
    student.begin(np.array([1]))
    student.act(np.array([[10], [11]], np.float32))
    assert asked.history == [[[0, 0], [1, 1]], [[11, 11]]]
    assert asked.prefix == [[0.5, 0.5], [0.5]]
