"""Features of frames in files: computed once, keyed by what decides them, whole or not there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from faults import Faults
from frame_features import CAMERA, STATE, Corners, assert_right, camera_store, corners, fill

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event, Label
from softflow.errors import StoreError
from softflow.sampling import feature_files
from softflow.sampling.cache_folder import CacheRefusedError
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.chunk_sampler import ChunkSampler
from softflow.utils.files import read_json

CHUNK = ChunkSpec(3, 2, prefix_length=1, history_length=2)


@pytest.fixture
def store(tmp_path: Path) -> EpisodeStore:
    return camera_store(tmp_path / "store", [5, 300, 9])


def files_of(store: EpisodeStore) -> list[Path]:
    return sorted((store.path / "features").glob("*/*.npy"))


def test_each_frame_is_computed_once_and_some_at_a_time(
    store: EpisodeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_files, "MAX_MAPS", 2)
    network = Corners()
    files = network.filled(store)
    assert sum(network.calls) == 6 + 301 + 10
    assert max(network.calls) == feature_files.FRAMES_AT_ONCE
    assert_right(files, store)
    assert files.num_bytes == (6 + 301 + 10) * 2 * 3 * 4
    again = Corners()
    reopened = again.files(store)
    assert fill(reopened, store) == [(6, False), (301, False), (10, False)]
    assert again.calls == [1], "one frame shows that it is the same program"
    assert_right(reopened, store)
    assert np.load(files_of(store)[0]).shape[1:] == (2, 3), "any numpy reads it"


def test_what_decides_the_numbers_names_the_folder(store: EpisodeStore) -> None:
    names = [Corners(weights=weights).kind.name for weights in ("a", "b", "a")]
    assert names[0] == names[2] != names[1]
    for weights in ("a", "b"):
        Corners(weights=weights).filled(store)
    folders = [path.parent for path in (store.path / "features").glob("*/about.json")]
    assert sorted(read_json(folder / "about.json")["weights"] for folder in folders) == ["a", "b"]
    assert len(files_of(store)) == 6


def test_labels_and_copies_leave_them_valid(store: EpisodeStore, tmp_path: Path) -> None:
    """A label that cuts an episode short; the same recordings in another order."""
    Corners().filled(store)
    store.label(1, Label("anna", (Event(100, "failure"),)))
    relabelled, network = EpisodeStore.open(store.path), Corners()
    assert relabelled.summary(1).length < 300
    assert_right(network.filled(relabelled), relabelled)
    with EpisodeStore.create(tmp_path / "copy", store.spec) as copy:
        for index in (2, 0):
            copy.append(store.episode(index, labelled=False))
    assert_right(network.filled(copy, store.path / "features"), copy)
    assert network.calls == [1, 1], "nothing but a look at one frame"


@pytest.mark.parametrize(
    "tear",
    [
        lambda whole: whole[:-5],
        lambda whole: b"",
        lambda whole: whole[:200] + bytes([whole[200] ^ 1]) + whole[201:],
        lambda whole: whole[:-1] + bytes([whole[-1] ^ 1]),
        lambda whole: whole[:20] + b"?" + whole[21:],
    ],
    ids=["cut short", "empty", "a bit", "its checksum", "its header"],
)
def test_a_torn_file_is_computed_anew(store: EpisodeStore, tear: Callable[[bytes], bytes]) -> None:
    Corners().filled(store)
    torn = files_of(store)[1]
    torn.write_bytes(tear(torn.read_bytes()))
    network = Corners()
    with pytest.warns(UserWarning, match="is computed anew: it"):
        files = network.filled(store)
    assert_right(files, store)
    assert Corners().filled(store).num_bytes == files.num_bytes


def test_another_program_under_the_same_name_is_noticed(store: EpisodeStore) -> None:
    """Code is in no hash; a first frame tells. Rounding does not."""
    Corners().filled(store)
    Corners(scale=1.001).filled(store)
    with pytest.raises(StoreError, match="its code has changed since; remove that folder"):
        Corners(scale=1.2).filled(store)
    with pytest.raises(StoreError, match="holds other features"):
        Corners(scale=np.nan).filled(store)


@pytest.mark.parametrize("kind", ["mkdir", "open", "flock", "write", "fsync", "replace"])
@pytest.mark.filterwarnings("ignore:.*cannot be read")
def test_whatever_the_system_refuses_is_told_and_leaves_nothing_half(
    store: EpisodeStore, kind: str
) -> None:
    folder = store.path / "features"
    full = Faults(folder, kind, error=lambda: OSError(28, "no space"), lasting=True)
    with full.on(), pytest.raises(CacheRefusedError, match="no space"):
        Corners().filled(store)
    assert full.calls[kind]
    assert files_of(store) == []
    assert not list(folder.rglob(".*.tmp"))
    assert_right(Corners().filled(store), store)


def test_episodes_that_were_not_asked_for(store: EpisodeStore) -> None:
    files = Corners().files(store)
    with pytest.raises(StoreError, match=r"no features of episode 1 .* call `fill` first"):
        files.rows(np.array([1]), np.array([0]))
    network = Corners()
    files = network.filled(store)
    for path in files_of(store):
        path.unlink()
    with pytest.raises(StoreError, match="can be read no more"):
        files.rows(np.array([1]), np.array([0]))


# ---- in batches --------------------------------------------------------------------------------


def test_batches_hold_features_in_place_of_frames(store: EpisodeStore) -> None:
    """Of an observation and of the next, also in subsets made before."""
    dataset = ChunkDataset(store, CHUNK)
    subset = dataset.subset([2, 1])
    rows = np.random.default_rng(0).choice(subset.num_windows, 64)
    plain = subset.gather(rows)
    dataset.show_features({CAMERA: [Corners().filled(store)]})
    shown = subset.gather(rows)
    for seen, frames in (
        (shown.observation, plain.observation),
        (shown.next_observation, plain.next_observation),
    ):
        expected = corners(frames[CAMERA].numpy().reshape(-1, 6, 8, 3)).reshape(64, 2, 2, 3)
        np.testing.assert_array_equal(seen[CAMERA].numpy(), expected)
        np.testing.assert_array_equal(seen[STATE], frames[STATE])
    assert dataset.cached_image_bytes, "of the first batch"
    raw = subset.showing_frames()
    assert (raw.gather(rows).observation[CAMERA] == plain.observation[CAMERA]).all()
    assert subset.gather(rows).observation[CAMERA].is_floating_point(), "raw is another"
    dataset.show_features({})
    assert subset.gather(rows).observation[CAMERA].dtype == plain.observation[CAMERA].dtype


@pytest.mark.parametrize("features", [False, True])
def test_what_follows_may_be_left_out(store: EpisodeStore, features: bool) -> None:
    dataset = ChunkDataset(store, CHUNK, image_cache_bytes=10**9)
    if features:
        dataset.show_features({CAMERA: [Corners().filled(store)]})
    whole = ChunkSampler(dataset, 4, 0, "imitation").batch(3)
    short = ChunkSampler(dataset, 4, 0, "imitation", with_next=False).batch(3)
    assert short.next_observation == {}
    assert (short.window == whole.window).all()
    assert (short.observation[CAMERA] == whole.observation[CAMERA]).all()
    if not features:
        decoded = [ChunkDataset(store, CHUNK) for _ in range(2)]
        end = np.array([4])  # its next observation is the final one, in a piece of its own
        for data, with_next in zip(decoded, (True, False), strict=True):
            data.gather(end, with_next=with_next)
        assert decoded[1].cached_image_bytes < decoded[0].cached_image_bytes


def test_every_row_shows_a_view_at_random(store: EpisodeStore) -> None:
    """A stack shows one view; which one is a function of seed and update."""
    views = [Corners(view=number, scale=2.0**number).filled(store) for number in range(3)]
    dataset = ChunkDataset(store, CHUNK)
    dataset.show_features({CAMERA: views})
    sampler = ChunkSampler(dataset, 200, 0, "imitation")
    batch = sampler.batch(0)
    plain = dataset.gather(batch.window.numpy())
    numbers = []
    for shown, first in (
        (batch.observation, plain.observation),
        (batch.next_observation, plain.next_observation),
    ):
        ratio = (shown[CAMERA].sum((2, 3)) / first[CAMERA].sum((2, 3))).log2().round()
        assert (ratio[:, 0] == ratio[:, 1]).all()
        numbers.append(ratio[:, 0])
        assert set(ratio[:, 0].tolist()) == {0, 1, 2}
    assert not (numbers[0] == numbers[1]).all()
    again = ChunkSampler(dataset, 200, 0, "imitation", with_next=False).batch(0)
    assert (again.observation[CAMERA] == batch.observation[CAMERA]).all()
