"""float64 stays float64, half precision is promoted where likelihoods are at stake."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from softflow.data.chunk_spec import ChunkSpec
from softflow.models.action_selection import ChunkSelector, SelectionConfig, select_by_value
from softflow.models.critic import CriticEnsemble
from softflow.models.policies.bijections import (
    at_least_float32,
    bound,
    scale_and_shift,
    unbound,
    undo_scale_and_shift,
)
from softflow.models.policies.flow_policy import FlowPolicy

CHUNK = ChunkSpec(5, 5, prefix_length=1)

MakePolicy = Callable[..., FlowPolicy]
MakeCritic = Callable[..., CriticEnsemble]
MakeObservation = Callable[..., tuple[dict[str, Tensor], Tensor]]
MakeTensor = Callable[..., Tensor]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_bijections_work_in_float32_at_least(given: torch.dtype, expected: torch.dtype) -> None:
    x = torch.full((1, 3), 0.5, dtype=given)
    assert at_least_float32(x).dtype == expected
    for values, log_det in (unbound(x), bound(x)):
        assert values.dtype == log_det.dtype == expected
    for values, log_det in (scale_and_shift(x, x, x), undo_scale_and_shift(x, x, x)):
        assert values.dtype == log_det.dtype == expected


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_everything_keeps_the_precision_of_the_weights(
    make_policy: MakePolicy,
    make_critic: MakeCritic,
    make_observation: MakeObservation,
    make_actions: MakeTensor,
    dtype: torch.dtype,
) -> None:
    policy, critic = make_policy(CHUNK).to(dtype), make_critic(CHUNK).to(dtype)
    observation, prefix = make_observation(CHUNK, batch=2)
    observation = {key: value.to(dtype) for key, value in observation.items()}
    prefix, actions = prefix.to(dtype), make_actions((2, 3, 5, 2)).to(dtype)
    condition = policy.condition(observation, prefix)
    tokens = critic.encoder(observation, prefix)
    step_valid = torch.arange(5) < torch.tensor([[3], [5]])
    selection = select_by_value(policy, condition, critic, tokens, 4, 0.7)
    selector = ChunkSelector(policy, critic, SelectionConfig(4, 0.7))
    results = [
        *policy.flow.to_latents(actions, condition),
        *policy.flow.to_actions(actions, condition),
        *policy.flow.sample(3, 0.7, condition),
        policy.flow.log_prob(actions, condition),
        policy.flow.log_prob(actions, condition, step_valid),
        policy.flow.most_likely(3, 0.7, condition),
        critic(tokens, actions),
        critic.value(tokens, actions),
        critic.output.outputs_of(actions),
        critic.output.clipped_fraction(actions),
        selection.actions,
        selection.value,
        selector(observation, prefix),
    ]
    assert [result.dtype for result in results] == [dtype] * len(results)


def test_float32_agrees_with_float64(
    make_policy: MakePolicy, make_observation: MakeObservation, make_actions: MakeTensor
) -> None:
    policy = make_policy(CHUNK)
    observation, prefix = make_observation(CHUNK, batch=2)
    actions = make_actions((2, 3, 5, 2))
    exact = policy.flow.log_prob(actions, policy.condition(observation, prefix))
    single = make_policy(CHUNK).float()
    observation = {key: value.float() for key, value in observation.items()}
    condition = single.condition(observation, prefix.float())
    log_prob = single.flow.log_prob(actions.float(), condition)
    torch.testing.assert_close(log_prob.double(), exact, rtol=1e-4, atol=1e-3)
    latents, log_det = single.flow.to_latents(actions.float(), condition)
    back, back_log_det = single.flow.to_actions(latents, condition)
    torch.testing.assert_close(back, actions.float(), rtol=0, atol=1e-4)
    torch.testing.assert_close(log_det, -back_log_det, rtol=1e-4, atol=1e-3)


def test_autocast_keeps_likelihoods_in_float32(
    make_policy: MakePolicy, make_observation: MakeObservation, make_actions: MakeTensor
) -> None:
    """bfloat16 inside the couplings' networks, float32 for everything that is summed up."""
    policy = make_policy(CHUNK).float()
    observation, prefix = make_observation(CHUNK, batch=2)
    observation = {key: value.float() for key, value in observation.items()}
    prefix, actions = prefix.float(), make_actions((2, 3, 5, 2)).float()
    exact = policy.flow.log_prob(actions, policy.condition(observation, prefix))
    with torch.autocast("cpu", torch.bfloat16):
        condition = policy.condition(observation, prefix)
        first = policy.flow.couplings[0]
        raw_scale, _ = first.network(actions[:, :, :2], first.rotary[:, :2], condition[0])  # type: ignore[operator, index, union-attr]
        assert raw_scale.dtype == torch.bfloat16, "autocast did not act: nothing is tested"
        latents, log_det = policy.flow.to_latents(actions, condition)
        back, back_log_det = policy.flow.to_actions(latents, condition)
        log_prob = policy.flow.log_prob(actions, condition)
        sampled, told = policy.flow.sample(3, 0.7, condition)
        step_valid = torch.arange(5) < torch.tensor([[3], [5]])
        cut = policy.flow.log_prob(actions, condition, step_valid)
    results = [latents, log_det, back, back_log_det, log_prob, sampled, told, cut]
    assert [result.dtype for result in results] == [torch.float32] * len(results)
    assert not torch.equal(log_prob, exact)
    torch.testing.assert_close(log_prob, exact, rtol=0.05, atol=2.0)
    torch.testing.assert_close(back_log_det, -log_det, rtol=0.05, atol=0.5)


def test_autocast_from_bfloat16_actions(
    make_policy: MakePolicy, make_observation: MakeObservation, make_actions: MakeTensor
) -> None:
    policy = make_policy(CHUNK).float()
    observation, prefix = make_observation(CHUNK, batch=2)
    observation = {key: value.float() for key, value in observation.items()}
    actions = make_actions((2, 3, 5, 2)).bfloat16()
    step_valid = torch.arange(5) < torch.tensor([[3], [5]])
    with torch.autocast("cpu", torch.bfloat16):
        condition = policy.condition(observation, prefix.float())
        log_prob = policy.flow.log_prob(actions, condition, step_valid)
    assert log_prob.dtype == torch.float32
    assert log_prob.isfinite().all()


def test_the_critic_runs_under_autocast(
    make_critic: MakeCritic,
    make_observation: MakeObservation,
    make_actions: MakeTensor,
) -> None:
    critic = make_critic(CHUNK).float()
    observation, prefix = make_observation(CHUNK, batch=2)
    observation = {key: value.float() for key, value in observation.items()}
    actions = make_actions((2, 3, 5, 2)).float()
    exact = critic.value(critic.encoder(observation, prefix.float()), actions)
    with torch.autocast("cpu", torch.bfloat16):
        tokens = critic.encoder(observation, prefix.float())
        values = critic.value(tokens, actions)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values, exact, rtol=0.05, atol=0.1)
