"""Updates of a learner by name, and what they did; shared by the tests of the learner."""

from __future__ import annotations

from collections.abc import Callable

import torch
from point_world import tiny_config
from torch import Tensor, nn

from softflow.models.policies.flow_policy import ActionFlow, FlowPolicy
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.training.learner import Learner

LearnerMaker = Callable[..., Learner]
BatchMaker = Callable[..., ChunkBatch]
Update = Callable[[Learner, ChunkBatch], dict[str, Tensor]]
CONFIG = tiny_config()
STATE = "observation.state"


def flow_of(learner: Learner) -> ActionFlow:
    """The density inside the learner's policy."""
    assert isinstance(learner.policy, FlowPolicy)
    return learner.policy.flow


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
