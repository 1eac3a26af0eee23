"""Files of weights are checked name by name, and never run."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from softflow.errors import ConfigError
from softflow.models.images.pretrained import read_weights
from softflow.models.images.resnet18 import ResNet18, ResNet18Config
from softflow.models.images.timm_backbone import TimmBackbone, TimmConfig

FRAME = (64, 64, 3)


def loaded(path: Path, **changes: Any) -> TimmBackbone:
    config = TimmConfig(name="test_resnet", weights=str(path), **changes)
    backbone = TimmBackbone(FRAME, config)
    backbone.load_pretrained()
    return backbone


@pytest.fixture
def weights(tmp_path: Path) -> dict[str, torch.Tensor]:
    import timm

    return timm.create_model("test_resnet", pretrained=False).state_dict()


def test_a_whole_file_fits_and_random_weights_are_replaced(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file(weights, tmp_path / "w.safetensors")
    assert any(name.startswith("fc.") for name in weights), "its classifier is left out"
    for name, value in loaded(tmp_path / "w.safetensors").network.state_dict().items():
        torch.testing.assert_close(value, weights[name], rtol=0, atol=0)


def test_misfits_are_named(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    first, *_ = weights
    odd = dict(weights, **{first: torch.zeros(3, 5)})
    odd["stray"] = odd.pop("bn1.bias")
    save_file(odd, path)
    with pytest.raises(ConfigError, match="of another architecture") as caught:
        loaded(path)
    said = str(caught.value)
    assert "bn1.bias is missing" in said
    assert "stray is unknown" in said
    assert f"{first} has shape (3, 5), expected {tuple(weights[first].shape)}" in said
    batch = ResNet18(FRAME, ResNet18Config())
    save_file(batch.network.state_dict(), path)
    with pytest.raises(ConfigError, match="running_mean is unknown"):
        ResNet18(FRAME, ResNet18Config(norm="group", weights=str(path))).load_pretrained()


class Evil:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return (pytest.fail, ("code of a file was run",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file of weights"),
        (b"", "cannot read the weights"),
        (b"not weights at all", "cannot read the weights"),
        (pickle.dumps(Evil()), "cannot read the weights"),
        ([1, 2], "holds a list, not tensors by their names"),
        ({"a": 1}, "holds 'a', which is no tensor"),
        ({}, "holds a dict, not tensors"),
    ],
)
def test_what_holds_no_weights_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ConfigError, match=message):
        read_weights(str(path))


def test_a_file_that_ends_early_is_refused(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    for name, save in (("a.pth", torch.save), ("a.safetensors", save_file)):
        path = tmp_path / name
        save(weights, path)
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(ConfigError, match="cannot read the weights"):
            read_weights(str(path))


def test_positions_of_another_image_size_are_resampled(tmp_path: Path) -> None:
    import timm

    theirs = timm.create_model("test_vit", pretrained=False, img_size=160)
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    config = TimmConfig(name="test_vit", weights=str(tmp_path / "w.safetensors"))
    backbone = TimmBackbone(FRAME, config)
    backbone.load_pretrained()
    ours, given = backbone.network.state_dict(), theirs.state_dict()
    name = "blocks.0.attn.qkv.weight"
    torch.testing.assert_close(ours[name], given[name], rtol=0, atol=0)
    assert ours["pos_embed"].shape != given["pos_embed"].shape
