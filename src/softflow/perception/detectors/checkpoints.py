"""A detector on the disk: its weights, its sizes and the cube that it knows.

The files are those of every checkpoint (`softflow.models.checkpoint`); `pretrained_model/` is
enough to detect, `training_state/` to go on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from softflow.errors import CheckpointError, brief
from softflow.models.checkpoint import (
    CheckpointParts,
    last_checkpoint,
    load_weights,
    read_checkpoint,
)
from softflow.perception.cube_model import CubeModel
from softflow.perception.detectors.detection import CornerNetwork
from softflow.perception.detectors.presets import (
    DetectorConfig,
    config_of,
    make_network,
    network_name,
)

WEIGHTS, ABOUT = "pretrained_model/model", "pretrained_model/detector"
RAW, OPTIMIZER, POSITION = (f"training_state/{n}" for n in ("model", "optimizer", "position"))
CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Detector:
    """A trained detector.

    Attributes:
        network: in evaluation mode.
        cube: the cube that it was trained on.
        updates: gradient steps behind it.
    """

    network: CornerNetwork
    cube: CubeModel
    updates: int


def about(config: DetectorConfig, cube: CubeModel, updates: int) -> dict[str, Any]:
    """What a checkpoint says of its detector."""
    sizes = {name: value for name, value in asdict(config).items() if name != "weights"}
    return {
        "network": network_name(config),
        "sizes": sizes,
        "cube": cube.to_json(),
        "updates": updates,
    }


def load_detector(path: Path, device: torch.device) -> Detector:
    """The detector of a run folder or one of its checkpoints.

    Raises:
        CheckpointError: there is none, it is damaged, or its weights are of another architecture.
    """
    folder = path / CHECKPOINTS if (path / CHECKPOINTS).is_dir() else None
    newest = last_checkpoint(folder) if folder else path
    if newest is None:
        raise CheckpointError(f"'{path}' has no checkpoint yet; train it first")
    parts = read_checkpoint(newest, only=("pretrained_model/",))
    where = str(newest)
    if ABOUT not in parts.documents:
        raise CheckpointError(
            f"{where} holds no detector of a cube (it has no {ABOUT}.json); give a run of "
            "`softflow cube-pose train`"
        )
    said = parts.document(ABOUT)
    try:
        config = config_of(said["network"], said["sizes"], where)
        cube, updates = CubeModel(**said["cube"]), int(said["updates"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: {ABOUT}.json is damaged: {brief(error)}") from error
    network = make_network(config)
    load_weights(network, parts.weights(WEIGHTS), where)
    return Detector(network.to(device).eval(), cube, updates)


def detector_parts(
    config: DetectorConfig, cube: CubeModel, updates: int, network: CornerNetwork
) -> CheckpointParts:
    """The part of a checkpoint that is enough to detect."""
    tensors = {WEIGHTS: dict(network.state_dict())}
    return CheckpointParts(tensors, {ABOUT: about(config, cube, updates)})
