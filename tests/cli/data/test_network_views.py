"""`softflow data plot --preset`: the pictures on the page are those that training hands on."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from filmed_world import CAMERA, write_filmed

from softflow.cli.data.network_views import network_views
from softflow.cli.main import main
from softflow.data.episode_store import EpisodeStore
from softflow.models.images.backbone import ImageBackbone
from softflow.models.images.dinov2 import DinoV2Config
from softflow.training.updates.augmentation import AugmentationConfig, augmented


@pytest.fixture(scope="module")
def filmed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_filmed(tmp_path_factory.mktemp("data") / "filmed", [True])


def test_augmented_frames_are_those_of_an_update(filmed: Path) -> None:
    store = EpisodeStore.open(filmed)
    [view] = network_views(store, "small-image", 3, 0.2)
    episode = store.episode(0)
    frame = episode.observations[CAMERA][episode.length // 2]
    assert view.camera == CAMERA
    assert list(view.frames) == ["as recorded", "acting", *(f"training, {i}" for i in range(1, 5))]
    for caption in ("as recorded", "acting"):
        np.testing.assert_array_equal(view.frames[caption], frame)
    torch.manual_seed(0)
    batch = {CAMERA: torch.from_numpy(np.array(frame)).expand(4, 1, *frame.shape)}
    expected = augmented(batch, AugmentationConfig(3, 0.2))[CAMERA][:, 0].numpy()
    shown = np.stack([view.frames[f"training, {i}"] for i in range(1, 5)])
    np.testing.assert_array_equal(shown, expected)
    assert len({picture.tobytes() for picture in shown}) == 4


def test_frames_have_the_size_that_the_backbone_takes(filmed: Path) -> None:
    """And its pixels, but for rounding."""
    [view] = network_views(EpisodeStore.open(filmed), "scissors", 0, 0.0)
    recorded, seen = view.frames["as recorded"], view.frames["acting and training"]
    assert (recorded.shape, seen.shape) == ((32, 32, 3), (224, 224, 3))

    class Eye:
        config = DinoV2Config()
        mean, std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)

    images = ImageBackbone._images(Eye(), torch.from_numpy(np.array(recorded))[None])  # type: ignore[arg-type]
    expected = 255 * images[0].movedim(0, -1).numpy()
    np.testing.assert_allclose(seen, expected, rtol=0, atol=0.51)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--preset", "small"], "small reads no cameras .*choose small-image"),
        (["--preset", "small-imag"], 'no preset "small-imag"'),
        (["--shift", "4"], "need --preset"),
        (["--preset", "small-image", "--shift", "-1"], r"shift is -1; it must lie in \[0"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    filmed: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    out = filmed.with_name("refused.html")
    assert main(["data", "plot", str(filmed), "--out", str(out), *words]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert re.search(says, message), message
    assert not out.exists()


def test_the_page_has_the_section(filmed: Path) -> None:
    out = filmed.with_name("page.html")
    assert main(["data", "plot", str(filmed), "--out", str(out), "--preset", "small-image"]) == 0
    assert "What the networks of small-image see" in out.read_text()
