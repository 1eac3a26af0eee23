"""A store with a small camera, and features of its frames that are easily known: two corners."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.sampling.feature_files import FeatureFiles, FeatureKind, Recording

STATE, CAMERA = "observation.state", "observation.images.front"
SPEC = DataSpec({STATE: (3,), CAMERA: (6, 8, 3)}, 2, (-1.0, -1.0), (1.0, 1.0), 20.0)


def camera_episode(seed: int, length: int) -> Episode:
    rng = np.random.default_rng(seed)
    return Episode(
        observations={
            STATE: rng.normal(size=(length + 1, 3)).astype(np.float32),
            CAMERA: rng.integers(0, 256, (length + 1, 6, 8, 3), dtype=np.uint8),
        },
        actions=rng.uniform(-1, 1, (length, 2)).astype(np.float32),
        rewards=np.zeros(length, np.float32),
        terminated=False,
        truncated=True,
        success=False,
    )


def camera_store(path: Path, lengths: list[int]) -> EpisodeStore:
    with EpisodeStore.create(path, SPEC) as store:
        for seed, length in enumerate(lengths):
            store.append(camera_episode(seed, length))
    return store


def corners(frames: np.ndarray) -> np.ndarray:
    """Frames [K, H, W, 3] -> features [K, 2, 3]: the first pixel and the last."""
    return np.stack([frames[:, 0, 0], frames[:, -1, -1]], axis=1).astype(np.float32) / 7


class Corners:
    """Features that are counted while they are computed, and may take their time."""

    def __init__(self, scale: float = 1.0, delay_s: float = 0.0, **facts: object) -> None:
        self.calls: list[int] = []
        self.scale, self.delay_s = scale, delay_s
        self.kind = FeatureKind(CAMERA, (2, 3), {"network": "corners", **facts}, self)

    def __call__(self, frames: np.ndarray, digest: str) -> np.ndarray:
        self.calls.append(len(frames))
        time.sleep(self.delay_s)
        return self.scale * corners(frames)

    def files(self, store: EpisodeStore, folder: Path | None = None) -> FeatureFiles:
        """Files of them, of no episode yet."""
        return FeatureFiles(store, folder or store.path / "features", self.kind)

    def filled(self, store: EpisodeStore, folder: Path | None = None) -> FeatureFiles:
        """Files of them, of all episodes."""
        files = self.files(store, folder)
        fill(files, store)
        return files


def fill(files: FeatureFiles, store: EpisodeStore) -> list[tuple[int, bool]]:
    """Fill in all episodes; frames of each, and whether they were computed."""
    everything = range(len(store))
    return list(files.fill({index: Recording.of(store, index) for index in everything}))


def assert_right(files: FeatureFiles, store: EpisodeStore) -> None:
    """Every frame has its features, asked for in any order."""
    pairs = [
        (index, step)
        for index in range(len(store))
        for step in range(store.summary(index, labelled=False).length + 1)
    ]
    rng = np.random.default_rng(0)
    episodes, steps = rng.permutation(np.array(pairs)).T
    found = files.rows(episodes, steps)
    assert (found.shape, found.dtype) == ((len(pairs), 2, 3), np.float32)
    for index in range(len(store)):
        mine = episodes == index
        frames = store.episode(index, labelled=False).observations[CAMERA]
        np.testing.assert_array_equal(found[mine], corners(frames)[steps[mine]])
