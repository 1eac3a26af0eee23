"""Sampling, likeliest-of-N, dropout, candidates, and the policy around the flow."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from softflow.data.chunk_spec import ChunkSpec
from softflow.models.normalizers import perturb
from softflow.models.policies.flow_policy import ActionFlow, FlowPolicy
from softflow.models.policy import take_candidate

MakePolicy = Callable[..., FlowPolicy]
MakeObservation = Callable[..., tuple[dict[str, Tensor], Tensor]]
MakeFlow = Callable[..., ActionFlow]
MakeTensor = Callable[..., Tensor]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("std", [0.0, 0.7, 1.0])
def test_latents_have_the_sampling_std(make_flow: MakeFlow, std: float) -> None:
    flow = make_flow(5, 4, 2)
    latents = flow.draw_latents(100, 10, std, seeded())
    assert latents.shape == (100, 10, 5, 4)
    assert latents.dtype == torch.float64
    assert latents.std().item() == pytest.approx(std, rel=0.02)
    assert abs(latents.mean().item()) < 0.02
    torch.testing.assert_close(latents, std * flow.draw_latents(100, 10, 1.0, seeded()))


@pytest.mark.parametrize("std", [0.0, 0.7, 1.0])
def test_samples_are_the_latents_pushed_through(
    make_flow: MakeFlow, make_tokens: MakeTensor, std: float
) -> None:
    """And their likelihood is that of the policy itself, not of the narrower sampler."""
    flow = make_flow(5, 2, 4)
    condition = flow.condition(make_tokens(2, 3))
    actions, log_prob = flow.sample(3, std, condition, seeded())
    latents = std * flow.draw_latents(2, 3, 1.0, seeded())
    expected, log_det = flow.to_actions(latents, condition)
    torch.testing.assert_close(actions, expected, rtol=0, atol=0)
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1.0)
    torch.testing.assert_close(log_prob, normal.log_prob(latents).sum((-1, -2)) - log_det)


def test_std_zero_gives_one_chunk_whatever_the_seed(
    make_flow: MakeFlow, make_tokens: MakeTensor
) -> None:
    flow = make_flow(5, 2, 4)
    condition = flow.condition(make_tokens(1, 3))
    actions, _ = flow.sample(4, 0.0, condition, seeded(1))
    again, _ = flow.sample(4, 0.0, condition, seeded(2))
    torch.testing.assert_close(actions, again, rtol=0, atol=0)
    torch.testing.assert_close(actions, actions[:, :1].expand_as(actions), rtol=0, atol=1e-14)


@pytest.mark.parametrize("chunk_length", [1, 4, 5])
def test_candidates_share_nothing_but_the_observation(
    make_flow: MakeFlow, make_tokens: MakeTensor, chunk_length: int
) -> None:
    """N candidates at once are N calls with one candidate each, in both directions."""
    flow = make_flow(chunk_length, 2, 4)
    condition = flow.condition(make_tokens(2, 3))
    latents = flow.draw_latents(2, 5, 1.0, seeded())
    actions, log_det = flow.to_actions(latents, condition)
    back, back_log_det = flow.to_latents(actions, condition)
    for n in range(5):
        one = slice(n, n + 1)
        alone, alone_log_det = flow.to_actions(latents[:, one], condition)
        torch.testing.assert_close(alone, actions[:, one], rtol=0, atol=1e-12)
        torch.testing.assert_close(alone_log_det, log_det[:, one], rtol=0, atol=1e-11)
        alone, alone_log_det = flow.to_latents(actions[:, one], condition)
        torch.testing.assert_close(alone, back[:, one], rtol=0, atol=1e-11)
        torch.testing.assert_close(alone_log_det, back_log_det[:, one], rtol=0, atol=1e-11)


def test_every_observation_conditions_its_own_row(
    make_flow: MakeFlow, make_tokens: MakeTensor
) -> None:
    """A batch is its rows, one by one; and rows differ, because observations do."""
    flow = make_flow(5, 2, 4)
    tokens = make_tokens(3, 4)
    latents = flow.draw_latents(1, 2, 1.0, seeded()).expand(3, -1, -1, -1)
    actions, _ = flow.to_actions(latents, flow.condition(tokens))
    for row in range(3):
        alone, _ = flow.to_actions(latents[:1], flow.condition(tokens[row : row + 1]))
        torch.testing.assert_close(alone[0], actions[row], rtol=0, atol=1e-12)
    assert (actions[0] - actions[1]).abs().max() > 1e-2


def test_most_likely_picks_the_maximum(make_flow: MakeFlow, make_tokens: MakeTensor) -> None:
    flow = make_flow(5, 2, 4)
    condition = flow.condition(make_tokens(6, 3))
    chosen = flow.most_likely(16, 1.0, condition, seeded())
    actions, log_prob = flow.sample(16, 1.0, condition, seeded())
    best: list[int] = []
    for row in range(6):
        scores = log_prob[row].tolist()
        best.append(scores.index(max(scores)))
        torch.testing.assert_close(chosen[row], actions[row, best[row]], rtol=0, atol=0)
    assert len(set(best)) > 1, "rows must not all choose the same candidate"
    assert chosen.shape == (6, 5, 2)


def test_take_candidate_picks_by_row() -> None:
    candidates = torch.arange(12).view(2, 3, 2)
    assert take_candidate(candidates, torch.tensor([2, 0])).tolist() == [[4, 5], [6, 7]]


def test_dropout_acts_in_training_only(
    make_policy: MakePolicy, make_observation: MakeObservation, make_actions: MakeTensor
) -> None:
    chunk = ChunkSpec(5, 5)
    policy = make_policy(chunk)
    seen, actions = make_observation(chunk, 2), make_actions((2, 5, 2))

    def log_prob() -> Tensor:
        return policy.log_prob(policy.condition(*seen), actions)

    without = log_prob()
    policy.set_dropout(0.5)
    torch.testing.assert_close(log_prob(), without, rtol=0, atol=0)
    policy.train()
    assert not torch.equal(log_prob(), log_prob())
    policy.set_dropout(0.0)
    torch.testing.assert_close(log_prob(), without, rtol=0, atol=0)


def test_set_dropout_reaches_both_heads_of_every_layer(make_policy: MakePolicy) -> None:
    policy = make_policy(ChunkSpec(5, 5))
    policy.set_dropout(0.25)
    rates = [m.p for m in policy.modules() if isinstance(m, torch.nn.Dropout)]
    assert rates == [0.25] * 8


def test_noise_has_its_std_and_keeps_the_precision() -> None:
    actions = torch.zeros(50_000, dtype=torch.float64)
    noisy = perturb(actions, 0.05, seeded())
    assert noisy.dtype == torch.float64
    assert noisy.std().item() == pytest.approx(0.05, rel=0.02)
    torch.testing.assert_close(perturb(actions + 0.5, 0.0, seeded()), actions + 0.5)
    assert perturb(torch.zeros(3, dtype=torch.bfloat16), 0.05).dtype == torch.float32


@pytest.mark.parametrize(("prefix_length", "history_length"), [(0, 1), (3, 2)])
def test_the_policy_conditions_on_observation_and_prefix(
    make_policy: Callable[..., FlowPolicy],
    make_observation: Callable[..., tuple[dict[str, Tensor], Tensor]],
    make_actions: MakeTensor,
    prefix_length: int,
    history_length: int,
) -> None:
    chunk = ChunkSpec(4, 4, prefix_length, history_length)
    policy = make_policy(chunk)
    observation, prefix = make_observation(chunk, batch=2)
    actions = make_actions((2, 1, 4, 2))
    log_prob = policy.flow.log_prob(actions, policy.condition(observation, prefix))
    assert log_prob.shape == (2, 1)
    for step in range(history_length):
        moved = {key: value.clone() for key, value in observation.items()}
        moved["observation.state"][:, step] += 0.5
        other = policy.flow.log_prob(actions, policy.condition(moved, prefix))
        assert (other - log_prob).abs().min() > 1e-6
    for step in range(prefix_length):
        moved_prefix = prefix.clone()
        moved_prefix[:, step] += 0.5
        other = policy.flow.log_prob(actions, policy.condition(observation, moved_prefix))
        assert (other - log_prob).abs().min() > 1e-6
