"""What the critic is trained towards, and what it sees."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from learner_updates import (
    CONFIG,
    STATE,
    BatchMaker,
    LearnerMaker,
    Update,
    critic,
    flow_of,
    imitation,
    target_of,
)
from torch import Tensor

from softflow.sampling.chunk_batch import ChunkBatch
from softflow.training.learner import Learner


@pytest.mark.slow
@pytest.mark.parametrize("tau", [0.05, 0.3])
def test_target_follows_by_polyak(
    make_learner: LearnerMaker, make_batch: BatchMaker, tau: float
) -> None:
    learner = make_learner(replace(CONFIG, tau=tau))
    old = [p.clone() for p in learner.target_critic.parameters()]
    critic(learner, make_batch())
    new = list(learner.critic.parameters())
    for target, before, online in zip(learner.target_critic.parameters(), old, new, strict=True):
        torch.testing.assert_close(target, (1 - tau) * before + tau * online.detach())


@pytest.mark.slow
def test_target_by_hand(make_learner: LearnerMaker, make_batch: BatchMaker) -> None:
    """r + gamma^steps * mask * min over the target critics, best of the candidates."""
    learner, batch = make_learner(), make_batch()
    flow, target = flow_of(learner), copy.deepcopy(learner.target_critic)
    learner.policy.eval()
    with torch.no_grad():
        prefix = learner.policy.action_normalizer.normalize(batch.next_prefix_actions)
        condition = learner.policy.condition(batch.next_observation, prefix)
        torch.manual_seed(0)
        latents = CONFIG.sampling_std * torch.randn(batch.batch_size, 2, 4, 2)
        chunks = flow.to_actions(latents, condition)[0].clamp(-0.9, 0.9)
        tokens = target.encoder(batch.next_observation, prefix)
        first, second = target.values(tokens, chunks)
        value = torch.minimum(first, second).amax(dim=1)
    expected = []
    for row in range(batch.batch_size):
        steps = int(batch.num_steps[row])
        reward = sum(0.997**i * batch.rewards[row, i].item() for i in range(steps))
        bootstrap = 0.997**steps * value[row].item() * batch.bootstrap_mask[row].item()
        expected.append(reward + bootstrap)
    assert target_of(learner, batch) == pytest.approx(sum(expected) / len(expected), rel=1e-5)


@pytest.mark.slow
def test_a_terminated_row_does_not_look_at_what_comes_next(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    batch = make_batch(rows=24)
    terminated = batch.bootstrap_mask == 0
    assert terminated.any()
    assert not terminated.all()

    def elsewhere(rows: Tensor) -> ChunkBatch:
        moved = batch.next_observation[STATE] + rows.float()[:, None, None]
        return replace(batch, next_observation={STATE: moved})

    reference = target_of(make_learner(), batch)
    assert target_of(make_learner(), elsewhere(terminated)) == reference
    assert target_of(make_learner(), elsewhere(~terminated)) != reference


@pytest.mark.slow
def test_targets_come_from_the_target_critic(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    def target_with(changed: str) -> float:
        learner = make_learner()
        with torch.no_grad():
            for parameter in getattr(learner, changed).members.parameters():
                parameter.mul_(0.5)
        return target_of(learner, make_batch())

    reference = target_of(make_learner(), make_batch())
    assert target_with("critic") == reference
    assert target_with("target_critic") != reference


@pytest.mark.slow
def test_dropout_is_off_in_targets(make_learner: LearnerMaker, make_batch: BatchMaker) -> None:
    def learner_with(policy_dropout: float, critic_dropout: float) -> Learner:
        critic_config = replace(CONFIG.model.critic, dropout=critic_dropout)
        model = replace(CONFIG.model, critic=critic_config)
        learner = make_learner(replace(CONFIG, model=model))
        learner.set_up(replace(CONFIG.offline_rl, dropout=policy_dropout))
        learner.policy.train()
        return learner

    batch = make_batch()
    reference = target_of(learner_with(0.0, 0.0), batch)
    assert target_of(learner_with(0.9, 0.0), batch) == reference
    assert target_of(learner_with(0.0, 0.9), batch) == reference


@pytest.mark.slow
def test_dropout_is_on_where_it_should_be(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    def loss(update: Update, name: str, dropout: float) -> float:
        critic_config = replace(CONFIG.model.critic, dropout=dropout)
        learner = make_learner(replace(CONFIG, model=replace(CONFIG.model, critic=critic_config)))
        learner.set_up(replace(CONFIG.offline_rl, dropout=dropout))
        learner.policy.eval()
        learner.critic.eval()
        torch.manual_seed(0)
        return update(learner, make_batch())[name].item()

    assert loss(imitation, "nll", 0.0) != loss(imitation, "nll", 0.5)
    assert loss(critic, "critic_loss", 0.0) != loss(critic, "critic_loss", 0.5)


@pytest.mark.slow
def test_the_critic_may_see_noisy_actions(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    """Noise far beyond the range of the data leaves nothing of the actions but the limits."""
    batch = make_batch()
    mirrored = replace(batch, actions=-batch.actions)

    def loss(noise_std: float, data: ChunkBatch) -> tuple[float, float]:
        learner = make_learner(replace(CONFIG, critic_noise_std=noise_std))
        torch.manual_seed(0)
        metrics = learner.critic_update(data, CONFIG.offline_rl)
        return metrics["critic_loss"].item(), metrics["q_target"].item()

    assert loss(0.0, batch)[0] != loss(0.0, mirrored)[0]
    assert loss(1e6, batch) == loss(1e6, mirrored)
    assert loss(1e6, batch)[0] != loss(0.0, batch)[0]
    assert loss(1e6, batch)[1] == loss(0.0, batch)[1], "targets are not disturbed"
