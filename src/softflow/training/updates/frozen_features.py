"""What frozen backbones say of the data's frames: from files, instead of in every update."""

from __future__ import annotations

import time
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from softflow.data.episode_store import EpisodeStore
from softflow.models.encoder import ObservationEncoder
from softflow.models.images.backbone import ImageBackbone
from softflow.sampling.cache_folder import CacheRefusedError, cache_folder_of, require_space
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.feature_files import FeatureFiles, FeatureKind, Recording
from softflow.training.config import TrainingConfig
from softflow.training.updates.augmentation import AugmentationConfig, augmented
from softflow.utils.progress import ProgressReporter

FOLDER = "features"


class FrozenFeatures:
    """Lets datasets show features in place of the frames that a frozen backbone reads.

    Where they cannot be written, batches hold frames again, and everything goes on.

    Args:
        encoder: of the policy, whose frozen backbones the critic shares; its weights are final.
        config: of the run.
        progress: where to tell how far it is.
    """

    def __init__(
        self, encoder: ObservationEncoder, config: TrainingConfig, progress: ProgressReporter
    ) -> None:
        self._config, self._progress = config, progress
        self._backbones = encoder.observation.frozen_cameras
        self._identities: dict[ImageBackbone, dict[str, Any]] = {}
        self._shown: dict[Path, tuple[ChunkDataset, dict[str, list[FeatureFiles]]]] = {}
        self._num_views: int | None = None if self._backbones else 0

    def show_in(self, dataset: ChunkDataset, cache_folder: str = "") -> None:
        """Fill in the features of all episodes of a dataset, which shows them from then on.

        To be called again when it has grown.

        Args:
            dataset: of the offline or the online episodes.
            cache_folder: for files that shall not lie beside the episodes.

        Raises:
            StoreError: an episode is damaged; or the files hold what other code computed.
        """
        if self._num_views is None:  # decided once, by the first data: all have to be alike
            self._num_views = wanted_views(self._config, dataset)
        if self._num_views == 0:
            return
        if dataset.path not in self._shown:
            files = self._files(dataset.store, Path(cache_folder) if cache_folder else None)
            self._shown[dataset.path] = dataset, files
        files = self._shown[dataset.path][1]
        try:
            self._fill(dataset, [view for views in files.values() for view in views])
        except CacheRefusedError as error:
            self._give_up(error)
            return
        dataset.show_features(files)

    def _give_up(self, error: CacheRefusedError) -> None:
        said = str(error).replace("cache_folder=", "--data.cache-folder")
        self._progress.say(f"careful: {said}. Now frames pass the image backbone in every update")
        self._num_views = 0
        for dataset, _ in self._shown.values():
            dataset.show_features({})

    def _files(
        self, store: EpisodeStore, cache_folder: Path | None
    ) -> dict[str, list[FeatureFiles]]:
        folder = cache_folder_of(store, cache_folder, FOLDER)
        augmentation = self._config.data.augmentation
        result: dict[str, list[FeatureFiles]] = {}
        for camera, backbone in self._backbones.items():
            if backbone not in self._identities:  # hashing a large one takes seconds
                self._identities[backbone] = backbone.identity
            shape = store.spec.observation_shapes[camera]
            facts = {"frame_shape": list(shape), **self._identities[backbone]}
            kinds = [
                feature_kind(camera, shape, backbone, facts, view, augmentation)
                for view in range(self._num_views or 0)
            ]
            result[camera] = [FeatureFiles(store, folder, kind) for kind in kinds]
        return result

    def _fill(self, dataset: ChunkDataset, files: list[FeatureFiles]) -> None:
        """Fill in what is missing, and say what that was if anything was computed."""
        known = files[0].episodes
        new = {
            index: Recording.of(dataset.store, index)
            for index in dataset.episode_indices
            if index not in known
        }
        if not new:
            return
        missing = sum(one.missing_bytes(new) for one in files)
        require_space(files[0].folder.parent, missing)
        start_s, done, computed = time.monotonic(), 0, 0
        total = len(files) * sum(recording.num_frames for recording in new.values())
        if missing:
            kept = f"kept in '{files[0].folder.parent}'"
            self._progress.say(f"computing features of up to {total:,} frames, once: {kept}")
        self._progress.begin("image features", total)
        for one in files:
            for num_frames, made in one.fill(new):
                done, computed = done + num_frames, computed + made * num_frames
                self._progress.advance(done)
        megabytes = sum(one.num_bytes for one in files) / 1e6
        self._progress.say(
            f"features of {total:,} frames in '{files[0].folder.parent}', {computed:,} computed "
            f"now in {time.monotonic() - start_s:.0f} s; {megabytes:,.0f} MB in all"
        )


def wanted_views(config: TrainingConfig, dataset: ChunkDataset) -> int:
    """Views of every frame to be kept: those configured, or what pays."""
    data = config.data
    if data.cached_views is not None:
        return data.cached_views
    if not data.augmentation.is_off:
        return 0
    seen = config.imitation.num_updates * config.imitation.batch_size
    for stage in (config.critic_warmup, config.offline_rl, config.online_rl):
        seen += 2 * stage.total_updates * stage.batch_size
    return int(seen * config.model.chunk.history_length >= dataset.num_windows)


def feature_kind(
    camera: str,
    frame_shape: tuple[int, ...],
    backbone: ImageBackbone,
    facts: dict[str, Any],
    view: int,
    augmentation: AugmentationConfig,
) -> FeatureKind:
    """The features of a camera's frames, or of a view of them.

    View 0 shows frames as they are. In any other, all frames of an episode are augmented alike, as
    all frames of a stack are without a cache.

    Args:
        camera: its key; frame_shape: (height, width, 3).
        backbone: frozen; facts: all that decides its features of a frame as it is.
        view: number of the view; augmentation: of all but the first.
    """
    if view:
        facts = facts | {"view": view, **asdict(augmentation)}

    @torch.no_grad()
    def compute(frames: np.ndarray, digest: str) -> np.ndarray:
        shown = torch.from_numpy(frames)
        if view:
            seed = zlib.crc32(f"{digest} {camera} {view}".encode())
            shown = augmented_alike(shown, augmentation, seed)
        return backbone.features(shown.to(backbone.mean.device)).float().cpu().numpy()

    return FeatureKind(camera, backbone.measured(frame_shape), facts, compute)


def augmented_alike(
    frames: torch.Tensor, augmentation: AugmentationConfig, seed: int
) -> torch.Tensor:
    """Frames [K, H, W, 3] changed by the same random numbers each, on the CPU."""
    with torch.random.fork_rng(devices=[]):
        shown: list[torch.Tensor] = []
        for frame in frames:
            torch.manual_seed(seed)
            shown.append(augmented({"": frame[None, None]}, augmentation)[""][0, 0])
    return torch.stack(shown)
