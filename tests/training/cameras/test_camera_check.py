"""A camera that shows nothing is refused before training, one that was covered once is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from filmed_world import CAMERA, filmed_config, filmed_spec, write_filmed

from softflow.data.data_spec import STATE_KEY
from softflow.data.episode_store import EpisodeStore
from softflow.errors import DataError
from softflow.models.encoders.mixed import MixedConfig
from softflow.training.training_data import TrainingData

Change = Callable[[int, np.ndarray], np.ndarray]


def black(_: int, frames: np.ndarray) -> np.ndarray:
    """With the noise of a camera in the dark."""
    return np.random.default_rng(0).integers(0, 6, frames.shape, np.uint8)


def still(_: int, frames: np.ndarray) -> np.ndarray:
    return np.full_like(frames, 77)


def covered_once(number: int, frames: np.ndarray) -> np.ndarray:
    return np.zeros_like(frames) if number == 1 else frames


def changed(folder: Path, change: Change) -> Path:
    """A store of three episodes whose frames are others."""
    source = EpisodeStore.open(write_filmed(folder / "source", [True, True, False]))
    with EpisodeStore.create(folder / "changed", filmed_spec()) as store:
        for number in range(len(source)):
            episode = source.episode(number)
            seen = {CAMERA: change(number, episode.observations[CAMERA])}
            store.append(replace(episode, observations=episode.observations | seen))
    return folder / "changed"


@pytest.mark.parametrize(("change", "says"), [(black, "black"), (still, "the same picture")])
def test_a_camera_that_shows_nothing_is_refused(tmp_path: Path, change: Change, says: str) -> None:
    with pytest.raises(DataError, match=rf"'{CAMERA}' .* shows nothing: .* {says}.*without top"):
        TrainingData(changed(tmp_path, change), filmed_config())


def stuck_in_each(number: int, frames: np.ndarray) -> np.ndarray:
    """One picture an episode, another in each."""
    return np.full_like(frames, 60 + number)


def test_a_camera_that_stands_still_in_every_episode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"all 3 episodes .* the same picture, bit for bit"):
        TrainingData(changed(tmp_path, stuck_in_each), filmed_config())


def test_a_camera_that_is_covered_for_an_episode_is_told_and_used(tmp_path: Path) -> None:
    said: list[str] = []
    TrainingData(changed(tmp_path, covered_once), filmed_config(), said.append)
    (careful,) = [line for line in said if "careful: the camera" in line]
    assert f"'{CAMERA}' is black" in careful
    assert "in 1 of 3 episodes looked at (episode 1)" in careful
    assert "softflow data validate" in careful


def test_cameras_that_see_are_not_spoken_of(tmp_path: Path) -> None:
    said: list[str] = []
    TrainingData(changed(tmp_path, lambda _, frames: frames), filmed_config(), said.append)
    assert not [line for line in said if "camera" in line]


def test_a_camera_that_is_left_out_may_show_nothing(tmp_path: Path) -> None:
    config = filmed_config()
    blind = MixedConfig(16, states=(STATE_KEY,), cameras=())
    config = replace(config, model=replace(config.model, encoder=blind))
    TrainingData(changed(tmp_path, still), config)
