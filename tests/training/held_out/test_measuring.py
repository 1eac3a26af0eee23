"""Likelihood and errors, each against a second computation."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from point_world import tiny_config

from softflow.models.action_selection import ChunkSelector, SelectionConfig
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.training.held_out.measuring import action_errors, log_likelihood, measure_fit
from softflow.training.learner import Learner

CANDIDATES, STD = 5, 0.7


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_errors_are_those_of_the_deployed_chunk_inside_the_episode(
    make_learner: Callable[..., Learner], make_batch: Callable[..., ChunkBatch]
) -> None:
    policy, batch = make_learner().policy.eval(), make_batch(rows=40)
    assert not batch.step_valid.all(), "some chunks should run past their end"
    rule = SelectionConfig(CANDIDATES, STD, "likelihood")
    deployed = ChunkSelector(policy, None, rule)
    chunks = deployed(batch.observation, batch.prefix_actions, generator())
    expected = [
        (chunks[row, step] - batch.actions[row, step]).abs()
        for row in range(40)
        for step in range(4)
        if batch.step_valid[row, step]
    ]
    found = action_errors(policy, batch, CANDIDATES, STD, generator())
    torch.testing.assert_close(found, torch.stack(expected))


def test_the_numbers_of_a_fit(
    make_learner: Callable[..., Learner], make_batch: Callable[..., ChunkBatch]
) -> None:
    policy, batch = make_learner().policy.eval(), make_batch(rows=40)
    fit = measure_fit(
        policy, batch, noise_std=0.05, candidates=CANDIDATES, sampling_std=STD, seed=3
    )
    assert fit.log_prob is None, "padding has no likelihood"
    errors = np.sort(action_errors(policy, batch, CANDIDATES, STD, generator()).numpy(), axis=0)
    middle = (errors[(len(errors) - 1) // 2] + errors[len(errors) // 2]) / 2
    np.testing.assert_allclose(fit.median, middle, rtol=1e-6)
    most = fit.most + 1e-6  # of float32 errors
    assert ((errors <= most).mean(axis=0) >= 0.95 - 1 / len(errors)).all()
    assert ((errors < most - 2e-6).mean(axis=0) <= 0.95 + 1 / len(errors)).all()
    whole = batch_of(batch, batch.step_valid.all(dim=1).numpy())
    again = measure_fit(
        policy, whole, noise_std=0.0, candidates=CANDIDATES, sampling_std=STD, seed=3
    )
    assert again.log_prob is not None
    assert again.nats_per_dim == pytest.approx(again.log_prob / 8)


def batch_of(batch: ChunkBatch, rows: np.ndarray) -> ChunkBatch:
    """Some rows of a batch."""
    parts: dict[str, Any] = {
        name: {key: part[rows] for key, part in value.items()}
        if isinstance(value, dict)
        else value[rows]
        for name, value in vars(batch).items()
    }
    return ChunkBatch(**parts)


def test_likelihood_of_a_known_density(
    make_learner: Callable[..., Learner], make_batch: Callable[..., ChunkBatch]
) -> None:
    """A fresh flow is tanh of a standard normal: its density can be written down."""
    policy = make_learner(tiny_config(), fresh=True).policy.eval()
    batch = make_batch(rows=12)
    statistics = policy.inputs.statistics.action
    low, high = torch.from_numpy(statistics.minimum), torch.from_numpy(statistics.maximum)
    normalised = 0.9 * (2 * (batch.actions.double() - low) / (high - low) - 1)
    latents = torch.atanh(normalised)
    density = -0.5 * latents**2 - 0.5 * math.log(2 * math.pi) - torch.log(1 - normalised**2)
    found = log_likelihood(policy, batch, noise_std=0.0)
    torch.testing.assert_close(found, density.sum(dim=(1, 2)).float(), rtol=1e-3, atol=1e-3)
