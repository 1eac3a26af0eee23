"""Numbers that went wrong stop an update before a weight changes."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from learner_updates import (
    STATE,
    BatchMaker,
    LearnerMaker,
    Update,
    actor,
    critic,
    imitation,
    unchanged,
    weights,
)

from softflow.errors import NumericalError
from softflow.sampling.chunk_batch import ChunkBatch


def poisoned(batch: ChunkBatch, field: str, value: float) -> ChunkBatch:
    """With such a value in a row that is imitated."""
    content = getattr(batch, field)
    row = int((batch.is_offline & batch.episode_success).nonzero()[0])
    if isinstance(content, dict):
        state = content[STATE].clone()
        state[row, -1, 1] = value
        return replace(batch, **{field: {STATE: state}})
    bad = content.clone()
    bad[row].fill_(value)
    return replace(batch, **{field: bad})


UPDATES_AND_FIELDS = [
    (update, field)
    for update, fields in (
        (imitation, ("observation", "prefix_actions", "actions")),
        (actor, ("observation", "prefix_actions", "actions")),
        (
            critic,
            (
                "observation",
                "prefix_actions",
                "actions",
                "rewards",
                "next_observation",
                "next_prefix_actions",
            ),
        ),
    )
    for field in fields
]


@pytest.mark.slow
@pytest.mark.parametrize(("update", "field"), UPDATES_AND_FIELDS)
def test_a_nan_stops_the_update_before_any_weight_changes(
    make_learner: LearnerMaker, make_batch: BatchMaker, update: Update, field: str
) -> None:
    learner, batch = make_learner(), make_batch()
    update(learner, batch)
    modules = (learner.policy, learner.critic, learner.target_critic)
    before = [weights(module) for module in modules]
    moments = copy.deepcopy(
        [learner.policy_optimizer.state_dict(), learner.critic_optimizer.state_dict()]
    )
    with pytest.raises(NumericalError, match=r"loss is nan"):
        update(learner, poisoned(batch, field, float("nan")))
    assert all(unchanged(m, b) for m, b in zip(modules, before, strict=True))
    after = [learner.policy_optimizer.state_dict(), learner.critic_optimizer.state_dict()]
    torch.testing.assert_close(after, moments, rtol=0, atol=0)


@pytest.mark.parametrize("update", [imitation, critic, actor])
def test_an_infinite_gradient_stops_the_update(
    make_learner: LearnerMaker, make_batch: BatchMaker, update: Update
) -> None:
    learner = make_learner()
    module = learner.critic if update is critic else learner.policy
    next(module.encoder.observation.parameters()).register_hook(lambda grad: grad / 0)
    modules = (learner.policy, learner.critic, learner.target_critic)
    before = [weights(m) for m in modules]
    with pytest.raises(NumericalError, match="gradient"):
        update(learner, make_batch())
    assert all(unchanged(m, b) for m, b in zip(modules, before, strict=True))
