"""The method on one page: the losses of SOFT-FLOW in the paper's order, as pure functions.

Each returns (loss, metrics). Nothing here steps an optimiser, draws data or knows of stages.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from softflow.models.action_selection import select_by_value
from softflow.models.critic import CriticEnsemble
from softflow.models.normalizers import at_least_float32
from softflow.models.policy import ChunkPolicy, Condition
from softflow.models.value_distribution import ValueOutput
from softflow.training.returns import td_target

Metrics = dict[str, Tensor]


def imitation_loss(
    cost: Float[Tensor, " B"],
    weight: Float[Tensor, " B"],
    name: str = "nll",
    total: Float[Tensor, ""] | None = None,
) -> tuple[Float[Tensor, ""], Metrics]:
    """Eq. 8: mean cost of imitation over the rows that count.

    Args:
        cost: [B] of `ChunkPolicy.imitation_cost`: the flow's negative log-likelihood in nats.
        weight: [B], 1 for a row that is imitated, 0 for one that is not (IV-D, IV); what a person
            did in place of the policy may count otherwise.
        name: of the metric.
        total: what the sum is divided by; None: the sum of the weights. Processes that share a
            batch divide by their part of its sum.
    """
    total = weight.sum().clamp_min(1) if total is None else total
    loss = (at_least_float32(cost) * weight).sum() / total
    return loss, {name: loss.detach()}


@torch.no_grad()
def bootstrap_value(
    policy: ChunkPolicy,
    next_condition: Condition,
    target_critic: CriticEnsemble,
    next_tokens: Float[Tensor, "B S D"],
    num_candidates: int,
    sampling_std: float,
) -> Float[Tensor, " B"]:
    """V(o') [B] = min_j Q'_j(o', a'), a' by Alg. 2 from the current policy (Eq. 3).

    With one candidate this is the plain a' ~ pi of the warm-up (Alg. 3, stage II).
    """
    return select_by_value(
        policy, next_condition, target_critic, next_tokens, num_candidates, sampling_std
    ).value


def critic_loss(
    outputs: Float[Tensor, "C B outputs"],
    rewards: Float[Tensor, "B E"],
    num_steps: Int[Tensor, " B"],
    bootstrap_mask: Float[Tensor, " B"],
    next_value: Float[Tensor, " B"],
    discount: float,
    output: ValueOutput,
) -> tuple[Float[Tensor, ""], Metrics]:
    """Eq. 7, as a cross-entropy to the HL-Gauss histogram of the target (IV-C).

    Args:
        outputs: [num_critics, B, num_outputs] of the chunk really executed.
        rewards, num_steps, bootstrap_mask, next_value: see `td_target`.
        discount: gamma per control step.
        output: what outputs mean, and how they learn: HL-Gauss in the paper.
    """
    target = td_target(rewards, num_steps, bootstrap_mask, next_value, discount)
    errors = output.loss(outputs, target)
    values = output.value(outputs.detach())
    metrics = {
        "critic_loss": errors.detach().mean(),
        "q_data": values.mean(),
        "q_target": target.mean(),
        "td_error": (values - target).abs().mean(),
        "target_clipped_fraction": output.clipped_fraction(target),
    }
    return errors.mean(dim=1).sum(), metrics


def actor_loss(
    q_value: Float[Tensor, " B"],
    cost: Float[Tensor, " K"],
    imitation_weight: Float[Tensor, " K"],
    bc_coef: float,
    value_coef: float = 1.0,
    name: str = "nll",
    total: Float[Tensor, ""] | None = None,
) -> tuple[Float[Tensor, ""], Metrics]:
    """-Q + lambda * imitation, the flow's NLL (IV-D, III; Alg. 3's sign of Q is a slip).

    Args:
        q_value: [B] minimum over critics of the selected chunk, differentiable.
        cost: [K] of imitating the data's chunk, see `imitation_loss`; rows that are not imitated
            may be left out.
        imitation_weight: [K] 1 on rows of successful demonstrations (Eq. 8), 0 on failed and on
            online rows (IV-D, IV), or see `imitation_loss`.
        bc_coef: lambda.
        value_coef: weight of Q, 1 in the paper.
        name: of the metric of imitation.
        total: see `imitation_loss`.
    """
    imitation, metrics = imitation_loss(cost, imitation_weight, name, total)
    loss = -value_coef * q_value.mean() + bc_coef * imitation
    return loss, metrics | {"q_actor": q_value.detach().mean(), "actor_loss": loss.detach()}


def editor_loss(
    q_value: Float[Tensor, " B"],
    log_prob: Float[Tensor, " B"],
    log_weight: Float[Tensor, ""],
    entropy_aim: float,
) -> tuple[Float[Tensor, ""], Metrics]:
    """-Q of edited chunks, less the weighed entropy of the edits (EXPO, arXiv 2507.07986).

    The weight is learned in the same loss, as in SAC: it grows while the entropy is below its aim.

    Args:
        q_value: [B] of the edited chunks, differentiable.
        log_prob: [B] of the edits, in nats.
        log_weight: logarithm of the entropy's weight.
        entropy_aim: in nats.
    """
    weight = log_weight.exp()
    edits = (weight.detach() * log_prob - q_value).mean()
    balance = -weight * (log_prob.detach() + entropy_aim).mean()
    metrics = {
        "q_edited": q_value.detach().mean(),
        "edit_entropy": -log_prob.detach().mean(),
        "edit_weight": weight.detach(),
    }
    return edits + balance, metrics
