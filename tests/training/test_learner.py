"""One update at a time: what it reaches, what it leaves alone, and what it refuses."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from point_world import tiny_config
from torch import Tensor, nn

from softflow.data.chunk_sampler import ChunkBatch
from softflow.errors import NumericalError
from softflow.training.learner import Learner, frozen

LearnerMaker = Callable[..., Learner]
BatchMaker = Callable[..., ChunkBatch]
Update = Callable[[Learner, ChunkBatch], dict[str, Tensor]]
CONFIG = tiny_config()
STATE = "observation.state"


def imitation(learner: Learner, batch: ChunkBatch) -> dict[str, Tensor]:
    return learner.imitation_update(batch)


def critic(learner: Learner, batch: ChunkBatch) -> dict[str, Tensor]:
    return learner.critic_update(batch, CONFIG.offline_rl)


def actor(learner: Learner, batch: ChunkBatch) -> dict[str, Tensor]:
    return learner.actor_update(batch, CONFIG.offline_rl, bc_coef=0.1)


def pure_q(learner: Learner, batch: ChunkBatch) -> dict[str, Tensor]:
    return learner.actor_update(batch, CONFIG.offline_rl, bc_coef=0.0)


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def unchanged(module: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def without_gradient(module: nn.Module) -> list[str]:
    """Names of the parameters whose gradient is missing or zero."""
    return [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]


def target_of(learner: Learner, batch: ChunkBatch, seed: int = 0) -> float:
    """Mean target of a critic update."""
    torch.manual_seed(seed)
    return learner.critic_update(batch, CONFIG.offline_rl)["q_target"].item()


# ---- every gradient path reaches its parameters, and no other -----------------------------------


@pytest.mark.parametrize("update", [imitation, actor])
def test_policy_updates_reach_the_whole_policy_and_nothing_else(
    make_learner: LearnerMaker, make_batch: BatchMaker, update: Update
) -> None:
    learner = make_learner()
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


def test_the_value_alone_reaches_the_whole_policy(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    """Without the imitation term the gradient comes through the chosen candidate."""
    learner = make_learner()
    pure_q(learner, make_batch())
    assert without_gradient(learner.policy) == []


def test_critic_update_reaches_both_critics_and_nothing_else(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    learner = make_learner()
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


# ---- the target ---------------------------------------------------------------------------------


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


def test_target_by_hand(make_learner: LearnerMaker, make_batch: BatchMaker) -> None:
    """r + gamma^steps * mask * min over the target critics, best of the candidates."""
    learner, batch = make_learner(), make_batch()
    flow, target = learner.policy.flow, copy.deepcopy(learner.target_critic)
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


# ---- the actor's gradient -----------------------------------------------------------------------


def test_actor_gradient_against_a_second_derivation(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    """Differentiating through all candidates and picking the best gives the same gradient."""
    learner, batch = make_learner(), make_batch(num_online=4)
    learner.set_up(replace(CONFIG.offline_rl, dropout=0.0))
    twin = copy.deepcopy(learner)
    torch.manual_seed(0)
    learner.actor_update(batch, CONFIG.offline_rl, bc_coef=0.3)

    policy, flow = twin.policy.train(), twin.policy.flow
    twin.critic.eval()
    actions = policy.action_normalizer.normalize(batch.actions)
    prefix = policy.action_normalizer.normalize(batch.prefix_actions)
    condition = policy.condition(batch.observation, prefix)
    torch.manual_seed(0)
    noisy = actions + CONFIG.noise_std * torch.randn(actions.shape)
    log_prob = flow.log_prob(noisy[:, None], condition, batch.step_valid)[:, 0]
    latents = CONFIG.sampling_std * torch.randn(batch.batch_size, 3, 4, 2)
    candidates = flow.to_actions(latents, condition)[0].clamp(-0.9, 0.9)
    values = twin.critic.min_value(twin.critic.encoder(batch.observation, prefix), candidates)
    rows = [r for r in range(12) if batch.is_offline[r] and batch.episode_success[r]]
    nll = -sum(log_prob[row] for row in rows) / len(rows)
    loss = -values.max(dim=1).values.mean() + 0.3 * nll
    loss.backward()
    for ours, theirs in zip(learner.policy.parameters(), policy.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-5)


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


# ---- stages, refusals ---------------------------------------------------------------------------


def test_a_stage_sets_learning_rate_and_dropout(make_learner: LearnerMaker) -> None:
    learner = make_learner()
    learner.set_up(replace(CONFIG.imitation, learning_rate=0.123, dropout=0.45))
    rates = {
        group["lr"]
        for optimizer in (learner.policy_optimizer, learner.critic_optimizer)
        for group in optimizer.param_groups
    }
    dropouts = {m.p for m in learner.policy.flow.modules() if isinstance(m, nn.Dropout)}
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


def poisoned(batch: ChunkBatch, field: str, value: float) -> ChunkBatch:
    content = getattr(batch, field)
    if isinstance(content, dict):
        state = content[STATE].clone()
        state[3, -1, 1] = value
        return replace(batch, **{field: {STATE: state}})
    bad = content.clone()
    bad[3].fill_(value)
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
    next(module.encoder.state_mlp.parameters()).register_hook(lambda grad: grad / 0)
    modules = (learner.policy, learner.critic, learner.target_critic)
    before = [weights(m) for m in modules]
    with pytest.raises(NumericalError, match="gradient"):
        update(learner, make_batch())
    assert all(unchanged(m, b) for m, b in zip(modules, before, strict=True))
