"""A cache that is damaged, stale, of other data or not writable never spoils a batch."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flat_stores import (
    SPEC,
    STATE,
    assert_same,
    column,
    filled_store,
    in_ram,
    mapped,
    random_episode,
)

from softflow.data.episode_store import EpisodeStore
from softflow.errors import StoreError


def spoil_index(cache: Path, change: Callable[[dict[str, Any]], object]) -> None:
    value = json.loads((cache / "index.json").read_text())
    change(value)
    (cache / "index.json").write_text(json.dumps(value))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "index is no JSON": (lambda c: (c / "index.json").write_bytes(b"{"), "not JSON"),
    "index is empty": (lambda c: (c / "index.json").write_bytes(b""), "not JSON"),
    "index is a list": (lambda c: (c / "index.json").write_text("[1]"), "is damaged"),
    "index lacks a part": (
        lambda c: spoil_index(c, lambda value: value.pop("content")),
        "is damaged",
    ),
    "index changed": (
        lambda c: spoil_index(c, lambda value: value["content"].update(length=[9, 5])),
        "checksum of .*index",
    ),
    "other version": (
        lambda c: spoil_index(c, lambda value: value.update(cache_version=99)),
        "cache_version 99",
    ),
    "bit flipped": (lambda c: flip(column(c, STATE)), "checksum of .*state"),
    "column cut": (lambda c: os.truncate(column(c, "action"), 40), "action.*bytes short"),
    "column gone": (lambda c: column(c, "next.reward").unlink(), "reward.*No such file"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_cache_is_built_anew(tmp_path: Path, kind: str) -> None:
    store = filled_store(tmp_path / "store", [5, 9])
    mapped(store)
    damage, message = DAMAGE[kind]
    damage(store.path / "cache")
    with pytest.warns(UserWarning, match=f"building the cache .* anew: .*{message}"):
        dataset = mapped(store)
    assert_same(dataset, in_ram(store))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(mapped(store), dataset)
    assert len(list((store.path / "cache").glob("columns_*"))) == 1


def test_replaced_episode_is_noticed(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", [5, 9])
    mapped(store)
    other = filled_store(tmp_path / "other", [3, 9, 5])
    other.episode_path(2).replace(store.episode_path(0))
    with pytest.warns(UserWarning, match="replaced or set aside"):
        dataset = mapped(store)
    assert_same(dataset, in_ram(store))


def test_cache_of_other_data_is_not_used(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", [5, 9])
    mapped(store)
    other_spec = dataclasses.replace(SPEC, observation_shapes={STATE: (3,)})
    other = EpisodeStore.create(tmp_path / "other", other_spec)
    episode = random_episode(0, 5)
    other.append(dataclasses.replace(episode, observations={STATE: episode.observations[STATE]}))
    (store.path / "cache").rename(other.path / "cache")
    with pytest.warns(UserWarning, match="another spec"):
        dataset = mapped(other)
    assert_same(dataset, in_ram(other))


def test_open_dataset_survives_a_rebuild(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", [5, 9])
    dataset = mapped(store)
    (store.path / "cache" / "index.json").write_bytes(b"")
    with pytest.warns(UserWarning, match="anew"):
        mapped(store)
    assert_same(dataset, in_ram(store))


def test_unusable_folder_means_ram_and_a_warning(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", [5, 9])
    (store.path / "cache").write_text("a file where the folder should be")
    with pytest.warns(
        UserWarning, match="cannot write the cache .*give cache_folder=.* read into RAM"
    ):
        dataset = mapped(store)
    assert_same(dataset, in_ram(store))


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Makes a folder read-only, for root too where mounting is permitted."""
    mounted: list[Path] = []

    def protect(folder: Path) -> None:
        if os.geteuid():
            for path in [folder, *folder.rglob("*")]:
                path.chmod(0o555 if path.is_dir() else 0o444)
            return
        bind = ["mount", "--bind", str(folder), str(folder)]
        try:
            done = subprocess.run(bind, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("no mount command here")
        if done.returncode:
            pytest.skip("mounting is not permitted here")
        mounted.append(folder)
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)

    yield protect
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
    for path in [tmp_path, *tmp_path.rglob("*")]:
        if path.is_dir():
            path.chmod(0o755)


def test_read_only_store(tmp_path: Path, read_only: Callable[[Path], None]) -> None:
    bare = filled_store(tmp_path / "bare", [5, 9])
    cached = filled_store(tmp_path / "cached", [5, 9])
    mapped(cached)
    for store in (bare, cached):
        read_only(store.path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(mapped(cached), in_ram(cached))
        assert_same(mapped(bare, cache_folder=tmp_path / "caches"), in_ram(bare))
    with pytest.warns(UserWarning, match="cannot write the cache"):
        dataset = mapped(bare)
    assert_same(dataset, in_ram(bare))


def test_damaged_episode_is_named(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", [5, 9])
    content = store.episode_path(1).read_bytes()
    store.episode_path(1).write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match="episode_000001"):
        mapped(store, episodes=[0])
