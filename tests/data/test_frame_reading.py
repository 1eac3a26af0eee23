"""Some frames of an episode are those that the whole episode has there."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.files.episode_reading import DamagedEpisodeError
from softflow.data.files.frame_reading import OpenEpisodes, read_frames
from softflow.errors import StoreError

CAMERA = "observation.images.front"
LENGTH = 37


@pytest.fixture
def filmed(tmp_path: Path) -> EpisodeStore:
    """Two episodes whose frames are noise; several frames share a piece of the file."""
    spec = DataSpec({CAMERA: (24, 32, 3)}, 1, (-1.0,), (1.0,), 10.0)
    rng = np.random.default_rng(0)
    with EpisodeStore.create(tmp_path / "filmed", spec) as store:
        for _ in range(2):
            frames = rng.integers(0, 256, (LENGTH + 1, 24, 32, 3)).astype(np.uint8)
            actions = np.zeros((LENGTH, 1), np.float32)
            rewards = np.zeros(LENGTH, np.float32)
            store.append(Episode({CAMERA: frames}, actions, rewards, False, True, False))
    return EpisodeStore.open(tmp_path / "filmed")


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (0, 16), (15, 17), (20, 999), (36, 38), (37, 38), (38, 40), (5, 5)]
)
def test_any_piece_is_what_the_whole_has(filmed: EpisodeStore, start: int, stop: int) -> None:
    whole = filmed.episode(1).observations[CAMERA]
    path = filmed.episode_path(1)
    piece = read_frames(path, filmed.spec, [CAMERA], start, stop)[CAMERA]
    np.testing.assert_array_equal(piece, whole[start:stop])
    again = OpenEpisodes().frames(path, filmed.spec, [CAMERA], start, stop)[CAMERA]
    np.testing.assert_array_equal(again, piece)


def test_a_file_that_takes_anothers_place_is_read_anew(filmed: EpisodeStore) -> None:
    files, (first, second) = OpenEpisodes(), map(filmed.episode_path, range(2))
    before = files.frames(first, filmed.spec, [CAMERA], 0, 4)[CAMERA]
    shutil.copy(second, first.with_suffix(".new"))
    first.with_suffix(".new").rename(first)
    after = files.frames(first, filmed.spec, [CAMERA], 0, 4)[CAMERA]
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(after, filmed.episode(1).observations[CAMERA][:4])


def test_damage_is_told_as_everywhere(filmed: EpisodeStore) -> None:
    path = filmed.episode_path(0)
    path.write_bytes(path.read_bytes()[:-700])
    for read in (read_frames, OpenEpisodes().frames):
        with pytest.raises(DamagedEpisodeError, match="episode_000000"):
            read(path, filmed.spec, [CAMERA], 0, 4)
    path.unlink()
    with pytest.raises(StoreError, match="is gone"):
        OpenEpisodes().frames(path, filmed.spec, [CAMERA], 0, 4)
