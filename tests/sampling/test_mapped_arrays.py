"""A cache that is damaged, of other data or not writable never spoils a batch."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flat_stores import (
    SPEC,
    STATE,
    assert_same,
    cached_file,
    filled_store,
    in_ram,
    mapped,
    random_episode,
)

from softflow.data.episode_store import EpisodeStore
from softflow.sampling.mapped_arrays import CHECKSUMS


def flip(path: Path, place: float) -> None:
    """Change one bit, at this share of the file."""
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 1
    path.write_bytes(content)


def other_checksums(cache: Path, **changed: int) -> None:
    path = cached_file(cache, CHECKSUMS)
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "checksums are no JSON": (lambda c: cached_file(c, CHECKSUMS).write_bytes(b"{"), "not JSON"),
    "checksums are empty": (lambda c: cached_file(c, CHECKSUMS).write_bytes(b""), "not JSON"),
    "checksums are a list": (
        lambda c: cached_file(c, CHECKSUMS).write_text("[1]"),
        "does not name its arrays",
    ),
    "checksums name another file": (
        lambda c: other_checksums(c, more=1),
        "does not name its arrays",
    ),
    "checksum changed": (lambda c: other_checksums(c, action=1), "checksum of .*action"),
    **{
        f"bit flipped in {name} at {place}": (
            lambda c, name=name, place=place: flip(cached_file(c, f"{name}.npy"), place),
            f"checksum of .*{name}",
        )
        for name in (STATE, "observation.pose", "action", "next.reward")
        for place in (0.0, 0.99)
    },
    "file cut": (lambda c: os.truncate(cached_file(c, "action.npy"), 40), "checksum of .*action"),
    "file empty": (lambda c: os.truncate(cached_file(c, "action.npy"), 0), "checksum of .*action"),
    "file gone": (lambda c: cached_file(c, "next.reward.npy").unlink(), "No such file.*reward"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_cache_is_built_anew(tmp_path: Path, kind: str) -> None:
    store = filled_store(tmp_path / "store", [5, 9])
    mapped(store)
    damage, message = DAMAGE[kind]
    damage(store.path / "cache")
    with pytest.warns(UserWarning, match=f"the cache .* is damaged and not used: .*{message}"):
        dataset = mapped(store)
    assert_same(dataset, in_ram(store))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(mapped(store), dataset)
    assert len(list((store.path / "cache").iterdir())) == 2


def test_folder_without_checksums_is_half_removed_and_no_damage(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", [5, 9])
    mapped(store)
    cached_file(store.path / "cache", CHECKSUMS).unlink()
    cached_file(store.path / "cache", "action.npy").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_same(mapped(store), in_ram(store))


def test_cache_of_other_data_is_not_used(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", [5, 9])
    mapped(store)
    other_spec = dataclasses.replace(SPEC, observation_shapes={STATE: (3,)})
    other = EpisodeStore.create(tmp_path / "other", other_spec)
    episode = random_episode(0, 5)
    other.append(dataclasses.replace(episode, observations={STATE: episode.observations[STATE]}))
    (store.path / "cache").rename(other.path / "cache")
    assert_same(mapped(other), in_ram(other))
    assert len(list((other.path / "cache").iterdir())) == 2


def test_open_dataset_survives_a_rebuild(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", [5, 9])
    dataset = mapped(store)
    cached_file(store.path / "cache", CHECKSUMS).write_bytes(b"")
    with pytest.warns(UserWarning, match="damaged"):
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


FULL = """
import resource, sys, warnings
from softflow.data.chunk_spec import ChunkSpec
from softflow.data.episode_store import EpisodeStore
from softflow.sampling.chunk_dataset import ChunkDataset
store = EpisodeStore.open(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with warnings.catch_warnings(record=True) as told:
    print(ChunkDataset(store, ChunkSpec(4, 4), ram_bytes=0).num_windows)
print(told[0].message)
"""


@pytest.mark.slow
def test_full_disk_means_ram_and_a_warning(tmp_path: Path) -> None:
    """A limit of the size of files refuses as a full disk does, in the middle of writing."""
    store = filled_store(tmp_path / "store", [50, 90])
    script = [sys.executable, "-c", FULL, str(store.path)]
    done = subprocess.run(script, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.startswith("140\ncannot write the cache"), done.stdout
    assert [path.name for path in (store.path / "cache").iterdir()] == ["lock"]


def test_what_an_older_softflow_left_is_removed(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "store", [5, 9])
    (store.path / "cache" / "columns_1f3a9c2e").mkdir(parents=True)
    (store.path / "cache" / "columns_1f3a9c2e" / "action.f32").write_bytes(b"rows")
    (store.path / "cache" / "index.json").write_text("{}")
    mapped(store)
    assert len(list((store.path / "cache").iterdir())) == 2
