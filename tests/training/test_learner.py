"""One update at a time: what it reaches, what it leaves alone, and what it is for."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Literal

import pytest
import torch
from learner_updates import (
    CONFIG,
    BatchMaker,
    LearnerMaker,
    Update,
    actor,
    critic,
    flow_of,
    imitation,
    pure_q,
    unchanged,
    weights,
    without_gradient,
)
from point_world import tiny_config
from torch import nn

from softflow.errors import NumericalError
from softflow.models.critics.mlp_critic import MlpCriticConfig
from softflow.models.normalizers import clamp_to_limit
from softflow.models.policies.mlp_flow import MlpFlowConfig
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.training.config import TrainingConfig
from softflow.training.updates.modes import frozen

MLPS = tiny_config(
    model=replace(
        CONFIG.model,
        policy=MlpFlowConfig(num_layers=3, hidden_dim=16),
        critic=MlpCriticConfig(hidden_dim=16, depth=2),
    )
)
of_every_kind = pytest.mark.parametrize(
    "config", [pytest.param(CONFIG, id="transformers"), pytest.param(MLPS, id="MLPs")]
)

# ---- every gradient path reaches its parameters, and no other -----------------------------------


@pytest.mark.slow
@of_every_kind
@pytest.mark.parametrize("update", [imitation, actor])
def test_policy_updates_reach_the_whole_policy_and_nothing_else(
    make_learner: LearnerMaker, make_batch: BatchMaker, update: Update, config: TrainingConfig
) -> None:
    learner = make_learner(config)
    policy, critic_, target = (
        weights(m) for m in (learner.policy, learner.critic, learner.target_critic)
    )
    update(learner, make_batch())
    assert without_gradient(learner.policy) == []
    parameters = dict(learner.policy.named_parameters())
    assert all(not torch.equal(value, policy[name]) for name, value in parameters.items())
    assert unchanged(learner.critic, critic_)
    assert unchanged(learner.target_critic, target)
    assert all(p.grad is None for p in learner.critic.parameters())
    assert not learner.critic_optimizer.state


@pytest.mark.slow
@of_every_kind
def test_the_value_alone_reaches_the_whole_policy(
    make_learner: LearnerMaker, make_batch: BatchMaker, config: TrainingConfig
) -> None:
    """Without the imitation term the gradient comes through the chosen candidate."""
    learner = make_learner(config)
    pure_q(learner, make_batch())
    assert without_gradient(learner.policy) == []


@of_every_kind
def test_critic_update_reaches_both_critics_and_nothing_else(
    make_learner: LearnerMaker, make_batch: BatchMaker, config: TrainingConfig
) -> None:
    learner = make_learner(config)
    policy, critic_ = weights(learner.policy), weights(learner.critic)
    critic(learner, make_batch())
    assert without_gradient(learner.critic) == []
    parameters = dict(learner.critic.named_parameters())
    assert all(not torch.equal(value, critic_[name]) for name, value in parameters.items())
    assert unchanged(learner.policy, policy)
    assert all(p.grad is None for p in learner.policy.parameters())
    assert not learner.policy_optimizer.state


def test_the_critic_can_be_trained_after_an_actor_update(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    learner, batch = make_learner(), make_batch()
    actor(learner, batch)
    before = weights(learner.critic)
    critic(learner, batch)
    assert not unchanged(learner.critic, before)


def test_frozen_gives_back_what_it_found() -> None:
    module = nn.Linear(2, 2).train()

    def fail_inside() -> None:
        with frozen(module):
            assert not module.training
            assert not any(p.requires_grad for p in module.parameters())
            raise NumericalError("inside")

    with pytest.raises(NumericalError, match="inside"):
        fail_inside()
    assert module.training
    assert all(p.requires_grad for p in module.parameters())


def test_a_fresh_target_critic_is_the_critic_and_has_no_gradients(
    make_learner: LearnerMaker,
) -> None:
    learner = make_learner(fresh=True)
    assert unchanged(learner.target_critic, weights(learner.critic))
    assert not any(p.requires_grad for p in learner.target_critic.parameters())


# ---- the actor's gradient -----------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("value_coef", [1.0, 0.4, 0.0])
def test_actor_gradient_against_a_second_derivation(
    make_learner: LearnerMaker, make_batch: BatchMaker, value_coef: float
) -> None:
    """Differentiating through all candidates and picking the best gives the same gradient."""
    learner, batch = make_learner(), make_batch(num_online=4)
    stage = replace(CONFIG.offline_rl, dropout=0.0, value_coef=value_coef)
    learner.set_up(stage)
    twin = copy.deepcopy(learner)
    torch.manual_seed(0)
    learner.actor_update(batch, stage, bc_coef=0.3)

    policy, flow = twin.policy.train(), flow_of(twin)
    twin.critic.eval()
    actions = policy.action_normalizer.normalize(batch.actions)
    prefix = policy.action_normalizer.normalize(batch.prefix_actions)
    condition = policy.condition(batch.observation, prefix)
    torch.manual_seed(0)
    imitated = batch.is_offline & batch.episode_success & batch.step_valid.any(dim=1)
    rows = imitated.nonzero().flatten().tolist()
    noisy = actions.clone()
    noisy[rows] += CONFIG.noise_std * torch.randn(actions[rows].shape)
    log_prob = flow.log_prob(noisy[:, None], condition, batch.step_valid)[:, 0]
    latents = CONFIG.sampling_std * torch.randn(batch.batch_size, 3, 4, 2)
    candidates = clamp_to_limit(flow.to_actions(latents, condition)[0], 0.9)
    values = twin.critic.value(twin.critic.encoder(batch.observation, prefix), candidates)
    nll = -sum(log_prob[row] for row in rows) / len(rows)
    loss = -value_coef * values.max(dim=1).values.mean() + 0.3 * nll
    loss.backward()
    for ours, theirs in zip(learner.policy.parameters(), policy.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)


def test_without_values_a_batch_of_failures_changes_nothing(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    learner, batch = make_learner(), make_batch()
    before = weights(learner.policy)
    failed = replace(batch, episode_success=torch.zeros_like(batch.episode_success))
    metrics = learner.actor_update(failed, replace(CONFIG.offline_rl, value_coef=0.0), bc_coef=0.3)
    assert metrics["nll"].item() == 0
    assert unchanged(learner.policy, before)


@pytest.mark.slow
def test_updates_do_what_they_are_for(make_learner: LearnerMaker, make_batch: BatchMaker) -> None:
    batch = make_batch()

    def trained(update: Update, name: str, config: Any = CONFIG) -> tuple[float, float]:
        learner = make_learner(config)
        learner.set_up(replace(CONFIG.offline_rl, learning_rate=3e-3, dropout=0.0))
        seen = []
        for number in range(40):
            torch.manual_seed(number % 2)
            seen.append(update(learner, batch)[name].item())
        return seen[0], seen[-2]

    first, last = trained(imitation, "nll")
    assert last < first - 1, "imitation makes the data likelier"
    first, last = trained(critic, "critic_loss")
    assert last < first - 0.3, "the critic comes closer to its targets"
    first, last = trained(pure_q, "q_actor")
    assert last > first + 0.02, "the actor raises Q: the sign of Alg. 3 would lower it"


# ---- stages -------------------------------------------------------------------------------------


def test_a_stage_sets_learning_rate_and_dropout(make_learner: LearnerMaker) -> None:
    learner = make_learner()
    learner.set_up(replace(CONFIG.imitation, learning_rate=0.123, dropout=0.45))
    rates = {
        group["lr"]
        for optimizer in (learner.policy_optimizer, learner.critic_optimizer)
        for group in optimizer.param_groups
    }
    dropouts = {m.p for m in flow_of(learner).modules() if isinstance(m, nn.Dropout)}
    assert (rates, dropouts) == ({0.123}, {0.45})


def test_a_learning_rate_falls_linearly_through_a_stage_and_all_its_rounds() -> None:
    stage = replace(CONFIG.imitation, num_updates=4, learning_rate=0.8, learning_rate_decay=0.5)
    rates = [stage.learning_rate_at(update) for update in range(4)]
    assert rates == pytest.approx([0.8, 0.7, 0.6, 0.5])
    online = replace(
        CONFIG.online_rl,
        num_updates=2,
        num_rounds=5,
        learning_rate=1.0,
        learning_rate_decay=1.0,
    )
    assert online.learning_rate_at(9) == pytest.approx(0.1)


def test_a_learner_follows_the_falling_learning_rate(make_learner: LearnerMaker) -> None:
    stage = replace(CONFIG.imitation, num_updates=4, learning_rate=0.8, learning_rate_decay=0.5)
    learner = make_learner()
    learner.set_up(stage, update=2)
    assert learner.policy_optimizer.param_groups[0]["lr"] == pytest.approx(0.6)


def test_own_successes_are_imitated_where_asked(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    """Online rows that fail never are, and by default no online row."""
    batch = make_batch(num_online=12)
    succeeded = batch.episode_success & batch.step_valid.any(dim=1)
    assert succeeded.any()

    def cost(imitates: Literal["demonstrations", "successes"], batch: ChunkBatch) -> float:
        learner, stage = make_learner(), replace(CONFIG.offline_rl, imitates=imitates)
        learner.set_up(stage)
        torch.manual_seed(0)
        return learner.actor_update(batch, stage, bc_coef=1.0)["nll"].item()

    assert cost("demonstrations", batch) == 0
    assert cost("successes", batch) != 0
    failed = replace(batch, episode_success=torch.zeros_like(succeeded))
    assert cost("successes", failed) == 0
