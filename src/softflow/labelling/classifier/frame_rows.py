"""What the classifier looks at: a row of numbers for every frame of an episode.

Frozen features of all cameras by the EfficientNet-Lite0 that training uses too, from the files
beside the episodes; or the state, where there are no cameras.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from softflow.data.episode_store import EpisodeStore
from softflow.models.images.efficientnet_lite0 import EfficientNetLite0, EfficientNetLite0Config
from softflow.sampling.cache_folder import cache_folder_of, require_space
from softflow.sampling.feature_files import FeatureFiles, Recording
from softflow.training.updates.augmentation import AugmentationConfig
from softflow.training.updates.frozen_features import FOLDER, feature_kind
from softflow.utils.progress import ProgressReporter, SilentProgress

LARGEST_SIDE = 128
"""Of a frame that is looked at as it is; larger ones are brought to this: 16 places a camera."""


class FrameRows(Protocol):
    """Rows of the episodes of one store."""

    def prepare(self, episodes: Sequence[int], progress: ProgressReporter) -> None:
        """Compute what is needed of these, so that `of` is fast."""
        ...

    def of(self, episode: int) -> np.ndarray:
        """float32 [T+1, D] of a recorded episode.

        Raises:
            StoreError: it is damaged, or features cannot be written.
        """
        ...


def rows_for(store: EpisodeStore, cache_folder: str) -> FrameRows:
    """Of the cameras of a store, if it has any, else of its states."""
    if not store.spec.image_keys:
        return StateRows(store)
    return CameraRows(store, Path(cache_folder) if cache_folder else None)


class StateRows:
    """The numbers of the state, key after key."""

    def __init__(self, store: EpisodeStore) -> None:
        self._store = store

    def prepare(self, episodes: Sequence[int], progress: ProgressReporter) -> None:
        """Nothing is to be computed."""

    def of(self, episode: int) -> np.ndarray:
        """float32 [T+1, D] of a recorded episode."""
        recorded = self._store.episode(episode, with_images=False, labelled=False)
        keys = self._store.spec.state_keys
        rows = [recorded.observations[key].reshape(recorded.length + 1, -1) for key in keys]
        return np.concatenate(rows, axis=1)


class CameraRows:
    """Features of every place of every camera's frame."""

    def __init__(self, store: EpisodeStore, cache_folder: Path | None) -> None:
        folder = cache_folder_of(store, cache_folder, FOLDER)
        self._store = store
        self._files: list[FeatureFiles] = []
        backbones: dict[tuple[int, ...], tuple[EfficientNetLite0, dict[str, object]]] = {}
        for camera in store.spec.image_keys:
            shape = store.spec.observation_shapes[camera]
            if shape not in backbones:
                backbone = _backbone(shape)
                backbones[shape] = backbone, {"frame_shape": list(shape), **backbone.identity}
            kind = feature_kind(camera, shape, *backbones[shape], 0, AugmentationConfig())
            self._files.append(FeatureFiles(store, folder, kind))

    def prepare(self, episodes: Sequence[int], progress: ProgressReporter) -> None:
        """Fill in the files of these episodes."""
        wanted = {index: Recording.of(self._store, index) for index in episodes}
        missing = sum(one.missing_bytes(wanted) for one in self._files)
        require_space(self._files[0].folder.parent, missing)
        frames = sum(recording.num_frames for recording in wanted.values())
        progress.begin("image features", frames * len(self._files))
        done = 0
        for files in self._files:
            for num_frames, _ in files.fill(wanted):
                done += num_frames
                progress.advance(done)

    def of(self, episode: int) -> np.ndarray:
        """float32 [T+1, D] of a recorded episode, cameras in the order of their names."""
        if episode not in self._files[0].episodes:
            self.prepare([episode], SilentProgress())
        steps = np.arange(Recording.of(self._store, episode).num_frames)
        which = np.full(len(steps), episode)
        rows = [files.rows(which, steps).reshape(len(steps), -1) for files in self._files]
        return np.concatenate(rows, axis=1)


def _backbone(frame_shape: tuple[int, ...]) -> EfficientNetLite0:
    """The frozen network with its pretrained weights."""
    large = max(frame_shape[:2]) > LARGEST_SIDE
    config = EfficientNetLite0Config(resize=(LARGEST_SIDE, LARGEST_SIDE) if large else None)
    with torch.random.fork_rng(devices=[]):
        backbone = EfficientNetLite0(frame_shape, config)
    backbone.load_pretrained()
    return backbone.eval()
