"""The losses against a second derivation: numbers worked by hand, or the formula spelled out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from learner_updates import flow_of
from torch import Tensor

from softflow.models.value_distribution import HLGauss, ScalarValue, ValueSupport
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.training.learner import Learner
from softflow.training.losses import (
    actor_loss,
    bootstrap_value,
    critic_loss,
    imitation_loss,
)

LearnerMaker = Callable[..., Learner]
BatchMaker = Callable[..., ChunkBatch]


# ---- imitation, Eq. 8 ---------------------------------------------------------------------------


def test_imitation_is_the_mean_over_rows_that_count() -> None:
    nll = torch.tensor([1.0, 20.0, 3.0, 40.0], requires_grad=True)
    loss, metrics = imitation_loss(nll, torch.tensor([1.0, 0.0, 1.0, 0.0]))
    assert loss.item() == 2.0
    assert metrics["nll"].item() == 2.0
    loss.backward()
    assert nll.grad is not None
    assert nll.grad.tolist() == [0.5, 0.0, 0.5, 0.0]


def test_imitation_of_no_row_is_zero_not_nan() -> None:
    loss, _ = imitation_loss(torch.tensor([1.0, 2.0]), torch.zeros(2))
    assert loss.item() == 0.0


def condition_of(learner: Learner, batch: ChunkBatch) -> tuple[Tensor, list[list]]:
    normalize = learner.policy.action_normalizer.normalize
    prefix = normalize(batch.prefix_actions)
    return normalize(batch.actions), learner.policy.condition(batch.observation, prefix)


def test_likelihood_ignores_steps_past_the_end(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    learner, batch = make_learner(), make_batch()
    learner.policy.eval()
    assert not batch.step_valid.all(), "the batch should hold cut chunks"
    actions, condition = condition_of(learner, batch)
    nll = learner.policy.imitation_cost(condition, actions, batch.step_valid, 0.0)
    other = torch.where(batch.step_valid[..., None], actions, torch.full_like(actions, 0.3))
    same = learner.policy.imitation_cost(condition, other, batch.step_valid, 0.0)
    all_valid = torch.ones_like(batch.step_valid)
    full = learner.policy.imitation_cost(condition, actions, all_valid, 0.0)
    assert torch.equal(nll, same)
    cut = ~batch.step_valid.all(dim=1)
    assert torch.equal(nll[~cut], full[~cut])
    assert (nll[cut] != full[cut]).all()


@pytest.mark.slow
def test_likelihood_is_of_noisy_actions(make_learner: LearnerMaker, make_batch: BatchMaker) -> None:
    learner, batch = make_learner(), make_batch()
    learner.policy.eval()
    actions, condition = condition_of(learner, batch)
    torch.manual_seed(3)
    nll = learner.policy.imitation_cost(condition, actions, batch.step_valid, 0.05)
    torch.manual_seed(3)
    noisy = (actions + 0.05 * torch.randn(actions.shape))[:, None]
    expected = flow_of(learner).log_prob(noisy, condition, batch.step_valid)[:, 0]
    torch.testing.assert_close(nll, -expected, rtol=1e-6, atol=1e-6)


# ---- critic, Eq. 7 ------------------------------------------------------------------------------


def normal_cdf(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def three_bins(target: float) -> list[float]:
    """Mass of N(target, 0.75^2) in bins around 0, 1 and 2, made to sum to one."""
    edges = [-0.5, 0.5, 1.5, 2.5]
    cdf = [normal_cdf((edge - target) / 0.75) for edge in edges]
    mass = [high - low for low, high in pairwise(cdf)]
    return [m / sum(mass) for m in mass]


def test_critic_cross_entropy_by_hand() -> None:
    distribution = HLGauss(ValueSupport(0.0, 2.0, num_bins=3, smoothing=0.75))
    logits = torch.tensor([[[0.0, 1.0, 2.0], [1.0, 0.0, 0.0]], [[0.5, 0.5, 0.5], [0.0, 2.0, 0.0]]])
    loss, metrics = critic_loss(
        logits,
        rewards=torch.tensor([[0.5, 0.5], [1.0, 0.0]]),
        num_steps=torch.tensor([2, 1]),
        bootstrap_mask=torch.tensor([1.0, 0.0]),
        next_value=torch.tensor([3.0, 99.0]),
        discount=0.5,
        output=distribution,
    )
    targets = [0.5 + 0.25 + 0.25 * 3.0, 1.0]
    by_hand = 0.0
    for critic in logits.tolist():
        for row, target in zip(critic, targets, strict=True):
            log_sum = math.log(sum(math.exp(x) for x in row))
            mass = three_bins(target)
            cross_entropy = sum(m * (log_sum - x) for m, x in zip(mass, row, strict=True))
            by_hand += cross_entropy / len(targets)
    assert loss.item() == pytest.approx(by_hand, rel=1e-6)
    assert metrics["critic_loss"].item() == pytest.approx(by_hand / 2, rel=1e-6)
    assert metrics["q_target"].item() == pytest.approx(sum(targets) / 2)
    assert metrics["target_clipped_fraction"].item() == 0.0


def test_critic_squared_error_by_hand() -> None:
    """In percent of the range, which is 4 here; a target beyond it is no other than within."""
    outputs = torch.tensor([[[0.5], [0.25]], [[0.75], [0.0]]])  # the values 1, 0; 2, -1
    loss, metrics = critic_loss(
        outputs,
        rewards=torch.tensor([[1.0], [2.0]]),
        num_steps=torch.tensor([1, 1]),
        bootstrap_mask=torch.tensor([1.0, 0.0]),
        next_value=torch.tensor([4.0, 99.0]),
        discount=0.5,
        output=ScalarValue(ValueSupport(-1.0, 3.0)),
    )
    squared = [((1 - 3) / 4) ** 2, ((0 - 2) / 4) ** 2, ((2 - 3) / 4) ** 2, ((-1 - 2) / 4) ** 2]
    assert loss.item() == pytest.approx(1e4 * sum(squared) / 2)
    assert metrics["critic_loss"].item() == pytest.approx(1e4 * sum(squared) / 4)
    assert metrics["td_error"].item() == pytest.approx((2 + 2 + 1 + 3) / 4)
    assert metrics["target_clipped_fraction"].item() == 0.0


def test_targets_outside_the_support_are_clipped_and_counted() -> None:
    distribution = HLGauss(ValueSupport(0.0, 2.0, num_bins=3, smoothing=0.75))
    logits = torch.zeros(1, 4, 3)

    def loss_of(rewards: list[float]) -> tuple[float, float]:
        one, zero = torch.ones(4, dtype=torch.int64), torch.zeros(4)
        loss, metrics = critic_loss(
            logits, torch.tensor(rewards)[:, None], one, zero, zero, 0.5, distribution
        )
        return loss.item(), metrics["target_clipped_fraction"].item()

    outside, outside_fraction = loss_of([1.0, 1.0, 5.0, -5.0])
    clipped, clipped_fraction = loss_of([1.0, 1.0, 2.0, 0.0])
    assert outside == clipped
    assert (outside_fraction, clipped_fraction) == (0.5, 0.0)


def test_critic_gradient_is_prediction_minus_target() -> None:
    """d CE / d logits = softmax(logits) - histogram, over the batch size; every critic alike."""
    distribution = HLGauss(ValueSupport(-1.0, 1.0, num_bins=7))
    logits = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits.requires_grad_(True)
    rewards = torch.linspace(-1, 1, 5, dtype=torch.float64)[:, None]
    zeros, one = torch.zeros(5, dtype=torch.float64), torch.ones(5, dtype=torch.int64)
    loss, _ = critic_loss(logits, rewards, one, zeros, zeros, 0.9, distribution.double())
    (gradient,) = torch.autograd.grad(loss, logits)
    histogram = distribution.probabilities(rewards[:, 0])
    expected = (logits.detach().softmax(-1) - histogram) / 5
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("num_candidates", [1, 5])
def test_bootstrap_is_the_best_candidate_by_the_worst_critic(
    make_learner: LearnerMaker, make_batch: BatchMaker, num_candidates: int
) -> None:
    learner, batch = make_learner(), make_batch()
    learner.policy.eval()
    flow, critic = flow_of(learner), learner.target_critic
    twin = critic.members[1]
    twin.load_state_dict(critic.members[0].state_dict())
    with torch.no_grad():
        next(twin.get_submodule("action_embed").parameters()).neg_()
    prefix = learner.policy.action_normalizer.normalize(batch.next_prefix_actions)
    condition = learner.policy.condition(batch.next_observation, prefix)
    tokens = critic.encoder(batch.next_observation, prefix)
    torch.manual_seed(11)
    value = bootstrap_value(learner.policy, condition, critic, tokens, num_candidates, 0.7)

    torch.manual_seed(11)
    latents = 0.7 * torch.randn(batch.batch_size, num_candidates, 4, 2)
    chunks = flow.to_actions(latents, condition)[0].clamp(-0.9, 0.9)
    executed = chunks[:, :, :3]
    histograms = [member(tokens, executed).softmax(-1) for member in critic.members]
    by_critic = [(histogram * critic.output.centers).sum(-1) for histogram in histograms]
    worst = torch.minimum(by_critic[0], by_critic[1])
    torch.testing.assert_close(value, worst.max(dim=1).values, rtol=1e-5, atol=1e-6)
    assert not value.requires_grad
    assert (by_critic[0] < by_critic[1]).any()
    assert (by_critic[0] > by_critic[1]).any(), "neither critic is always the worst"


# ---- actor, IV-D --------------------------------------------------------------------------------


def test_actor_loss_is_minus_q_plus_lambda_nll() -> None:
    q_value = torch.tensor([1.0, 2.0, 6.0], requires_grad=True)
    nll = torch.tensor([10.0, 20.0, 1000.0], requires_grad=True)
    offline = torch.tensor([1.0, 1.0, 0.0])
    loss, metrics = actor_loss(q_value, nll, offline, bc_coef=0.1)
    assert loss.item() == pytest.approx(-3.0 + 0.1 * 15.0)
    assert metrics["q_actor"].item() == 3.0
    assert metrics["nll"].item() == 15.0
    loss.backward()
    assert q_value.grad is not None
    assert nll.grad is not None
    # Q is pushed up on every row; likelihood is asked of the offline rows alone.
    assert q_value.grad.tolist() == pytest.approx([-1 / 3] * 3)
    assert nll.grad.tolist() == pytest.approx([0.05, 0.05, 0.0])


@pytest.mark.slow
def test_actor_imitates_successful_offline_rows_only(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    """What was done in online and in failed episodes does not reach the policy's gradient."""
    learner, batch = make_learner(), make_batch(rows=24, num_online=8)
    imitated = batch.is_offline & batch.episode_success
    left_out = (~batch.is_offline, batch.is_offline & ~batch.episode_success)
    assert imitated.any()
    assert all(rows.any() for rows in left_out)

    def gradients(changed: Tensor) -> list[Tensor]:
        fresh = make_learner()
        actions = torch.where(changed[:, None, None], -batch.actions, batch.actions)
        torch.manual_seed(0)
        stage = learner.config.online_rl
        fresh.actor_update(replace(batch, actions=actions), stage, bc_coef=1.0)
        return [p.grad for p in fresh.policy.parameters() if p.grad is not None]

    nobody = torch.zeros_like(imitated)
    reference = gradients(nobody)
    for rows in left_out:
        pairs = zip(reference, gradients(rows), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    changed = zip(reference, gradients(imitated), strict=True)
    assert not all(torch.equal(a, b) for a, b in changed)
