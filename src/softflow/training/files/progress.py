"""How far the policy of a checkpoint had come, and so which rule it is deployed with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec

from softflow.errors import ConfigError
from softflow.models.action_selection import SelectionConfig
from softflow.models.checkpoint import CheckpointParts, read_checkpoint
from softflow.training.config import StageName, TrainingConfig
from softflow.training.persistence import (
    OPTIMIZERS,
    POSITION,
    PROGRESS,
    Count,
    document_of,
    position_of,
)

DEPLOYED = ("sampling_std", "execution_candidates", "rl_execution_candidates")
"""Settings by which a policy acts; they stay those that its checkpoint was first written with."""


class Progress(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What pretrained_model/progress.json says.

    Attributes:
        stage, update_step: where the run was.
        critic_is_trained: whether its critic had any update, so that Alg. 2 means something.
    """

    stage: StageName
    update_step: Count
    critic_is_trained: bool

    def deployed(self, config: TrainingConfig) -> SelectionConfig:
        """The deployed rule: by likelihood until a critic exists, then Alg. 2 (IV-D)."""
        rule = "value" if self.critic_is_trained else "likelihood"
        return SelectionConfig(config.candidates_after(self.stage), config.sampling_std, rule)

    def collecting(self, config: TrainingConfig) -> SelectionConfig:
        """The rule by which online episodes are collected: the deployed one, but for what the
        online stage says of it."""
        online, rule = config.online_rl, self.deployed(config)
        std, number = online.collection_std, online.collection_candidates
        return replace(
            rule,
            sampling_std=rule.sampling_std if std is None else std,
            num_candidates=number or rule.num_candidates,
            exploration_std=online.exploration_std,
        )

    def require_critic(self, where: str) -> None:
        """Raise unless rule "value" has a critic to ask.

        Raises:
            ConfigError: its weights are still random.
        """
        if not self.critic_is_trained:
            raise ConfigError(
                f"{where} is of {self.stage}, update {self.update_step}: its critic had no update "
                'yet, and choosing by it (rule "value") would be choosing at random; take rule '
                '"likelihood", or train the stage critic_warmup first'
            )


def read_progress(checkpoint: Path) -> Progress:
    """How far the policy of a checkpoint had come.

    Raises:
        CheckpointError: the checkpoint is damaged or of another version.
    """
    parts = read_checkpoint(checkpoint, (PROGRESS,))
    if PROGRESS in parts.documents:
        return progress_of(parts)
    # Softflow 0.1 did not write it; its optimiser knows whether there was an update.
    parts = read_checkpoint(checkpoint, (POSITION, OPTIMIZERS["critic"]))
    position, moments = position_of(parts), parts.weights(OPTIMIZERS["critic"])
    return Progress(position["stage"], position["update_step"], bool(moments))


def progress_of(parts: CheckpointParts) -> Progress:
    """The same of parts that were read, of a checkpoint that says it.

    Raises:
        CheckpointError: it is damaged, or does not say it.
    """
    return document_of(parts, PROGRESS, Progress)
