"""Which rows of a batch the imitation term sees, how much each counts, and how far its chunk goes.

The paper's are the successful demonstrations (Eq. 8, IV-D); where values choose among what a policy
may do, it may imitate everything. What a person did in its place is worth imitating too, also where
the episode failed in the end, as in HIL-SERL.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from softflow.errors import DataError
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.training.config import ImitationConfig, RLConfig, StageName, TrainingConfig


class ImitatedRows(NamedTuple):
    """What of a batch is imitated; all on the CPU.

    Attributes:
        rows: [K] int64, their numbers in the batch.
        weight: [K], how much each counts.
        steps: [K, H] bool, which of its chunk's actions are imitated, beside those inside the
            episode.
    """

    rows: Int[Tensor, " K"]
    weight: Float[Tensor, " K"]
    steps: Bool[Tensor, "K H"]


def require_take_overs(
    config: TrainingConfig, stages: Iterable[StageName], offline: bool, online: bool
) -> None:
    """Raise unless every stage that weighs what people did can meet some of it.

    Args:
        config: of the run; stages: that it will go through.
        offline: whether the offline data have any; online: whether the online episodes may.

    Raises:
        DataError: a stage cannot.
    """
    for stage in ("imitation", "offline_rl", "online_rl"):
        asks = getattr(config, stage).take_over_weight is not None
        if stage in stages and asks and not (offline or (online and stage == "online_rl")):
            raise DataError(
                f"{stage}.take_over_weight is {getattr(config, stage).take_over_weight}, and no "
                "episode of this data says what a person took over; leave it out, or train on "
                "episodes that `softflow robot --take-over` recorded"
            )


def imitated_rows(batch: ChunkBatch, stage: RLConfig) -> ImitatedRows:
    """What the imitation term of a stage asks for.

    With `take_over_weight` a chunk that begins with a person's actions counts as much as it says,
    whatever became of the episode, and ends where the person gave the robot back.
    """
    imitated = turned_out_well(batch, stage)
    if stage.imitates == "demonstrations":
        imitated = imitated & batch.is_offline
    weight, steps = weighed(batch, imitated, stage.take_over_weight)
    rows = (weight > 0).nonzero().squeeze(1)
    return ImitatedRows(rows, weight[rows], steps[rows])


def turned_out_well(batch: ChunkBatch, stage: ImitationConfig | RLConfig) -> Bool[Tensor, " B"]:
    """Rows [B] with an action whose episode is imitated: it succeeded, or everything is."""
    if stage.imitates == "everything":
        return batch.has_action
    return batch.has_action & batch.episode_success


def weighed(
    batch: ChunkBatch, imitated: Bool[Tensor, " B"], take_over_weight: float | None
) -> tuple[Float[Tensor, " B"], Bool[Tensor, "B H"]]:
    """How much each row of a batch counts in imitation, and which of its chunk's actions.

    Args:
        batch: rows; imitated: [B], those that are, were it not for people who took over.
        take_over_weight: of chunks that a person began; None: nothing of their own.
    """
    weight = imitated.to(torch.get_default_dtype())
    number = torch.arange(batch.actions.shape[1])
    steps = torch.ones(len(weight), len(number), dtype=torch.bool)
    if take_over_weight is not None:
        by_person = batch.person_steps > 0
        weight[by_person] = take_over_weight
        steps[by_person] = number < batch.person_steps[by_person, None]
    return weight, steps
