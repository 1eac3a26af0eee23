from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numcodecs.zstd import compress
from zarr.storage import ZipStore

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.files.episode_reading import DamagedEpisodeError
from softflow.errors import DataError, StoreError
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.utils.sealed_json import write_sealed

EpisodeMaker = Callable[..., Episode]
CAMERA = "observation.images.front"


def assert_same(actual: Episode, expected: Episode) -> None:
    assert actual.observations.keys() == expected.observations.keys()
    pairs = [(actual.observations[key], array) for key, array in expected.observations.items()]
    for a, b in [*pairs, (actual.actions, expected.actions), (actual.rewards, expected.rewards)]:
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    for name in ("terminated", "truncated", "success", "metadata"):
        assert getattr(actual, name) == getattr(expected, name)


def rewrite_json(file: Path, **changes: Any) -> None:
    value = json.loads(file.read_text())
    del value["sha256"]
    write_sealed(file, {**value, **changes})


@pytest.fixture
def filled(tmp_path: Path, image_spec: DataSpec, make_episode: EpisodeMaker) -> EpisodeStore:
    """A closed store of four image episodes; episode i has seed i."""
    with EpisodeStore.create(tmp_path / "store", image_spec) as store:
        for seed in range(4):
            store.append(make_episode(image_spec, length=20, seed=seed, success=seed % 2 == 0))
    return EpisodeStore.open(tmp_path / "store")


def test_episodes_come_back_bit_for_bit(
    filled: EpisodeStore, image_spec: DataSpec, make_episode: EpisodeMaker
) -> None:
    assert (filled.spec, len(filled), filled.verify()) == (image_spec, 4, [])
    for seed in range(4):
        expected = make_episode(image_spec, length=20, seed=seed, success=seed % 2 == 0)
        assert_same(filled.episode(seed), expected)
    assert list(filled.episode(0, with_images=False).observations) == ["observation.state"]


def test_file_holds_the_documented_arrays(filled: EpisodeStore) -> None:
    """Any Zarr v3 reader can use an episode file: arrays end to end, and where episodes end."""
    with ZipStore(filled.episode_path(1), mode="r") as zipped:
        group = zarr.open_group(zipped, mode="r")
        data, meta = group.require_group("data"), group.require_group("meta")
        arrays = {name: np.asarray(array[...]) for name, array in data.arrays()}
        final = {name: array.shape for name, array in meta.require_group("final").arrays()}
        assert [np.asarray(array[...]).tolist() for _, array in meta.arrays()] == [[20]]
        assert "episode_ends" in meta
    assert final == {"observation.state": (1, 3), CAMERA: (1, 64, 64, 3)}
    shapes = {name: array.shape for name, array in arrays.items()}
    endings = ("next.terminated", "next.truncated", "next.success")
    steps = (20,)
    assert shapes == {
        "observation.state": (20, 3),
        CAMERA: (20, 64, 64, 3),
        "action": (20, 2),
        "next.reward": steps,
        "next.terminated": steps,
        "next.truncated": steps,
        "next.success": steps,
    }
    assert [bool(arrays[name][-1]) for name in endings] == [False, True, False]
    assert not any(arrays[name][:-1].any() for name in endings)


def test_summaries(filled: EpisodeStore) -> None:
    summaries = filled.summaries()
    assert [s.index for s in summaries] == [0, 1, 2, 3]
    assert [s.success for s in summaries] == [True, False, True, False]
    assert [s.return_ for s in summaries] == [1.0, 0.0, 1.0, 0.0]
    first = summaries[0]
    assert (first.length, first.terminated, first.truncated) == (20, True, False)
    assert first.metadata == {"seed": 0, "operator": "oracle"}


def test_reader_sees_what_a_writer_appends(
    filled: EpisodeStore, image_spec: DataSpec, make_episode: EpisodeMaker
) -> None:
    new = make_episode(image_spec, length=1, seed=9)
    with EpisodeStore.open(filled.path, writable=True) as writer:
        assert writer.append(new) == 4
    assert len(filled) == 4
    assert (filled.refresh(), filled.refresh(), len(filled)) == (1, 0, 5)
    assert_same(filled.episode(4), new)


def test_episode_file_copies_to_another_store(
    tmp_path: Path, filled: EpisodeStore, image_spec: DataSpec
) -> None:
    EpisodeStore.create(tmp_path / "learner", image_spec).close()
    source = filled.episode_path(2)
    shutil.copy(source, tmp_path / "learner" / "episodes" / source.name)
    learner = EpisodeStore.open(tmp_path / "learner")
    assert len(learner) == 1
    assert_same(learner.episode(0), filled.episode(2))


def test_episode_of_another_store_is_named(
    tmp_path: Path, filled: EpisodeStore, spec: DataSpec
) -> None:
    other = dataclasses.replace(spec, observation_shapes={"observation.state": (5,)})
    EpisodeStore.create(tmp_path / "other", other).close()
    shutil.copy(filled.episode_path(0), tmp_path / "other" / "episodes")
    with pytest.raises(StoreError, match=r"observation.state' has shape \(21, 3\).*\(21, 5\)"):
        EpisodeStore.open(tmp_path / "other").episode(0)


def test_bad_episode_is_refused_and_nothing_is_written(
    tmp_path: Path, spec: DataSpec, make_episode: EpisodeMaker
) -> None:
    store = EpisodeStore.create(tmp_path / "store", spec)
    store.append(make_episode(spec))
    bad = make_episode(spec)
    bad.actions[3, 1] = np.nan
    with pytest.raises(DataError, match=r"episode 1 for '.*store': 'action' at step 3.*nan"):
        store.append(bad)
    assert len(store) == 1
    assert len(list((tmp_path / "store" / "episodes").iterdir())) == 1


def test_one_step_episode_is_legal(
    tmp_path: Path, spec: DataSpec, make_episode: EpisodeMaker
) -> None:
    with EpisodeStore.create(tmp_path / "store", spec) as store:
        episode = make_episode(spec, length=1)
        store.append(episode)
        assert_same(store.episode(0), episode)


def test_readers_do_not_write(
    filled: EpisodeStore, image_spec: DataSpec, make_episode: EpisodeMaker
) -> None:
    with pytest.raises(StoreError, match="writable=True"):
        filled.append(make_episode(image_spec))
    closed = EpisodeStore.open(filled.path, writable=True)
    closed.close()
    with pytest.raises(StoreError, match="not open for writing"):
        closed.append(make_episode(image_spec))


def test_unknown_index_and_missing_file_are_named(filled: EpisodeStore) -> None:
    for index in (4, -1):
        with pytest.raises(StoreError, match=f"no episode {index}; it holds 4"):
            filled.episode(index)
    filled.episode_path(1).unlink()
    with pytest.raises(StoreError, match=r"episode_000001\.zarr\.zip' is gone"):
        filled.episode(1)


def test_create_and_open_say_what_is_there(
    tmp_path: Path, filled: EpisodeStore, image_spec: DataSpec, spec: DataSpec
) -> None:
    with pytest.raises(StoreError, match="already holds an episode store"):
        EpisodeStore.create(filled.path, image_spec)
    with pytest.raises(StoreError, match=r"nowhere' is not an episode store"):
        EpisodeStore.open(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"images\.front'\]: \(64, 64, 3\) and missing"):
        EpisodeStore.open_or_create(filled.path, spec)
    with EpisodeStore.open_or_create(filled.path, image_spec) as store:
        assert len(store) == 4
    with EpisodeStore.open_or_create(tmp_path / "new", spec) as store:
        assert len(store) == 0


def test_store_of_a_newer_version_asks_for_an_upgrade(filled: EpisodeStore) -> None:
    rewrite_json(filled.path / "store.json", format_version=4)
    with pytest.raises(StoreError, match=r"store\.json' has format_version 4.*upgrade"):
        EpisodeStore.open(filled.path)


def test_episode_of_a_newer_version_is_kept_and_asks_for_an_upgrade(filled: EpisodeStore) -> None:
    path = filled.episode_path(3)
    path.unlink()
    with ZipStore(path, mode="w") as zipped:
        zarr.create_group(zipped, attributes={"format_version": 7, "layout": "unheard of"})
    for access in (filled.episode, filled.summary):
        with pytest.raises(StoreError, match=r"episode_000003.*format_version 7.*upgrade"):
            access(3)
    with pytest.raises(StoreError, match="upgrade"):
        EpisodeStore.open(filled.path, writable=True)
    assert path.exists()


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"format_version": 1}', '{"format_version": 1, "spec": {"a": 1}}']
)
def test_damaged_store_json_is_named(filled: EpisodeStore, content: str) -> None:
    (filled.path / "store.json").write_text(content)
    with pytest.raises(StoreError, match=r"store\.json' is damaged"):
        EpisodeStore.open(filled.path)


@pytest.mark.slow
def test_any_flipped_byte_is_noticed_or_harmless(filled: EpisodeStore) -> None:
    """No flipped byte anywhere in a file ever yields other data than was recorded."""
    path = filled.episode_path(0)
    original, expected = path.read_bytes(), filled.episode(0)
    rng = np.random.default_rng(0)
    # The metadata and the directory sit at the two ends; pixels fill the middle.
    ends = [*rng.integers(0, 3000, 40), *(len(original) - 1 - rng.integers(0, 3000, 40))]
    messages: list[str] = []
    for position in [*ends, *rng.integers(0, len(original), 20)]:
        damaged = bytearray(original)
        damaged[position] ^= 0xFF
        path.write_bytes(damaged)
        try:
            assert_same(filled.episode(0), expected)
        except StoreError as error:
            messages.append(str(error))
    assert len(messages) > 40
    assert all("episode_000000.zarr.zip" in message for message in messages)
    assert all("copy it again" in message for message in messages)


def test_writer_sets_truncated_files_aside_and_goes_on(
    filled: EpisodeStore, image_spec: DataSpec, make_episode: EpisodeMaker
) -> None:
    content = filled.episode_path(1).read_bytes()
    for size in (0, 1, 100, len(content) // 2, len(content) - 1):
        filled.episode_path(1).write_bytes(content[:size])
        for access in (filled.episode, filled.summary):
            with pytest.raises(StoreError, match=rf"0001\.zarr\.zip' is damaged \({size:,} bytes"):
                access(1)
    with pytest.warns(UserWarning, match=r"set aside: .*episode_000001\.zarr\.zip"):
        writer = EpisodeStore.open(filled.path, writable=True)
    with writer:
        assert [s.metadata["seed"] for s in writer.summaries()] == [0, 2, 3]
        assert writer.append(make_episode(image_spec, seed=8)) == 3
        assert writer.episode_path(3).name == "episode_000004.zarr.zip"
    assert (filled.path / "set_aside" / "episode_000001.zarr.zip").exists()


def test_what_the_system_refuses_is_not_damaged(filled: EpisodeStore) -> None:
    """A writer sets damaged files aside; one that cannot be opened just now must stay."""
    filled.episode(0)
    next_file = os.open(os.devnull, os.O_RDONLY)
    os.close(next_file)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next_file, hard))
    try:
        for access in (filled.episode, filled.summary):
            with pytest.raises(StoreError, match="Too many open files") as error:
                access(1)
            assert not isinstance(error.value, DamagedEpisodeError)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert filled.episode(1).length


def test_file_name_of_a_set_aside_episode_is_not_used_again(
    filled: EpisodeStore, image_spec: DataSpec, make_episode: EpisodeMaker
) -> None:
    filled.episode_path(3).write_bytes(b"broken")
    with pytest.warns(UserWarning, match="set aside"):
        writer = EpisodeStore.open(filled.path, writable=True)
    with writer:
        assert writer.append(make_episode(image_spec)) == 3
        assert writer.episode_path(3).name == "episode_000004.zarr.zip"


def test_verify_finds_damaged_pixels(filled: EpisodeStore) -> None:
    path = filled.episode_path(2)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    (message,) = filled.verify()
    assert "episode_000002.zarr.zip" in message
    assert len(filled) == 4
    with warnings.catch_warnings(), EpisodeStore.open(filled.path, writable=True) as writer:
        warnings.simplefilter("ignore")
        assert len(writer.verify()) == 1
        assert [s.metadata["seed"] for s in writer.summaries()] == [0, 1, 3]
        assert [writer.episode(i).metadata["seed"] for i in range(3)] == [0, 1, 3]
        assert writer.verify() == []


def test_checksum_catches_what_the_zip_cannot(filled: EpisodeStore) -> None:
    """Other numbers in a well-formed zip; a missing chunk, which Zarr would read as zeros."""
    path = filled.episode_path(0)
    chunk = "data/action/c/0/0"
    with zipfile.ZipFile(path) as old:
        entries = {name: old.read(name) for name in old.namelist()}
    length, width = filled.episode(0).actions.shape
    other = {chunk: compress(bytes(4 * length * width), 1)}
    for changed, message in (
        (entries | other, "checksum of 'data/action' does not match"),
        ({name: entries[name] for name in entries if name != chunk}, "'action' has 0 of 1 chunks"),
    ):
        with zipfile.ZipFile(path, "w") as new:
            for name, content in changed.items():
                new.writestr(name, content)
        with pytest.raises(StoreError, match=message):
            filled.episode(0)


def test_second_writer_in_this_process_is_refused(filled: EpisodeStore) -> None:
    with EpisodeStore.open(filled.path, writable=True):
        with pytest.raises(StoreError, match="already has a writer"):
            EpisodeStore.open(filled.path, writable=True)
        assert len(EpisodeStore.open(filled.path)) == 4
    EpisodeStore.open(filled.path, writable=True).close()


# ---- older formats ------------------------------------------------------------------------------

V1 = Path(__file__).parent / "fixtures" / "store_v1"
"""Written by softflow 0.1.0's format 1: episodes of 5 and 3 steps with a camera, seeds 0 and 1."""


@pytest.fixture
def old_store(tmp_path: Path) -> Path:
    shutil.copytree(V1, tmp_path / "old")
    return tmp_path / "old"


def assert_of_format_1(episode: Episode, seed: int, length: int) -> None:
    """The content that was generated when the files were written."""
    rng = np.random.default_rng(seed)
    state = rng.normal(size=(length + 1, 3)).astype(np.float32)
    images = rng.integers(0, 256, (length + 1, 8, 8, 3), dtype=np.uint8)
    actions = rng.uniform(-1, 1, (length, 2)).astype(np.float32)
    np.testing.assert_array_equal(episode.observations["observation.state"], state)
    np.testing.assert_array_equal(episode.observations[CAMERA], images)
    np.testing.assert_array_equal(episode.actions, actions)
    assert (episode.success, episode.rewards[-1]) == (seed == 0, float(seed == 0))


def test_episodes_of_format_1_are_read(old_store: Path) -> None:
    store = EpisodeStore.open(old_store)
    assert store.verify() == []
    for seed, length in ((0, 5), (1, 3)):
        assert_of_format_1(store.episode(seed), seed, length)
        assert store.summary(seed).length == length
    dataset = ChunkDataset(store, ChunkSpec(2, 2))
    batch = dataset.gather(np.arange(8))
    frames = store.episode(0).observations[CAMERA]
    np.testing.assert_array_equal(batch.observation[CAMERA][:5, 0].numpy(), frames[:5])
    np.testing.assert_array_equal(batch.next_observation[CAMERA][4, 0].numpy(), frames[5])


def test_a_store_of_format_1_grows_in_todays_format(
    old_store: Path, make_episode: EpisodeMaker
) -> None:
    before = (old_store / "episodes" / "episode_000000.zarr.zip").read_bytes()
    with EpisodeStore.open(old_store, writable=True) as store:
        new = make_episode(store.spec, length=4, seed=5)
        assert store.append(new) == 2
    again = EpisodeStore.open(old_store)
    assert_of_format_1(again.episode(0), 0, 5)
    assert_same(again.episode(2), new)
    assert json.loads((old_store / "store.json").read_text())["format_version"] == 2
    assert (old_store / "episodes" / "episode_000000.zarr.zip").read_bytes() == before
