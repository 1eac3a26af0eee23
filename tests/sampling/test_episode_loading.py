"""Mapped arrays give the very batches that RAM gives, as stores grow and are relabelled."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from flat_stores import (
    CHUNK,
    assert_same,
    cached_files,
    filled_store,
    in_ram,
    mapped,
    random_episode,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Event, Label, LabelledKind
from softflow.errors import DataError, StoreError
from softflow.sampling.chunk_dataset import ChunkDataset


@st.composite
def chunk_specs(draw: st.DrawFn) -> ChunkSpec:
    chunk_length = draw(st.sampled_from([1, 2, 3, 6, 40]))
    execution_horizon = draw(st.integers(1, chunk_length))
    return ChunkSpec(
        chunk_length,
        execution_horizon,
        draw(st.sampled_from([0, 1, 3, 35])),
        draw(st.integers(1, 4)),
    )


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(
    chunk=chunk_specs(),
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    labelled=st.sets(st.integers(0, 3)),
    data=st.data(),
)
def test_mapped_batches_are_those_of_ram(
    chunk: ChunkSpec, lengths: list[int], labelled: set[int], data: st.DataObject
) -> None:
    numbers = st.integers(0, len(lengths) - 1)
    episodes = data.draw(st.none() | st.lists(numbers, min_size=1, max_size=5))
    with tempfile.TemporaryDirectory() as folder:
        store = filled_store(Path(folder) / "store", lengths)
        for index in labelled & set(range(len(lengths))):
            step = data.draw(st.integers(0, lengths[index] - 1))
            kind: LabelledKind = data.draw(st.sampled_from(get_args(LabelledKind)))
            store.label(index, Label("anna", (Event(step, kind, -1.5),)))
        assert_same(mapped(store, chunk, episodes=episodes), in_ram(store, chunk, episodes))


def test_small_data_makes_no_files(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", [5, 9])
    ChunkDataset(store, CHUNK)
    assert not (store.path / "cache").exists()


def test_the_same_episodes_are_mapped_from_the_same_files(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", [5, 9])
    mapped(store)
    before = cached_files(store)
    mapped(EpisodeStore.open(store.path))
    assert cached_files(store) == before


def test_mapped_dataset_grows(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", [5, 9])
    dataset = mapped(store)
    before, twin = cached_files(store), mapped(EpisodeStore.open(store.path))
    with EpisodeStore.open(store.path, writable=True) as writer:
        writer.append(random_episode(7, 4))
    assert dataset.add_new_episodes() == 1
    assert_same(dataset, in_ram(store))
    assert cached_files(store).keys().isdisjoint(before)
    assert len(cached_files(store)) == len(before)
    # Who has mapped the removed files goes on with them.
    assert_same(twin, in_ram(store, episodes=[0, 1]))


def test_dataset_grows_out_of_ram_into_the_cache(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", [50, 50])
    dataset = ChunkDataset(store, CHUNK, episodes=[1], ram_bytes=4000)
    assert not (store.path / "cache").exists()
    dataset.add_episodes([0, 1])
    assert (store.path / "cache").exists()
    assert_same(dataset, in_ram(store, episodes=[1, 0, 1]))


def test_relabelled_episodes_are_mapped_anew(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", [5, 9, 6])
    recorded = mapped(store)
    before = cached_files(store)
    store.label(1, Label("anna", (Event(3, "success", 2.0),)))
    assert_same(mapped(store), in_ram(store))
    assert mapped(store).num_windows == recorded.num_windows - 5
    assert cached_files(store).keys().isdisjoint(before)
    store.label(1, Label("bert", (Event(8, "failure", -1.0),)))
    assert_same(mapped(store), in_ram(store))
    store.label(1, Label("anna", (), withdrawn=True))
    assert_same(mapped(store), recorded)
    assert cached_files(store).keys() == before.keys()


@pytest.mark.parametrize("ram_bytes", [0, 10**12])
def test_windows_keep_their_numbers_when_an_old_episode_is_relabelled(
    tmp_path: Path, ram_bytes: int
) -> None:
    store = filled_store(tmp_path / "store", [5, 9])
    dataset = ChunkDataset(store, CHUNK, ram_bytes=ram_bytes)
    expected = dataset.gather(np.arange(16))
    with EpisodeStore.open(store.path, writable=True) as writer:
        writer.label(0, Label("anna", (Event(1, "success", 2.0),)))
        writer.append(random_episode(7, 4))
    dataset.add_new_episodes()
    assert dataset.num_windows == 18 + 3
    again = dataset.gather(np.arange(16))
    assert torch.equal(again.rewards, expected.rewards)
    assert torch.equal(again.bootstrap_mask, expected.bootstrap_mask)


def test_stores_share_a_cache_folder(tmp_path: Path) -> None:
    folder = tmp_path / "caches"
    stores = [filled_store(tmp_path / part / "store", [5 + i]) for i, part in enumerate("ab")]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for store in [*stores, *stores]:
            assert_same(mapped(store, cache_folder=folder), in_ram(store))
            assert not (store.path / "cache").exists()
    assert len(list(folder.iterdir())) == 2


def test_replaced_episode_is_read_anew(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", [5, 9])
    mapped(store)
    other = filled_store(tmp_path / "other", [3, 9, 5])
    other.episode_path(2).replace(store.episode_path(0))
    with pytest.raises(StoreError, match=r"episode_000000.* has success True, and had False"):
        mapped(store)
    again = EpisodeStore.open(store.path)
    assert_same(mapped(again), in_ram(again))


def test_damaged_episode_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", [5, 9])
    dataset = mapped(store, episodes=[0])
    content = store.episode_path(1).read_bytes()
    store.episode_path(1).write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match="episode_000001"):
        dataset.add_episodes([1])
    assert_same(dataset, in_ram(store, episodes=[0]))
    assert not list((store.path / "cache").glob(".*"))


def test_label_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", [5, 9])
    store.label(1, Label("anna", (Event(8, "success", 1.0),)))
    label = next((store.path / "labels").iterdir())
    label.rename(label.with_name(label.name.replace("000001", "000000")))
    store.refresh()
    for ram_bytes in (0, 10**12):
        with pytest.raises(DataError, match="anna put an event at step 8"):
            ChunkDataset(store, CHUNK, ram_bytes=ram_bytes)
