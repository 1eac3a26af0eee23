"""Complete configurations of a detector and its training: `small` for CPUs, `paper` for a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from softflow.errors import CheckpointError, ConfigError, brief
from softflow.perception.detectors.augmentation import Augmentation
from softflow.perception.detectors.detection import CornerNetwork
from softflow.perception.detectors.heatmaps import HeatmapConfig, HeatmapNetwork
from softflow.perception.detectors.mask_rcnn import MaskRcnnConfig, MaskRcnnNetwork

DetectorConfig = HeatmapConfig | MaskRcnnConfig
NETWORKS: dict[str, tuple[type[Any], Callable[[Any], CornerNetwork]]] = {
    "heatmaps": (HeatmapConfig, HeatmapNetwork),
    "mask_rcnn": (MaskRcnnConfig, MaskRcnnNetwork),
}
"""Name in checkpoints -> configuration and network."""
PresetName = Literal["small", "paper"]


@dataclass(frozen=True)
class DetectorTraining:
    """How a detector is trained.

    Attributes:
        network: which one, of what sizes.
        updates: gradient steps.
        batch_size: pictures in each.
        learning_rate: AdamW's at its highest; it rises for the first 2 % of the updates, then
            falls along a cosine to zero.
        weight_decay: AdamW's.
        max_gradient: longer gradients are shortened to this norm.
        averaging: of the weights that detect: how much of their average an update keeps.
        seed: of weights, batches and augmentation.
        checkpoint_every: updates from one checkpoint to the next.
        augmentation: how far pictures are changed.

    Raises:
        ConfigError: a number outside of its bounds.
    """

    network: DetectorConfig
    updates: int
    batch_size: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    max_gradient: float = 10.0
    averaging: float = 0.998
    seed: int = 0
    checkpoint_every: int = 200
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        for name in ("updates", "batch_size", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} is {getattr(self, name)}; give >= 1")
        if not 0 < self.learning_rate <= 1:
            raise ConfigError(f"--learning-rate is {self.learning_rate}; give above 0, at most 1")
        if not 0 <= self.averaging < 1:
            raise ConfigError(f"averaging is {self.averaging}; give 0 to below 1")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"--seed is {self.seed}; give 0 to 2^32 - 1")


def preset(name: PresetName) -> DetectorTraining:
    """A preset by its name.

    `paper` is App. B2 but for the learning rate: 1e-8 as printed cannot be meant, since AdamW moves
    a weight by at most about the learning rate in each update, by .002 in all 200,000.
    """
    if name == "paper":
        return DetectorTraining(
            MaskRcnnConfig(), updates=200_000, learning_rate=1e-4, checkpoint_every=1000
        )
    return DetectorTraining(HeatmapConfig(), updates=12_000, batch_size=8, learning_rate=1.5e-3)


def network_name(config: DetectorConfig) -> str:
    """What a checkpoint calls the network of a configuration."""
    return next(name for name, (kind, _) in NETWORKS.items() if isinstance(config, kind))


def make_network(config: DetectorConfig) -> CornerNetwork:
    """A network with fresh weights. Nothing is downloaded."""
    return NETWORKS[network_name(config)][1](config)


def config_of(name: Any, values: Any, where: str) -> DetectorConfig:
    """The configuration that a checkpoint holds.

    Raises:
        CheckpointError: it names another network, or sizes that this version does not know.
    """
    if name not in NETWORKS:
        known = ", ".join(NETWORKS)
        raise CheckpointError(
            f"{where} holds a detector {name!r:.60}; this softflow has {known}: give a checkpoint "
            "that `softflow cube-pose train` wrote"
        )
    try:
        if not isinstance(values, Mapping):
            raise TypeError(f"its sizes are a {type(values).__name__}")
        return NETWORKS[name][0](**values)
    except (TypeError, ValueError, ConfigError) as error:
        raise CheckpointError(
            f"{where} does not hold a {name} of this version of softflow: {brief(error)}"
        ) from error
