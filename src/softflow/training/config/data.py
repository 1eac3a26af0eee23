"""How batches are drawn from the data, and prepared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from softflow.sampling.source_weights import SourceWeights
from softflow.training.config.limits import MAX_PREFETCH_WORKERS, require
from softflow.training.held_out.split import require_share
from softflow.training.updates.augmentation import AugmentationConfig


@dataclass(frozen=True)
class DataConfig:
    """How the batches of every stage are drawn and prepared.

    Attributes:
        weights: share of the offline rows that each source gets, such as teleop=2 policy=1; inside
            a source all windows are alike. A name is what the metadata of the episodes says, or a
            folder or file in the path that it says. Every source needs one; weight 0 leaves it out
            of the batches, though not of the statistics. Not given, all windows are alike.
        weights_field: metadata of the episodes that tells their source, such as operator.
        prefetch_workers: threads that prepare batches while the networks are updated; the result
            does not depend on it. 0 prepares each when it is needed, which takes below a
            millisecond for states in memory; 1 may help if the data lies on a slow disk.
        augmentation: how camera frames are changed at random in training.
        cached_views: views of every camera frame of which a frozen backbone's features are computed
            once and kept beside the episodes. 1: the frame as it is. More: augmented ones too, and
            every row of a batch shows one at random. 0: none, frames pass the backbone in every
            update. None: 1 without augmentation, if batches hold more frames than there are;
            else 0.
        cache_folder: where such copies of the data are kept, if not beside the episodes.
        held_out: share of the successful episodes that no stage learns from, to measure the policy
            on: the same ones whatever is added to the data; 0: none. None: every 20th success, from
            the 21st on, so that 20 or fewer are all learned from.
    """

    weights: Mapping[str, float] = field(default_factory=dict)
    weights_field: str = "source"
    prefetch_workers: int = 0
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    cached_views: int | None = None
    cache_folder: str = ""
    held_out: float | None = None

    def __post_init__(self) -> None:
        numbers = {str(name): float(weight) for name, weight in self.weights.items()}
        object.__setattr__(self, "weights", numbers)
        require(bool(self.weights_field), "data.weights_field is empty; name a metadata field")
        require(
            0 <= self.prefetch_workers <= MAX_PREFETCH_WORKERS,
            f"data.prefetch_workers is {self.prefetch_workers}; must lie in "
            f"[0, {MAX_PREFETCH_WORKERS}]",
        )
        require_share(self.held_out)
        self.augmentation.require_views(self.cached_views)
        _ = self.source_weights

    @property
    def source_weights(self) -> SourceWeights | None:
        """The weights as samplers take them; None draws all windows alike."""
        return SourceWeights(self.weights, self.weights_field) if self.weights else None
