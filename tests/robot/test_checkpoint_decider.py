"""A checkpoint decides for a robot as `softflow.load_policy` does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from point_world import PointWorld

import softflow
from softflow.data.data_spec import STATE_KEY
from softflow.robot.inference.checkpoint_decider import load_decider


def test_the_same_chunk_as_through_the_door_and_the_same_again_with_a_seed(imitated: Path) -> None:
    decider, policy = load_decider(str(imitated)), softflow.load_policy(imitated)
    assert decider.facts.chunk == policy.chunk
    assert decider.facts.version == (imitated / "checkpoints/last").resolve().name
    state = PointWorld().reset(seed=1)[0][STATE_KEY]
    history = {STATE_KEY: np.stack([state] * policy.chunk.history_length)}
    prefix = np.full((policy.chunk.prefix_length, 2), 0.25, np.float32)
    chunks = []
    for seed in (3, 3, 4):
        decider.begin_episode(seed)
        policy.reset(seed)
        chunks.append(decider.decide(history, prefix))
        assert chunks[-1].tobytes() == policy.plan(history, prefix).tobytes()
    assert chunks[0].tobytes() == chunks[1].tobytes() != chunks[2].tobytes()
    decider.begin_episode(3)
    assert decider.decide(history, -prefix).tobytes() != chunks[0].tobytes()
