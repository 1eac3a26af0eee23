"""What the networks of a preset see of a store's cameras, for `softflow data plot --preset`."""

from __future__ import annotations

import numpy as np
import torch

from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError
from softflow.models.images.backbone import ImageConfig
from softflow.pages.data_page import require_episodes_to_plot
from softflow.pages.network_views import NetworkView
from softflow.presets import preset
from softflow.training.cameras.drawing import resized_frames
from softflow.training.updates.augmentation import AugmentationConfig, augmented

SAMPLES = 4
"""Augmented frames to show, as that many updates might see them."""


def network_views(
    store: EpisodeStore, name: str, shift: int, colour_jitter: float
) -> list[NetworkView]:
    """A frame of the middle of an episode, from every camera that the preset's encoder reads.

    Args:
        store: whose first episode is looked into.
        name: of the preset.
        shift, colour_jitter: as `data.augmentation`; they are the preset's where both are 0.

    Raises:
        ConfigError: no such preset, it reads no cameras, or the data lack one.
    """
    config = preset(name)
    encoder = config.model.encoder
    image = getattr(encoder, "image", None)
    if not isinstance(image, ImageConfig):
        raise ConfigError(
            f"--preset {name} reads no cameras ({encoder.kind}); choose small-image, "
            "robomimic-image or scissors"
        )
    how = AugmentationConfig(shift, colour_jitter)
    how = config.data.augmentation if how.is_off else how
    keys = encoder.cameras_among(store.spec.observation_shapes)
    require_episodes_to_plot(store)
    episode = store.episode(0)
    middle = episode.length // 2
    return [
        _view(key, torch.from_numpy(np.array(episode.observations[key][middle])), image, how)
        for key in keys
    ]


def _view(
    key: str, frame: torch.Tensor, image: ImageConfig, how: AugmentationConfig
) -> NetworkView:
    """Recorded, augmented, brought to size, in the order in which training does it."""
    frames = {"as recorded": frame}
    if how.is_off:
        frames["acting and training"] = resized_frames(frame[None], image.resize)[0]
        return NetworkView(key, _arrays(frames))
    frames["acting"] = resized_frames(frame[None], image.resize)[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        stacked = frame.expand(SAMPLES, 1, *frame.shape)
        for number, sample in enumerate(augmented({key: stacked}, how)[key][:, 0], 1):
            frames[f"training, {number}"] = resized_frames(sample[None], image.resize)[0]
    return NetworkView(key, _arrays(frames))


def _arrays(frames: dict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {caption: frame.numpy() for caption, frame in frames.items()}
