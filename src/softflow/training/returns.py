"""Returns of chunked decisions (DESIGN: the decision process with chunks and prefix).

A decision at control step t collects r[t], r[t+1], ... for `num_steps` control steps (fewer than
the execution horizon when the episode ends), then bootstraps from the next decision. Every count
is in control steps: `discount` is per control step, gamma^H is never configured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

HEADROOM = 10.0
"""How many times better than the data a policy may become where rewards repeat."""


def decision_return(rewards: Float[Tensor, "B E"], discount: float) -> Float[Tensor, " B"]:
    """Discounted reward inside one decision: sum_i discount^i r[i] (first term of Eq. 7).

    Args:
        rewards: [B, E], zero after the episode's end.
        discount: per control step.

    Returns:
        [B].
    """
    powers = torch.arange(rewards.shape[1], device=rewards.device, dtype=rewards.dtype)
    return (rewards * discount**powers).sum(dim=1)


def td_target(
    rewards: Float[Tensor, "B E"],
    num_steps: Int[Tensor, " B"],
    bootstrap_mask: Float[Tensor, " B"],
    next_value: Float[Tensor, " B"],
    discount: float,
) -> Float[Tensor, " B"]:
    """Target of the critic (Eq. 7): decision return + discount^num_steps * mask * next value.

    Args:
        rewards: [B, E]; num_steps: [B] control steps until the next decision.
        bootstrap_mask: [B], 0 only where the episode terminated; truncation bootstraps.
        next_value: [B] value of the next decision.
        discount: per control step.

    Returns:
        [B].
    """
    bootstrap = discount ** num_steps.to(rewards.dtype) * bootstrap_mask * next_value
    return decision_return(rewards, discount) + bootstrap


def value_range(rewards: Sequence[np.ndarray], discount: float) -> tuple[float, float]:
    """What a policy may be worth where these rewards were earned: lowest and highest value.

    With one reward an episode no policy is worth more than the best return of the data. Where
    rewards repeat, a faster policy is: a reward in every step bounds it, and `HEADROOM` times the
    data's returns, so that the histogram keeps its resolution.

    Args:
        rewards: [T] of every episode, each with its T.
        discount: per control step.
    """
    returns = [monte_carlo_returns(episode, discount) for episode in rewards]
    lowest = min(min(float(r.min()) for r in returns), 0.0)
    highest = max(float(r.max()) for r in returns)
    if all(np.count_nonzero(episode) <= 1 for episode in rewards):
        return lowest, highest
    steps = 1 / (1 - discount) if discount < 1 else math.inf
    least = min(min(float(r.min()) for r in rewards), 0.0)
    most = max(max(float(r.max()) for r in rewards), 0.0)
    low = max(HEADROOM * lowest, steps * least)
    return low, max(highest, 0.0, min(HEADROOM * highest, steps * most))


def monte_carlo_returns(
    rewards: Float[np.ndarray, " T"], discount: float
) -> Float[np.ndarray, " T"]:
    """Discounted reward-to-go [T] of one episode's rewards [T], nothing after its end."""
    returns = np.zeros(len(rewards), dtype=np.float64)
    following = 0.0
    for step in range(len(rewards) - 1, -1, -1):
        following = float(rewards[step]) + discount * following
        returns[step] = following
    return returns
