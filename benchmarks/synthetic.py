"""Data of the right shapes: a cost does not depend on what the numbers are."""

from __future__ import annotations

import numpy as np
import torch

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.data.statistics import ArrayStatistics, DatasetStatistics
from softflow.models.inputs import ModelInputs
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.training.config import ModelConfig

STATE_DIM = 28
ACTION_DIM = 5
"""Both as in cube-single."""


def statistics(state_dim: int, action_dim: int) -> DatasetStatistics:
    """Statistics under which normalisation changes nothing but the actions' margin."""

    def unit(size: int) -> ArrayStatistics:
        return ArrayStatistics(np.zeros(size), np.ones(size), -np.ones(size), np.ones(size))

    return DatasetStatistics({STATE_KEY: unit(state_dim)}, unit(action_dim), 1, 1)


def model_inputs(
    model: ModelConfig, state_dim: int = STATE_DIM, action_dim: int = ACTION_DIM
) -> ModelInputs:
    """What networks are told of such data."""
    data = statistics(state_dim, action_dim)
    return ModelInputs(model.chunk, data, {STATE_KEY: (state_dim,)})


def chunk_batch(batch_size: int, chunk: ChunkSpec) -> ChunkBatch:
    """Random windows, none of them cut by an episode's end."""
    observation = {STATE_KEY: torch.randn(batch_size, chunk.history_length, STATE_DIM)}
    prefix = torch.zeros(batch_size, chunk.prefix_length, ACTION_DIM)
    return ChunkBatch(
        observation=observation,
        prefix_actions=prefix,
        actions=torch.rand(batch_size, chunk.chunk_length, ACTION_DIM) * 2 - 1,
        step_valid=torch.ones(batch_size, chunk.chunk_length, dtype=torch.bool),
        rewards=torch.zeros(batch_size, chunk.execution_horizon),
        num_steps=torch.full((batch_size,), chunk.execution_horizon),
        next_observation=observation,
        next_prefix_actions=prefix,
        bootstrap_mask=torch.ones(batch_size),
        is_offline=torch.ones(batch_size, dtype=torch.bool),
        episode_success=torch.ones(batch_size, dtype=torch.bool),
        has_action=torch.ones(batch_size, dtype=torch.bool),
        person_steps=torch.zeros(batch_size, dtype=torch.int64),
        window=torch.arange(batch_size),
    )


def state_spec(state_dim: int = STATE_DIM, action_dim: int = ACTION_DIM) -> DataSpec:
    """What `episode` makes."""
    low, high = (-1.0,) * action_dim, (1.0,) * action_dim
    return DataSpec({STATE_KEY: (state_dim,)}, action_dim, low, high, 20.0)


def episode(spec: DataSpec, length: int, seed: int) -> Episode:
    """A random episode of `length` control steps, without images."""
    rng = np.random.default_rng(seed)
    shape = (length + 1, *spec.observation_shapes[STATE_KEY])
    return Episode(
        observations={STATE_KEY: rng.normal(size=shape).astype(np.float32)},
        actions=rng.uniform(-1, 1, (length, spec.action_dim)).astype(np.float32),
        rewards=np.zeros(length, np.float32),
        terminated=False,
        truncated=True,
        success=False,
    )


def leave_identity(module: torch.nn.Module) -> None:
    """Replace parameters that start at zero by small random numbers.

    A fresh flow is the identity, where results could agree although the networks do not.
    """
    with torch.no_grad():
        for parameter in module.parameters():
            if not parameter.any():
                parameter.normal_(std=0.02)
