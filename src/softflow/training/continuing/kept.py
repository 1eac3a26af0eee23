"""What networks keep of the data they began with: their normalisation, and the critic's span."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from softflow.data.statistics import DatasetStatistics
from softflow.models.checkpoint import PRETRAINED, CheckpointParts, last_checkpoint, read_checkpoint
from softflow.models.value_distribution import ValueSupport
from softflow.training.files.progress import read_progress
from softflow.training.persistence import SUPPORT, policy_facts, support_of


@dataclass(frozen=True)
class Kept:
    """What stays as it was when episodes are added, labelled otherwise, or others altogether.

    Attributes:
        statistics: that observations and actions are normalised by.
        support: the values that the critic's histograms span; None where no critic has learned yet,
            and the data of now decide.
    """

    statistics: DatasetStatistics
    support: ValueSupport | None


def kept_by(run: Path) -> Kept | None:
    """What the networks of a run's last checkpoint keep; None before the first.

    Raises:
        CheckpointError: it is damaged or of another version.
    """
    checkpoint = last_checkpoint(run / "checkpoints")
    if checkpoint is None:
        return None
    documents = tuple(f"{PRETRAINED}/{name}" for name in ("config", "statistics", "data_spec"))
    parts = read_checkpoint(checkpoint, (*documents, SUPPORT))
    return kept_of(parts, critic=read_progress(checkpoint).critic_is_trained)


def kept_of(parts: CheckpointParts, *, critic: bool) -> Kept:
    """The same of parts that were read; `critic`: whether one that has learned comes along.

    Raises:
        CheckpointError: they are damaged or of another version.
    """
    config, _, statistics = policy_facts(parts)
    return Kept(statistics, support_of(parts, config.model) if critic else None)
