"""The paper's detector is what the paper says, and a narrow one of it learns and detects."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from softflow.errors import ConfigError
from softflow.models.tensor_file import write_tensors
from softflow.perception.detectors.detection import batch_of, find_cube
from softflow.perception.detectors.mask_rcnn import MaskRcnnConfig, MaskRcnnNetwork
from softflow.perception.detectors.presets import preset
from softflow.perception.renders import Renders

NARROW = MaskRcnnConfig(backbone="resnet18", heads=64)


def test_the_paper_has_around_60_million_parameters() -> None:
    with torch.device("meta"):
        network = MaskRcnnNetwork(MaskRcnnConfig())
    assert 55e6 < sum(p.numel() for p in network.parameters()) < 65e6
    training = preset("paper")
    assert (training.updates, training.batch_size) == (200_000, 16)


def test_it_trains_with_all_its_heads_and_says_nothing_of_nothing(renders_folder: Path) -> None:
    torch.manual_seed(0)
    renders = Renders(renders_folder)
    network = MaskRcnnNetwork(NARROW)
    batch = batch_of([renders[0], renders[1]], torch.device("cpu"))
    losses = network.losses(batch, torch.Generator())
    names = {"loss_classifier", "loss_box_reg", "loss_mask", "loss_keypoint"}
    assert names < set(losses)
    torch.stack(list(losses.values())).sum().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert without == []
    # Whatever an untrained one finds, it is a whole detection.
    with torch.no_grad():
        setattr(network.rcnn.roi_heads, "score_thresh", 0.0)  # noqa: B010 (no declared attribute)
        found = find_cube(network.eval(), renders[0].picture)
    assert found is not None
    assert found.corners.shape == (8, 2)
    assert found.mask.shape == (240, 320)
    assert ((found.visible >= 0) & (found.visible <= 1)).all()


def test_weights_of_torchvision_are_a_start(tmp_path: Path) -> None:
    from torchvision.models import resnet18

    donor = resnet18(weights=None)
    write_tensors(tmp_path / "resnet.safetensors", donor.state_dict())
    config = MaskRcnnConfig("resnet18", 64, str(tmp_path / "resnet.safetensors"))
    weights = MaskRcnnNetwork(config).state_dict()
    torch.testing.assert_close(weights["rcnn.backbone.body.conv1.weight"], donor.conv1.weight)
    write_tensors(tmp_path / "other.safetensors", {"nothing": torch.zeros(1)})
    with pytest.raises(ConfigError, match="nothing in the weights"):
        MaskRcnnNetwork(MaskRcnnConfig("resnet18", 64, str(tmp_path / "other.safetensors")))


def test_unknown_backbones_are_refused() -> None:
    with pytest.raises(ConfigError, match="backbone is 'vgg'"):
        MaskRcnnConfig(backbone="vgg")
