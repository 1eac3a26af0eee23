"""What every network is told of the data and of the decisions when it is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.statistics import DatasetStatistics
from softflow.models.action_representation import ActionRepresentation


@dataclass(frozen=True)
class ModelInputs:
    """Shapes and units of what goes in and comes out.

    Attributes:
        chunk: lengths of a decision.
        statistics: of the data; they decide the units of observations and actions.
        observation_shapes: key -> shape of one observation, cameras included.
        actions: which actions are relative to the observation (App. A3).
    """

    chunk: ChunkSpec
    statistics: DatasetStatistics
    observation_shapes: Mapping[str, tuple[int, ...]]
    actions: ActionRepresentation = field(default_factory=ActionRepresentation)

    @property
    def action_dim(self) -> int:
        """Action components A."""
        return len(self.statistics.action.mean)
