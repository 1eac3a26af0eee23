"""How well a policy fits recorded decisions: their likelihood, and how far its own chunks are off.

Shared by the curve of imitation, the diagnostics of a stage and `benchmarks/real_images.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from softflow.models.normalizers import perturb
from softflow.models.policy import ChunkPolicy
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.training.updates.normalised_rows import normalised

MOST = 0.95
"""Quantile that stands for the large errors."""


@dataclass(frozen=True)
class Fit:
    """A policy on recorded decisions.

    Attributes:
        log_prob: mean log-likelihood of a whole chunk, nats; None where a policy has none, or where
            every chunk runs past its episode's end.
        nats_per_dim: the same for one number of the chunk.
        median, most: [A] median and 95 % quantile of |a - â|, in the data's units.
    """

    log_prob: float | None
    nats_per_dim: float | None
    median: np.ndarray
    most: np.ndarray


@torch.no_grad()
def log_likelihood(
    policy: ChunkPolicy,
    batch: ChunkBatch,
    noise_std: float,
    generator: torch.Generator | None = None,
) -> Float[Tensor, " B"]:
    """Nats [B] of recorded chunks under the density that the policy was fitted to: with its noise.

    Args:
        policy: in evaluation mode, on the device of the batch.
        batch: whole chunks; padding has no likelihood.
        noise_std: of the noise on training actions, normalised; 0: of the actions as they are.
        generator: of that noise; None: torch's own.
    """
    actions, prefix = normalised(policy, batch)
    condition = policy.condition(batch.observation, prefix)
    return policy.log_prob(condition, perturb(actions, noise_std, generator))


@torch.no_grad()
def action_errors(
    policy: ChunkPolicy,
    batch: ChunkBatch,
    candidates: int,
    sampling_std: float,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "K A"]:
    """|a - â| [K, A] of every recorded step, in the data's units.

    â is of the chunk that the policy chooses before there is a critic: the likeliest of so many
    candidates (IV-D, I). Steps past an episode's end are left out.
    """
    chosen = chosen_chunks(policy, batch, candidates, sampling_std, generator)
    return (chosen - batch.actions).abs()[batch.step_valid]


@torch.no_grad()
def chosen_chunks(
    policy: ChunkPolicy,
    batch: ChunkBatch,
    candidates: int,
    sampling_std: float,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "B H A"]:
    """The chunks [B, H, A] that a policy chooses by itself, in the data's units."""
    _, prefix = normalised(policy, batch)
    condition = policy.condition(batch.observation, prefix)
    rows = batch.batch_size
    chosen = policy.choose(candidates, sampling_std, condition, rows, generator)
    return policy.denormalize_actions(chosen, batch.observation)


def measure_fit(
    policy: ChunkPolicy,
    batch: ChunkBatch,
    *,
    noise_std: float,
    candidates: int,
    sampling_std: float,
    seed: int,
) -> Fit:
    """Likelihood and errors on some decisions; the same noise and latents at every call.

    Args:
        policy: in evaluation mode, on the device of the batch.
        batch: decisions, whole chunks if there are any.
        noise_std, candidates, sampling_std: as in `log_likelihood` and `action_errors`.
        seed: of noise and latents.
    """
    generator = torch.Generator().manual_seed(seed)  # on the CPU, whatever the device
    log_prob = None
    if policy.has_likelihood and bool(batch.step_valid.all()):
        log_prob = log_likelihood(policy, batch, noise_std, generator).mean().item()
    errors = action_errors(policy, batch, candidates, sampling_std, generator).cpu().numpy()
    return Fit(
        log_prob,
        None if log_prob is None else log_prob / batch.actions[0].numel(),
        np.median(errors, axis=0),
        np.quantile(errors, MOST, axis=0),
    )
