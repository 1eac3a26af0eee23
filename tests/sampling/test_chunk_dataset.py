"""A dataset opened once: parts of it, its episodes, its statistics, its cameras."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from flat_stores import CHUNK, SPEC, assert_same, filled_store, in_ram, random_episode

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event, Label
from softflow.data.statistics import Episodes, compute_statistics
from softflow.errors import DataError
from softflow.sampling.chunk_dataset import ChunkDataset

STATE = "observation.state"
CAMERAS = ("observation.images.front", "observation.images.wrist")
LENGTHS = [5, 9, 1, 30, 12]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> EpisodeStore:
    """Five episodes, two of them labelled."""
    store = filled_store(tmp_path_factory.mktemp("labelled") / "store", LENGTHS)
    store.label(1, Label("anna", (Event(3, "success", 2.0),)))
    store.label(3, Label("anna", (Event(7, "reward", -1.0),)))
    return store


@pytest.fixture(scope="module", params=[0, 10**12], ids=["mapped", "in RAM"])
def dataset(store: EpisodeStore, request: pytest.FixtureRequest) -> ChunkDataset:
    return ChunkDataset(store, CHUNK, ram_bytes=request.param)


@pytest.fixture(scope="module")
def with_cameras(
    tmp_path_factory: pytest.TempPathFactory, make_episode: Callable[..., Episode]
) -> EpisodeStore:
    shapes: dict[str, tuple[int, ...]] = {STATE: (2,), CAMERAS[0]: (8, 8, 3), CAMERAS[1]: (8, 8, 3)}
    spec = DataSpec(shapes, 2, (-1.0, -1.0), (1.0, 1.0), 20.0)
    with EpisodeStore.create(tmp_path_factory.mktemp("cameras") / "store", spec) as store:
        for seed in range(3):
            store.append(make_episode(spec, length=6, seed=seed))
    return store


@pytest.mark.parametrize("chosen", [[0, 1, 2, 3, 4], [3, 1], [2], [4, 0, 4]])
def test_subset_is_the_dataset_of_these_episodes(
    store: EpisodeStore, dataset: ChunkDataset, chosen: list[int]
) -> None:
    part = dataset.subset(chosen)
    assert part.episode_indices == tuple(chosen)
    assert_same(part, in_ram(store, episodes=chosen))
    assert_same(part.subset(chosen[::-1]), in_ram(store, episodes=chosen[::-1]))


def test_subset_shares_the_arrays(dataset: ChunkDataset) -> None:
    ours, theirs = dataset.episode(3), dataset.subset([3]).episode(0)
    assert np.shares_memory(ours.actions, theirs.actions)
    assert np.shares_memory(ours.observations[STATE], theirs.observations[STATE])


def test_subset_of_nothing_and_of_what_is_not_there(dataset: ChunkDataset) -> None:
    assert dataset.subset([]).num_windows == 0
    with pytest.raises(DataError, match="does not hold episode 2 of the store"):
        dataset.subset([0, 1]).subset([1, 2])


@pytest.mark.parametrize("ram_bytes", [0, 10**12])
def test_subset_and_dataset_grow_apart(tmp_path: Path, ram_bytes: int) -> None:
    store = filled_store(tmp_path / "store", [5, 9, 6])
    dataset = ChunkDataset(store, CHUNK, ram_bytes=ram_bytes)
    part = dataset.subset([2, 0])
    with EpisodeStore.open(store.path, writable=True) as writer:
        writer.append(random_episode(7, 4))
    assert part.add_new_episodes() == 1
    assert_same(part, in_ram(store, episodes=[2, 0, 3]))
    assert_same(dataset, in_ram(store, episodes=[0, 1, 2]))


def test_episodes_are_those_of_the_store(store: EpisodeStore, dataset: ChunkDataset) -> None:
    assert len(dataset) == len(store)
    assert (dataset.path, dataset.spec) == (store.path, store.spec)
    for index in range(len(store)):
        ours, theirs = dataset.episode(index), store.episode(index)
        for name in ("actions", "rewards"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
        assert ours.observations.keys() == theirs.observations.keys()
        for key, value in theirs.observations.items():
            np.testing.assert_array_equal(ours.observations[key], value)
        for name in ("terminated", "truncated", "success"):
            assert getattr(ours, name) is getattr(theirs, name)
        ours.validate(SPEC)
    with pytest.raises(DataError, match="has no episode 5; it holds 5"):
        dataset.episode(5)
    with pytest.raises(ValueError, match="read-only"):
        dataset.episode(0).actions[0] = 0


def test_statistics_are_those_of_the_store(store: EpisodeStore, dataset: ChunkDataset) -> None:
    both: list[Episodes] = [dataset, store]
    ours, theirs = (compute_statistics(episodes).to_json() for episodes in both)
    assert ours == theirs
    part = compute_statistics(dataset.subset([3, 1])).to_json()
    assert part == compute_statistics(store, [3, 1]).to_json()


def test_episode_with_images(with_cameras: EpisodeStore) -> None:
    dataset = ChunkDataset(with_cameras, ChunkSpec(2, 2), episodes=[2, 0], image_keys=())
    for number, index in enumerate((2, 0)):
        expected = with_cameras.episode(index).observations
        assert dataset.episode(number).observations.keys() == {STATE}
        seen = dataset.episode(number, with_images=True).observations
        assert seen.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(seen[key], value)


@pytest.mark.parametrize(
    ("options", "cameras"),
    [
        ({}, CAMERAS),
        ({"image_keys": None}, CAMERAS),
        ({"image_keys": CAMERAS[1:]}, CAMERAS[1:]),
        ({"image_keys": ()}, ()),
        ({"with_images": False}, ()),
    ],
)
def test_batches_hold_the_chosen_cameras(
    with_cameras: EpisodeStore, options: dict[str, object], cameras: tuple[str, ...]
) -> None:
    dataset = ChunkDataset(with_cameras, ChunkSpec(2, 2), **options)  # pyright: ignore[reportArgumentType]
    whole = ChunkDataset(with_cameras, ChunkSpec(2, 2)).gather(np.arange(18))
    for batch in (dataset.gather(np.arange(18)), dataset.subset([0, 1, 2]).gather(np.arange(18))):
        assert batch.observation.keys() == batch.next_observation.keys() == {STATE, *cameras}
        for key, value in batch.observation.items():
            np.testing.assert_array_equal(value.numpy(), whole.observation[key].numpy())


def test_unknown_camera_is_refused(with_cameras: EpisodeStore) -> None:
    with pytest.raises(DataError, match=r"'observation.images.top'.*front.*choose among them"):
        ChunkDataset(with_cameras, ChunkSpec(2, 2), image_keys=["observation.images.top"])


def test_subset_shares_the_image_cache(with_cameras: EpisodeStore) -> None:
    dataset = ChunkDataset(with_cameras, ChunkSpec(2, 2))
    dataset.subset([1]).gather(np.arange(3))
    assert dataset.cached_image_bytes > 0


@pytest.mark.slow
def test_threads_gather_while_the_dataset_grows(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", LENGTHS)
    dataset = ChunkDataset(store, CHUNK, episodes=[0], ram_bytes=1000)
    expected = dataset.gather(np.arange(5)).actions.numpy().tobytes()
    with ThreadPoolExecutor(4) as threads:
        batches = [threads.submit(dataset.gather, np.arange(5)) for _ in range(200)]
        for index in (1, 2, 3, 4):
            dataset.add_episodes([index])
        batches += [threads.submit(dataset.gather, np.arange(5)) for _ in range(200)]
        assert {batch.result().actions.numpy().tobytes() for batch in batches} == {expected}
    assert_same(dataset, in_ram(store))
