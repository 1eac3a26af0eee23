"""The point world seen through a camera: position and goal are points of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from gymnasium import spaces
from point_world import PointWorld, demonstration, tiny_config

from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.envs.contract import data_spec
from softflow.models.encoder import EncoderConfig
from softflow.models.encoders.mixed import MixedConfig
from softflow.models.images.backbone import ImageConfig
from softflow.models.images.timm_backbone import TimmConfig
from softflow.training.config import TrainingConfig
from softflow.utils.imports import trust

ENV_ID = "filmed_world:FilmedWorld"
trust(ENV_ID)  # as its own user would
CAMERA = "observation.images.top"
SIDE = 32
DRAWN = TimmConfig(name="test_resnet", finetune="full")
"""A backbone that draws on pixels in milliseconds, with BatchNorm, and is trained."""


class FilmedWorld(PointWorld):
    """The state is there as well; `SIDE` x `SIDE` pixels show position (red) and goal (green)."""

    observation_space = spaces.Dict(
        {
            STATE_KEY: spaces.Box(-9.0, 9.0, (4,), np.float32),
            CAMERA: spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8),
        }
    )

    def _observation(self) -> dict[str, np.ndarray]:
        return super()._observation() | {CAMERA: picture(self._position, self._goal)}


def picture(position: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """A square of 3 x 3 pixels for each, 0.125 m a pixel."""
    frame = np.zeros((SIDE, SIDE, 3), np.uint8)
    for channel, point in enumerate((position, goal)):
        row, column = np.clip((point + 2) * 8, 1, SIDE - 2).astype(int)
        frame[row - 1 : row + 2, column - 1 : column + 2, channel] = 255
    return frame


def filmed_spec() -> DataSpec:
    """What a store of the filmed world holds."""
    return data_spec(FilmedWorld(), ENV_ID)


def write_filmed(path: Path, outcomes: Sequence[bool]) -> Path:
    """A store with one demonstration per entry, successful where the entry is true."""
    with EpisodeStore.create(path, filmed_spec()) as store:
        for seed, towards_goal in enumerate(outcomes):
            episode = demonstration(seed, towards_goal)
            states = episode.observations[STATE_KEY]
            frames = np.stack([picture(*np.split(state, 2)) for state in states])
            seen = episode.observations | {CAMERA: frames}
            store.append(replace(episode, observations=seen))
    return path


def filmed_config(image: ImageConfig = DRAWN, **changes: object) -> TrainingConfig:
    """Tiny, and blind but for the camera."""
    config = tiny_config(**changes)
    encoder: EncoderConfig = MixedConfig(16, states=(), image=image)
    return replace(config, model=replace(config.model, encoder=encoder))
