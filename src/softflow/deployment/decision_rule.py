"""How a trained policy chooses among its chunks: as it is deployed, or as somebody asks."""

from __future__ import annotations

import warnings
from typing import Literal

from softflow.errors import ConfigError
from softflow.models.action_selection import SelectionConfig
from softflow.training.config import TrainingConfig
from softflow.training.files.progress import Progress

Rule = Literal["auto", "value", "likelihood"]
"""How a chunk is chosen: by critic (Alg. 2), by likelihood, or as the policy is deployed."""


def decision_rule(
    rule: Rule,
    config: TrainingConfig,
    progress: Progress,
    where: str,
    *,
    has_critic: bool,
    candidates: int = 0,
) -> SelectionConfig:
    """How a policy decides; one that lacks its critic is told of, and goes by likelihood.

    Args:
        rule: that is asked for.
        config, progress: of the checkpoint; where: its place, for messages.
        has_critic: whether a critic lies beside the policy.
        candidates: chunks sampled a decision; 0 takes the configuration's number for its stage.

    Raises:
        ConfigError: there is no such rule, or "value" without a trained critic.
    """
    if rule not in ("auto", "value", "likelihood"):
        raise ConfigError(f'rule is {rule!r}; choose "auto", "value" or "likelihood"')
    deployed = progress.deployed(config)
    if rule == "value":
        progress.require_critic(f"'{where}'")
    missing = f"'{where}' is deployed with its critic (Alg. 2), which is not in this folder"
    if rule == "value" and not has_critic:
        raise ConfigError(f'{missing}; give the whole checkpoint, or choose rule "likelihood"')
    if rule == "auto" and deployed.rule == "value" and not has_critic:
        warnings.warn(f"{missing}; the policy's likeliest chunk acts instead", stacklevel=3)
        rule = "likelihood"
    chosen = deployed.rule if rule == "auto" else rule
    return SelectionConfig(candidates or deployed.num_candidates, deployed.sampling_std, chosen)
