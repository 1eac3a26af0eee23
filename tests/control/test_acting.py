"""One episode, worked by hand: what each decision sees, and which action each step gets."""

from __future__ import annotations

from typing import Any

import numpy as np

from softflow.control.acting import ActingEpisode
from softflow.data.chunk_spec import ChunkSpec

KEY = "observation.state"


def test_decisions_see_history_and_prefix_and_their_actions_come_after_it() -> None:
    chunk = ChunkSpec(chunk_length=3, execution_horizon=2, prefix_length=1, history_length=2)
    seen: list[Any] = []

    def decide(observation: dict[str, np.ndarray], prefix: np.ndarray, step: int) -> np.ndarray:
        seen.append((observation[KEY].ravel().tolist(), prefix.ravel().tolist(), step))
        return np.array([[10.0], [11.0], [12.0]], np.float32) + 10 * len(seen)

    acting = ActingEpisode(chunk, np.array([-1.0], np.float32), decide)
    actions = []
    for step in range(5):
        assert acting.control_step == step
        actions.append(acting.act({KEY: np.array([step], np.float32)}).item())
    assert seen == [([0, 0], [-1], 0), ([1, 2], [21], 2), ([3, 4], [31], 4)]
    assert actions == [-1, 20, 21, 30, 31]
