"""Frames at random: each piece decoded once a batch, damage named, memory bounded."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import zarr
from zarr.codecs import GzipCodec
from zarr.storage import ZipStore

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.files.episode_reading import DamagedEpisodeError
from softflow.errors import StoreError
from softflow.sampling.frame_cache import FrameCache
from softflow.sampling.image_pieces import PieceTable

CAMERA = "observation.images.front"
LENGTH = 30


@pytest.fixture
def episodes(image_spec: DataSpec, make_episode: Callable[..., Episode]) -> list[Episode]:
    return [make_episode(image_spec, length=LENGTH, seed=seed) for seed in range(3)]


@pytest.fixture
def store(tmp_path: Path, image_spec: DataSpec, episodes: list[Episode]) -> EpisodeStore:
    store = EpisodeStore.create(tmp_path / "store", image_spec)
    for episode in episodes:
        store.append(episode)
    return store


def test_frames_of_any_order_and_shape(store: EpisodeStore, episodes: list[Episode]) -> None:
    cache = FrameCache(store, 60_000)
    rng = np.random.default_rng(0)
    which, steps = rng.integers(3, size=(2, 20, 3)), rng.integers(LENGTH + 1, size=(2, 20, 3))
    frames = cache.frames([CAMERA], which, steps)[CAMERA]
    assert frames.shape == (2, 20, 3, 64, 64, 3)
    for place in np.ndindex(*which.shape):
        expected = episodes[which[place]].observations[CAMERA][steps[place]]
        np.testing.assert_array_equal(frames[place], expected)
    assert cache.num_bytes <= 60_000


def test_a_camera_with_a_long_name(tmp_path: Path, make_episode: Callable[..., Episode]) -> None:
    camera = "observation.images." + "far_too_long_a_name_" * 8
    shapes = {camera: (16, 16, 3), "observation.state": (2,)}
    spec = DataSpec(shapes, 1, (-1.0,), (1.0,), 20.0)
    store = EpisodeStore.create(tmp_path / "long", spec)
    episode = make_episode(spec, length=5)
    store.append(episode)
    frames = FrameCache(store, 1).frames([camera], np.array([0, 0]), np.array([5, 2]))[camera]
    np.testing.assert_array_equal(frames, episode.observations[camera][[5, 2]])


def test_each_piece_is_decoded_once_a_batch(
    store: EpisodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = PieceTable.read
    seen: Counter[tuple[Path, int]] = Counter()

    def counted(self: PieceTable, file: int, path: Path, piece: int) -> np.ndarray:
        seen[path, piece] += 1
        return read(self, file, path, piece)

    monkeypatch.setattr(PieceTable, "read", counted)
    which, steps = np.divmod(np.random.default_rng(0).permutation(3 * (LENGTH + 1)), LENGTH + 1)
    FrameCache(store, 1).frames([CAMERA], which, steps)
    # 30 frames of 12 kB in pieces of 4, and the final one.
    assert len(seen) == 3 * 9
    assert set(seen.values()) == {1}


def rewrite_piece(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change bytes of a piece in place; the zip's own checksum stays as it was."""
    with zipfile.ZipFile(path) as archive:
        entry = archive.getinfo(f"data/{CAMERA}/c/1/0/0/0")
        payload = archive.read(entry)
    content = path.read_bytes()
    start = content.index(payload)
    path.write_bytes(content[:start] + change(payload) + content[start + len(payload) :])


@pytest.mark.parametrize("position", [0, 3, 40, -1])
def test_damaged_piece_is_named(store: EpisodeStore, position: int) -> None:
    def flipped(payload: bytes) -> bytes:
        changed = bytearray(payload)
        changed[position] ^= 8
        return bytes(changed)

    rewrite_piece(store.episode_path(1), flipped)
    cache = FrameCache(store, 10**9)
    cache.frames([CAMERA], np.array([1, 1]), np.array([3, 8]))
    with pytest.raises(
        DamagedEpisodeError, match=r"episode_000001.*checksum of piece 1 of '.*front"
    ):
        cache.frames([CAMERA], np.array([1]), np.array([4]))


def test_cut_file_is_damage(store: EpisodeStore) -> None:
    content = store.episode_path(1).read_bytes()
    store.episode_path(1).write_bytes(content[: len(content) // 2])
    with pytest.raises(DamagedEpisodeError, match="episode_000001"):
        FrameCache(store, 10**9).frames([CAMERA], np.array([1]), np.array([4]))


def test_frames_of_other_software_are_refused(store: EpisodeStore, tmp_path: Path) -> None:
    path = store.episode_path(0)
    with ZipStore(path, mode="r") as old, ZipStore(tmp_path / "new.zip", mode="w") as new:
        source = zarr.open_group(old, mode="r")
        group = zarr.create_group(new, attributes=source.attrs.asdict())
        for name in (f"data/{CAMERA}", f"meta/final/{CAMERA}"):
            frames = np.asarray(cast("zarr.Array[Any]", source[name])[...])
            group.create_array(name, data=frames, compressors=GzipCodec())
    (tmp_path / "new.zip").replace(path)
    with pytest.raises(StoreError, match=r"stored by other software \(codecs bytes, gzip"):
        FrameCache(store, 10**9).frames([CAMERA], np.array([0]), np.array([4]))
