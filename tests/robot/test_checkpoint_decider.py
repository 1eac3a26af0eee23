"""A checkpoint decides for a robot as `softflow.load_policy` does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from point_world import PointWorld

import softflow
from softflow.data.data_spec import STATE_KEY
from softflow.data.exploration import exploration_offset
from softflow.errors import ConfigError
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


def test_exploring_shifts_each_episode_by_what_its_seed_says(
    imitated: Path, exploring: Path
) -> None:
    """As the same run's simulated episodes are shifted; a run that does not explore refuses."""
    with pytest.raises(ConfigError, match="collects as it is deployed"):
        load_decider(str(imitated), explore="yes")
    plain, trying = (load_decider(str(exploring), explore=word) for word in ("", "yes"))
    assert (plain.facts.exploration_std, trying.facts.exploration_std) == (0.0, 0.05)
    state = PointWorld().reset(seed=1)[0][STATE_KEY]
    lengths = plain.facts.chunk
    history = {STATE_KEY: np.stack([state] * lengths.history_length)}
    shifts = []
    for seed in (3, 3, 4):
        for decider in (plain, trying):
            decider.begin_episode(seed)
        prefix = np.zeros((lengths.prefix_length, 2), np.float32)
        policy = trying._policy._selector.policy
        offset = torch.from_numpy(exploration_offset(seed, 0.05, 2))
        half = (policy.action_normalizer.maximum - policy.action_normalizer.minimum) / 2
        moved = (offset / policy.action_limit * half).numpy().astype(np.float32)
        chunk = plain.decide(history, prefix)
        shift = trying.decide(history, prefix + moved) - chunk
        low, high = (bound.numpy() for bound in (policy.action_minimum, policy.action_maximum))
        free = (chunk > low + 0.1) & (chunk < high - 0.1)  # else it is cut at the data's border
        assert free.any(axis=0).all()
        np.testing.assert_allclose(
            shift[free], np.broadcast_to(moved, shift.shape)[free], atol=1e-5
        )
        shifts.append(moved)
    assert (shifts[0] == shifts[1]).all()
    assert (shifts[0] != shifts[2]).all()


def test_exploring_decides_more_widely_where_the_run_collects_so(wide: Path) -> None:
    plain, trying = (load_decider(str(wide), explore=word) for word in ("", "yes"))
    rules = [decider._policy.selection for decider in (plain, trying)]
    assert [(rule.num_candidates, rule.sampling_std) for rule in rules] == [(4, 0.7), (9, 1.5)]
    assert {rule.rule for rule in rules} == {"likelihood"}
    assert trying.facts.exploration_std == 0
