"""The paper's detector (App. B2): Mask R-CNN with box, mask and keypoint heads, torchvision's.

61.7 M parameters at ResNet-50. The paper starts from pretrained weights; here nothing is ever
downloaded: give a file of torchvision's `keypointrcnn_resnet50_fpn` or `resnet50` if you have one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import resnet
from torchvision.models.detection import KeypointRCNN
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from softflow.errors import ConfigError
from softflow.models.images.pretrained import read_weights
from softflow.perception.cube_model import NUM_CORNERS
from softflow.perception.detectors.detection import (
    HEIGHT,
    WIDTH,
    Batch,
    CornerNetwork,
    Detection,
)

BACKBONES = ("resnet18", "resnet34", "resnet50")
MIN_SCORE = 0.5
TORCHVISION_HEADS = 1024
NUM_CLASSES = 2
"""Background and cube."""
_MEAN, _STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


@dataclass(frozen=True)
class MaskRcnnConfig:
    """Sizes of the paper's detector.

    Attributes:
        backbone: a ResNet of torchvision.
        heads: hidden numbers of the box head; the convolutions of mask and corners have a half and
            a quarter.
        weights: file that a fresh run starts from, by torchvision's names; what does not fit in
            name or shape starts afresh. "" for nothing.

    Raises:
        ConfigError: another backbone, or a width that is none.
    """

    backbone: str = "resnet50"
    heads: int = TORCHVISION_HEADS
    weights: str = ""

    def __post_init__(self) -> None:
        if self.backbone not in BACKBONES:
            raise ConfigError(f"backbone is {self.backbone!r}; choose one of {BACKBONES}")
        if not 16 <= self.heads <= 4096:
            raise ConfigError(f"heads is {self.heads}; give 16 to 4096")


class MaskRcnnNetwork(CornerNetwork):
    """torchvision's Keypoint R-CNN, with Mask R-CNN's mask head beside its corners."""

    def __init__(self, config: MaskRcnnConfig) -> None:
        super().__init__()
        self.rcnn = _keypoint_rcnn(config)
        pool = MultiScaleRoIAlign(["0", "1", "2", "3"], output_size=14, sampling_ratio=2)
        heads: Any = self.rcnn.roi_heads
        channels = config.heads // 4
        heads.mask_roi_pool = pool
        heads.mask_head = MaskRCNNHeads(256, (channels,) * 4, dilation=1)
        heads.mask_predictor = MaskRCNNPredictor(channels, channels, NUM_CLASSES)

    def losses(self, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        """torchvision's: of regions, classes, boxes, masks and corners; hidden corners count.

        Its draws of regions follow PyTorch's global generator, which is seeded from this one.
        """
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        targets = [_target(batch, i) for i in range(len(batch.pictures))]
        return self.rcnn(list(_unit(batch.pictures)), targets)

    @torch.no_grad()
    def detect(self, pictures: Tensor) -> list[Detection | None]:
        """The cube in each picture of uint8 [B, H, W, 3], None where it sees none."""
        return [_best(found) for found in self.rcnn(list(_unit(pictures)))]


def _keypoint_rcnn(config: MaskRcnnConfig) -> KeypointRCNN:
    network = getattr(resnet, config.backbone)(weights=None, norm_layer=nn.BatchNorm2d)
    backbone = _resnet_fpn_extractor(network, trainable_layers=5)
    rcnn = KeypointRCNN(
        backbone,
        min_size=HEIGHT,
        max_size=WIDTH,
        image_mean=_MEAN,
        image_std=_STD,
        box_detections_per_img=1,
        box_score_thresh=MIN_SCORE,
        **_heads(config),
    )
    if config.weights:
        _start_from(rcnn, config.weights)
    return rcnn


def _heads(config: MaskRcnnConfig) -> dict[str, Any]:
    """Torchvision's own heads, or box and corner heads of another width."""
    if config.heads == TORCHVISION_HEADS:
        return {"num_classes": NUM_CLASSES, "num_keypoints": NUM_CORNERS}
    channels = config.heads // 2
    return {
        "box_head": TwoMLPHead(256 * 7**2, config.heads),
        "box_predictor": FastRCNNPredictor(config.heads, NUM_CLASSES),
        "keypoint_head": KeypointRCNNHeads(256, (channels,) * 8),
        "keypoint_predictor": KeypointRCNNPredictor(channels, NUM_CORNERS),
    }


def _start_from(rcnn: KeypointRCNN, path: str) -> None:
    """Copy what fits of a file of weights, be they a whole detector's or a ResNet's.

    Raises:
        ConfigError: there is no such file, or nothing in it fits.
    """
    own, given = rcnn.state_dict(), read_weights(path)
    named = {n if n.startswith("backbone.") else f"backbone.body.{n}": v for n, v in given.items()}
    fits = {
        name: value
        for name, value in {**named, **given}.items()
        if name in own and own[name].shape == value.shape
    }
    if not fits:
        raise ConfigError(
            f"nothing in the weights '{path}' fits this detector; give those of torchvision's "
            "keypointrcnn_resnet50_fpn, or of the ResNet that is its backbone"
        )
    rcnn.load_state_dict(fits, strict=False)


def _unit(pictures: Tensor) -> Tensor:
    """Pictures uint8 [B, H, W, 3] as float32 [B, 3, H, W] in 0 to 1."""
    return pictures.permute(0, 3, 1, 2).float() / 255


def _target(batch: Batch, index: int) -> dict[str, Tensor]:
    """torchvision's form of a picture's labels; torchvision counts from a pixel's edge."""
    device = batch.pictures.device
    if not bool(batch.present[index]):
        return {
            "boxes": torch.zeros(0, 4, device=device),
            "labels": torch.zeros(0, dtype=torch.int64, device=device),
            "masks": torch.zeros(0, HEIGHT, WIDTH, dtype=torch.uint8, device=device),
            "keypoints": torch.zeros(0, NUM_CORNERS, 3, device=device),
        }
    corners = batch.corners[index] + 0.5
    known = torch.ones_like(corners[:, :1])
    return {
        "boxes": torch.cat([corners.amin(0), corners.amax(0)])[None],
        "labels": torch.ones(1, dtype=torch.int64, device=device),
        "masks": batch.masks[index][None].to(torch.uint8),
        "keypoints": torch.cat([corners, known], dim=1)[None],
    }


def _best(found: dict[str, Tensor]) -> Detection | None:
    """torchvision's likeliest cube, if there is one."""
    if len(found["scores"]) == 0:
        return None
    corners = found["keypoints"][0, :, :2].cpu().double().numpy() - 0.5
    # A keypoint's score is the logit of its cell among 56 x 56; likely ones are narrow.
    logits = found["keypoints_scores"][0].cpu().double().numpy()
    sure = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    return Detection(
        float(found["scores"][0]),
        found["boxes"][0].cpu().double().numpy() - 0.5,
        corners[:, None],
        (1.0 + 4.0 * (1 - sure))[:, None],
        sure[:, None],
        sure,
        found["masks"][0, 0].cpu().numpy() > 0.5,
    )
