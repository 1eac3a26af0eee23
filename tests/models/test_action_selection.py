"""Alg. 2 chooses the best of its candidates, and gradients run through the chosen one alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.exploration import exploration_offset
from softflow.data.statistics import DatasetStatistics
from softflow.errors import ConfigError
from softflow.models.action_selection import (
    ChunkSelector,
    SelectionConfig,
    select_by_value,
)
from softflow.models.critic import CriticEnsemble
from softflow.models.normalizers import clamp_to_limit
from softflow.models.policies.flow_policy import FlowPolicy
from softflow.training.updates.modes import frozen

CHUNK = ChunkSpec(4, 4, prefix_length=1, history_length=2)
LIMIT = 0.9

MakePolicy = Callable[..., FlowPolicy]
MakeCritic = Callable[..., CriticEnsemble]
MakeObservation = Callable[..., tuple[dict[str, Tensor], Tensor]]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def with_gradient(module: nn.Module) -> set[str]:
    """Names of the parameters that some gradient other than zero has reached."""
    return {
        name
        for name, parameter in module.named_parameters()
        if parameter.grad is not None and parameter.grad.any()
    }


def names(module: nn.Module) -> set[str]:
    return {name for name, _ in module.named_parameters()}


@pytest.mark.slow
@pytest.mark.parametrize("num_candidates", [1, 2, 16])
def test_alg_2_keeps_the_candidate_of_highest_minimum_value(
    make_policy: MakePolicy,
    make_critic: MakeCritic,
    make_observation: MakeObservation,
    num_candidates: int,
) -> None:
    """Against Alg. 2 written as loops over observations, candidates and critics."""
    policy, critic = make_policy(CHUNK), make_critic(CHUNK)
    observation, prefix = make_observation(CHUNK, batch=5)
    condition = policy.condition(observation, prefix)
    tokens = critic.encoder(observation, prefix)
    selection = select_by_value(
        policy, condition, critic, tokens, num_candidates, 1.0, generator=seeded()
    )
    sampled, _ = policy.flow.sample(num_candidates, 1.0, condition, seeded())
    assert (sampled.abs() > LIMIT).any(), "no candidate beyond the limit: clipping is not tested"
    winners: list[int] = []
    for row in range(5):
        best, best_value = -1, -math.inf
        for n in range(num_candidates):
            chunk = sampled[row, n].clamp(-LIMIT, LIMIT)[None, None]
            values = [
                critic.output.value(member(tokens[row, None], chunk)).item()
                for member in critic.members
            ]
            assert selection.candidate_values[row, n].item() == pytest.approx(min(values))
            torch.testing.assert_close(selection.candidates[row, n], chunk[0, 0], rtol=0, atol=0)
            if min(values) > best_value:
                best, best_value = n, min(values)
        winners.append(best)
        torch.testing.assert_close(
            selection.actions[row], sampled[row, best].clamp(-LIMIT, LIMIT), rtol=0, atol=0
        )
        assert selection.value[row].item() == pytest.approx(best_value)
    assert num_candidates < 16 or len(set(winners)) > 1
    assert selection.actions.shape == (5, 4, 2)
    assert selection.candidates.shape == (5, num_candidates, 4, 2)


def test_without_pathwise_there_is_no_graph(
    make_policy: MakePolicy, make_critic: MakeCritic, make_observation: MakeObservation
) -> None:
    policy, critic = make_policy(CHUNK), make_critic(CHUNK)
    observation, prefix = make_observation(CHUNK, batch=2)
    condition = policy.condition(observation, prefix)
    tokens = critic.encoder(observation, prefix)
    assert tokens.requires_grad
    selection = select_by_value(policy, condition, critic, tokens, 3, 0.7)
    for tensor in (
        selection.actions,
        selection.value,
        selection.candidate_values,
        selection.candidates,
    ):
        assert not tensor.requires_grad


def actor_value(
    policy: FlowPolicy,
    critic: CriticEnsemble,
    observation: dict[str, Tensor],
    prefix: Tensor,
    num_candidates: int = 8,
) -> tuple[Tensor, Tensor]:
    """(min value of the pathwise chunk, the chunk), the critic frozen as in the actor update."""
    condition = policy.condition(observation, prefix)
    with frozen(critic):
        tokens = critic.encoder(observation, prefix)
        selection = select_by_value(
            policy,
            condition,
            critic,
            tokens,
            num_candidates,
            0.5,
            pathwise=True,
            generator=seeded(),
        )
        with torch.no_grad():
            again = critic.value(tokens, selection.actions[:, None]).squeeze(1)
    torch.testing.assert_close(selection.value.detach(), again)
    torch.testing.assert_close(selection.candidate_values.amax(dim=1), again)
    assert selection.candidates.shape[1] == num_candidates
    assert not selection.candidate_values.requires_grad
    assert not selection.candidates.requires_grad
    return selection.value, selection.actions


@pytest.mark.parametrize("num_candidates", [1, 8])
def test_the_pathwise_gradient_is_that_of_the_chosen_latent(
    make_policy: MakePolicy,
    make_critic: MakeCritic,
    make_observation: MakeObservation,
    num_candidates: int,
) -> None:
    policy, critic = make_policy(CHUNK), make_critic(CHUNK)
    observation, prefix = make_observation(CHUNK, batch=3)
    value, actions = actor_value(policy, critic, observation, prefix, num_candidates)
    parameters = list(policy.parameters())
    gradients = torch.autograd.grad(value.sum(), parameters)

    condition = policy.condition(observation, prefix)
    tokens = critic.encoder(observation, prefix).detach()
    latents = policy.flow.draw_latents(3, num_candidates, 0.5, seeded())
    candidates = clamp_to_limit(policy.flow.to_actions(latents, condition)[0], LIMIT)
    best = critic.value(tokens, candidates).argmax(dim=1).tolist()
    again = torch.stack([candidates[row, n] for row, n in enumerate(best)])
    torch.testing.assert_close(actions, again, rtol=0, atol=1e-12)
    expected = torch.autograd.grad(
        critic.value(tokens, again[:, None]).sum(), parameters, allow_unused=True
    )
    for ours, theirs in zip(gradients, expected, strict=True):
        assert theirs is not None
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-12)


def test_the_pathwise_gradient_is_the_slope_of_the_value(
    make_policy: MakePolicy,
    make_critic: MakeCritic,
    make_observation: MakeObservation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A finite difference along a random direction of the policy's weights; nothing saturates."""
    monkeypatch.setattr(FlowPolicy, "action_limit", 1.0)
    policy, critic = make_policy(CHUNK), make_critic(CHUNK)
    observation, prefix = make_observation(CHUNK, batch=3)
    value, _ = actor_value(policy, critic, observation, prefix)
    value.sum().backward()
    directions = [
        torch.randn(p.shape, generator=seeded(n), dtype=p.dtype)
        for n, p in enumerate(policy.parameters())
    ]
    slope = sum(
        (direction * parameter.grad).sum().item()
        for direction, parameter in zip(directions, policy.parameters(), strict=True)
        if parameter.grad is not None
    )
    results: list[float] = []
    for step in (1e-6, -2e-6):
        with torch.no_grad():
            for direction, parameter in zip(directions, policy.parameters(), strict=True):
                parameter += step * direction
        results.append(actor_value(policy, critic, observation, prefix)[0].sum().item())
    assert slope == pytest.approx((results[0] - results[1]) / 2e-6, rel=1e-4)


def test_the_pathwise_gradient_reaches_the_policy_and_nothing_else(
    make_policy: MakePolicy, make_critic: MakeCritic, make_observation: MakeObservation
) -> None:
    policy, critic = make_policy(CHUNK), make_critic(CHUNK)
    observation, prefix = make_observation(CHUNK, batch=4)
    value, _ = actor_value(policy, critic, observation, prefix)
    value.sum().backward()
    assert with_gradient(policy) == names(policy)
    assert all(p.grad is None for p in critic.parameters())
    assert all(p.requires_grad for p in critic.parameters()), "frozen() must thaw afterwards"


def test_the_price_of_pathwise_does_not_grow_with_the_candidates(
    make_policy: MakePolicy, make_critic: MakeCritic, make_observation: MakeObservation
) -> None:
    """What autograd keeps for the backward pass: one chunk, not N."""
    policy, critic = make_policy(CHUNK), make_critic(CHUNK)
    observation, prefix = make_observation(CHUNK, batch=2)
    tokens = critic.encoder(observation, prefix).detach()
    kept: list[int] = []
    for num_candidates in (1, 2, 64):
        condition = policy.condition(observation, prefix)
        sizes: list[int] = []

        def count(tensor: Tensor, sizes: list[int] = sizes) -> Tensor:
            sizes.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            select_by_value(policy, condition, critic, tokens, num_candidates, 0.5, pathwise=True)
        kept.append(sum(sizes))
    assert kept[0] == kept[1] == kept[2] > 0


def flops(function: Callable[[], object]) -> int:
    """Operations in matrix products; attention is spelt out, for the counter to see it."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        function()
    return counter.get_total_flops()


def flops_shared_and_naive(
    policy: FlowPolicy,
    critic: CriticEnsemble | None,
    make_observation: MakeObservation,
    num_candidates: int,
) -> tuple[int, int]:
    """N candidates for one observation, and one candidate for each of N observations."""
    rule = "likelihood" if critic is None else "value"
    one, many = make_observation(CHUNK, 1), make_observation(CHUNK, num_candidates)
    shared = ChunkSelector(policy, critic, SelectionConfig(num_candidates, 1.0, rule))
    naive = ChunkSelector(policy, critic, SelectionConfig(1, 1.0, rule))
    return flops(lambda: shared(*one)), flops(lambda: naive(*many))


def test_sampling_looks_at_the_observation_once_for_all_candidates(
    make_policy: MakePolicy, make_observation: MakeObservation
) -> None:
    """A candidate more costs its own tokens and queries: no observation token, key or value."""
    policy = make_policy(CHUNK, tokens=256)
    once = flops(lambda: policy.condition(*make_observation(CHUNK, 1)))
    shared, naive = flops_shared_and_naive(policy, None, make_observation, 128)
    assert naive - shared >= 127 * once
    assert naive > 5 * shared, "something of the observation is left to every candidate"


@pytest.mark.slow
def test_scoring_projects_observation_tokens_once_for_all_candidates(
    make_policy: MakePolicy, make_critic: MakeCritic, make_observation: MakeObservation
) -> None:
    """In the first layer alone: there the tokens attend to the actions and become a candidate's."""
    policy, critic = make_policy(CHUNK), make_critic(CHUNK, tokens=32)
    observation, prefix = make_observation(CHUNK, 1)
    _, num_tokens, dim = critic.encoder(observation, prefix).shape
    queries_keys_values = 2 * num_tokens * dim * 3 * dim
    once = flops(
        lambda: (policy.condition(observation, prefix), critic.encoder(observation, prefix))
    )
    once += len(critic.members) * queries_keys_values
    shared, naive = flops_shared_and_naive(policy, critic, make_observation, 128)
    assert naive - shared >= 127 * once


@pytest.mark.parametrize("rule", ["value", "likelihood"])
def test_the_deployed_rule_speaks_the_robots_units(
    make_policy: MakePolicy,
    make_critic: MakeCritic,
    make_observation: MakeObservation,
    make_statistics: Callable[..., DatasetStatistics],
    rule: str,
) -> None:
    """Inside the data's range, and equal to the steps done by hand."""
    policy, critic = make_policy(CHUNK), make_critic(CHUNK)
    observation, prefix = make_observation(CHUNK, batch=6)
    config = SelectionConfig(8, 1.0, rule)  # type: ignore[arg-type]
    actions = ChunkSelector(policy, critic, config)(observation, prefix, seeded())
    data = make_statistics(2).action
    low, high = torch.from_numpy(data.minimum), torch.from_numpy(data.maximum)
    assert actions.shape == (6, 4, 2)
    assert not actions.requires_grad
    assert ((actions >= low) & (actions <= high)).all()
    assert ((actions - low).abs() < 1e-9).any(), "no action at the border: clipping is not tested"

    normalised = (prefix - low) / (high - low) * 1.8 - 0.9
    condition = policy.condition(observation, normalised)
    if rule == "likelihood":
        chosen = policy.flow.most_likely(8, 1.0, condition, seeded())
    else:
        tokens = critic.encoder(observation, normalised)
        chosen = select_by_value(
            policy, condition, critic, tokens, 8, 1.0, generator=seeded()
        ).actions
    expected = low + (chosen.clamp(-0.9, 0.9) + 0.9) / 1.8 * (high - low)
    torch.testing.assert_close(actions, expected, rtol=1e-9, atol=1e-9)


def test_the_two_rules_differ_and_likelihood_needs_no_critic(
    make_policy: MakePolicy, make_critic: MakeCritic, make_observation: MakeObservation
) -> None:
    policy, critic = make_policy(CHUNK), make_critic(CHUNK)
    observation, prefix = make_observation(CHUNK, batch=6)
    by_value = ChunkSelector(policy, critic, SelectionConfig(8, 1.0))
    by_likelihood = ChunkSelector(policy, None, SelectionConfig(8, 1.0, "likelihood"))
    first = by_value(observation, prefix, seeded())
    second = by_likelihood(observation, prefix, seeded())
    assert not torch.equal(first, second)
    torch.testing.assert_close(by_value(observation, prefix, seeded()), first, rtol=0, atol=0)


def shifted_by(policy: FlowPolicy, prefix: Tensor, offset: Tensor) -> Tensor:
    """The committed actions of somebody who adds `offset`, normalised, to all that he does."""
    half = (policy.action_normalizer.maximum - policy.action_normalizer.minimum) / 2
    return prefix + offset / LIMIT * half


@pytest.mark.parametrize("corrected", [False, True])
def test_an_exploring_episode_shifts_all_its_actions_alike(
    make_policy: MakePolicy, make_observation: MakeObservation, corrected: bool
) -> None:
    """By one offset, beside the policy's correction; it decides as if nothing were added."""
    policy = make_policy(CHUNK)
    observation, prefix = make_observation(CHUNK, batch=40)
    plain = ChunkSelector(policy, None, SelectionConfig(1, 0.1, "likelihood"))
    trying = ChunkSelector(policy, None, SelectionConfig(1, 0.1, "likelihood", 0.02))
    assert plain.exploring(3) is plain
    expected = policy.normalize_actions(plain(observation, prefix, seeded()), observation)
    if corrected:
        policy.correction += torch.tensor([0.05, -0.02])
    offset = trying.exploring(3).offset
    assert offset is not None
    total = policy.correction + offset
    committed = shifted_by(policy, prefix, total)
    acted = trying.exploring(3)(observation, committed, seeded())
    found = policy.normalize_actions(acted, observation)
    free = expected.abs() < LIMIT - 0.2  # what is cut at the border of the data is not seen
    assert free.any(dim=1).any(dim=0).all()
    torch.testing.assert_close(found[free], (expected + total)[free], rtol=0, atol=1e-6)
    drawn = torch.from_numpy(exploration_offset(3, 0.02, 2))
    torch.testing.assert_close(offset, drawn.to(offset), rtol=0, atol=1e-7)
    other = trying.exploring(4).offset
    assert other is not None
    assert not other.equal(offset)


def test_taking_in_a_correction_changes_nothing_that_is_done(
    make_policy: MakePolicy, make_observation: MakeObservation
) -> None:
    policy = make_policy(CHUNK)
    observation, prefix = make_observation(CHUNK, batch=40)
    selector = ChunkSelector(policy, None, SelectionConfig(1, 0.1, "likelihood"))
    policy.correction += torch.tensor([0.05, -0.02])
    before = selector(observation, prefix, seeded())
    own = selector.normalize_own(before, observation)
    policy.take_in_correction()
    assert not policy.correction.any()
    torch.testing.assert_close(policy.normalize_actions(before, observation), own)
    after = selector(observation, prefix, seeded())
    torch.testing.assert_close(after, before)
    low, high = policy.action_minimum, policy.action_maximum
    assert bool(((after >= low) & (after <= high)).all()), "never beyond what the data have done"
    assert bool(((after == low) | (after == high)).any()), "no action at the border: not tested"


def test_value_without_a_critic_is_refused(make_policy: MakePolicy) -> None:
    with pytest.raises(ConfigError, match="needs a critic") as caught:
        ChunkSelector(make_policy(CHUNK), None, SelectionConfig())
    assert "critic_warmup" in str(caught.value)
    assert "likelihood" in str(caught.value)


@pytest.mark.parametrize(
    ("num_candidates", "sampling_std", "rule", "message"),
    [
        (0, 0.7, "value", "num_candidates is 0; it must be at least 1"),
        (1, -0.1, "value", "sampling_std is -0.1; it must be >= 0"),
        (1, math.nan, "value", "sampling_std is nan; it must be >= 0"),
        (1, 0.7, "best", 'rule is "best"; choose "value" or "likelihood"'),
    ],
)
def test_impossible_selections_are_refused(
    num_candidates: int, sampling_std: float, rule: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        SelectionConfig(num_candidates, sampling_std, rule)  # type: ignore[arg-type]


def test_a_saturated_action_still_hears_how_to_come_back() -> None:
    """Outside, a gradient that descends inward passes; one that leads further out does not."""
    actions = torch.tensor([-2.0, -2.0, -0.5, 0.5, 2.0, 2.0], requires_grad=True)
    slope = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    clamped = clamp_to_limit(actions, 0.9)
    assert clamped.tolist() == pytest.approx([-0.9, -0.9, -0.5, 0.5, 0.9, 0.9])
    (clamped * slope).sum().backward()
    assert actions.grad is not None
    assert actions.grad.tolist() == [0.0, -1.0, 1.0, -1.0, 1.0, 0.0]
    moved = actions.detach() - 0.1 * actions.grad
    assert (moved.abs() <= actions.detach().abs() + 0.1 * (actions.abs() < 0.9)).all()
