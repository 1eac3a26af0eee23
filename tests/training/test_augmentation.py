"""Frames are moved and coloured alike within a row, differently between rows, and seldom at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchvision.transforms.functional import (
    adjust_brightness,
    adjust_contrast,
    adjust_saturation,
)

from softflow.errors import ConfigError
from softflow.training.updates.augmentation import (
    AugmentationConfig,
    augmented,
    jittered,
    shifted,
)

CAMERA, STATE = "observation.images.top", "observation.state"


def frames_of(*shape: int, low: int = 0, high: int = 256) -> Tensor:
    return torch.randint(low, high, shape, dtype=torch.uint8)


@given(most=st.integers(1, 5), seed=st.integers(0, 10_000))
def test_a_shift_is_a_crop_of_the_padded_frame(most: int, seed: int) -> None:
    """Each row is one of the (2 most + 1)^2 crops, all frames of its stack the same one."""
    torch.manual_seed(seed)
    frames = frames_of(3, 2, 9, 7, 3)
    moved = shifted(frames, most)
    assert moved.shape == frames.shape
    assert moved.dtype == torch.uint8
    width = ((0, 0), (most, most), (most, most), (0, 0))
    for row, found in zip(frames.numpy(), moved.numpy(), strict=True):
        padded = np.pad(row, width, mode="edge")
        crops = [
            padded[:, y : y + 9, x : x + 7]
            for y in range(2 * most + 1)
            for x in range(2 * most + 1)
        ]
        assert any(np.array_equal(found, crop) for crop in crops)


def test_rows_move_differently() -> None:
    torch.manual_seed(0)
    frames = frames_of(1, 1, 16, 16, 3).expand(64, -1, -1, -1, -1)
    assert len({row.numpy().tobytes() for row in shifted(frames, 2)}) > 15


def test_jitter_is_torchvisions_adjustments() -> None:
    """With the numbers that were drawn, up to rounding; contrast is about the grey of the stack."""
    torch.manual_seed(3)
    frames = frames_of(4, 1, 8, 8, 3, low=60, high=150)
    found = jittered(frames, 0.2)
    torch.manual_seed(3)
    frames_of(4, 1, 8, 8, 3, low=60, high=150)
    factors = 1 + 0.2 * (2 * torch.rand(3, 4) - 1)
    for row in range(4):
        image = frames[row, 0].permute(2, 0, 1) / 255
        adjust = (adjust_brightness, adjust_contrast, adjust_saturation)
        for change, factor in zip(adjust, factors[:, row].tolist(), strict=True):
            image = change(image, factor)
        expected = (image * 255).permute(1, 2, 0)
        assert (found[row, 0] - expected).abs().max() < 1.5


def test_a_stack_is_coloured_alike_and_rows_are_not() -> None:
    torch.manual_seed(0)
    frames = frames_of(1, 1, 6, 6, 3).expand(5, 3, -1, -1, -1)
    found = jittered(frames, 0.4)
    assert (found == found[:, :1]).all()
    assert len({row.numpy().tobytes() for row in found}) == 5


def test_only_frames_are_touched_and_the_generator_decides() -> None:
    config = AugmentationConfig(shift=2, colour_jitter=0.3)
    features, state = torch.randn(2, 1, 4, 8), torch.randn(2, 1, 3)
    seen = {CAMERA: frames_of(2, 1, 12, 12, 3), "cached": features, STATE: state}

    def once(seed: int) -> dict[str, Any]:
        torch.manual_seed(seed)
        return augmented(seen, config)

    first, again, other = once(0), once(0), once(1)
    assert first["cached"] is features
    assert first[STATE] is state
    assert torch.equal(first[CAMERA], again[CAMERA])
    assert not torch.equal(first[CAMERA], other[CAMERA])
    assert augmented(seen, AugmentationConfig()) is seen


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shift": -1}, r"augmentation.shift is -1; it must lie in \[0, 256\]"),
        ({"colour_jitter": 1.0}, r"augmentation.colour_jitter is 1.0; it must lie in \[0, 1\)"),
        ({"colour_jitter": float("nan")}, "augmentation.colour_jitter is nan"),
    ],
)
def test_configurations_are_checked(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AugmentationConfig(**changes)
