"""Names in a store that are no files: they neither hang it nor go unsaid."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from toy_episodes import EpisodeMaker

from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Label
from softflow.errors import StoreError


@pytest.fixture
def path(tmp_path: Path, spec: DataSpec, make_episode: EpisodeMaker) -> Path:
    with EpisodeStore.create(tmp_path / "store", spec) as store:
        store.append(make_episode(spec))
        store.label(0, Label("anna", ()))
    return tmp_path / "store"


def pipe(path: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path) -> None:
    # The name of a socket holds 107 bytes.
    os.chdir(path.parent)
    socket.socket(socket.AF_UNIX).bind(path.name)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def dangling(path: Path) -> None:
    path.symlink_to("/nowhere/at/all")


def circle(path: Path) -> None:
    path.symlink_to(path.name)


KINDS = [pipe, unix_socket, device, folder, dangling, circle]
FILES = [
    "store.json",
    "writer.lock",
    "episodes/episode_000000.zarr.zip",
    "labels/episode_000000.000.*.json",
]


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_is_named(
    path: Path, name: str, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path)
    file = next(path.glob(name))
    file.unlink()
    make(file)
    with pytest.raises(StoreError, match=r"is a |cannot ") as caught:
        EpisodeStore.open(path, writable=True)
    assert file.name in str(caught.value)
    assert not (path / "set_aside").exists()


@pytest.mark.parametrize("make", KINDS)
def test_what_has_another_name_does_not_matter(
    path: Path, make: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path)
    for name in ("notes", "episodes/notes", "labels/notes", "episodes/.half.tmp"):
        make(path / name)
    with EpisodeStore.open(path, writable=True) as store:
        assert (len(store), store.verify()) == (1, [])


@pytest.mark.parametrize("name", ["episodes", "labels"])
def test_a_folder_that_is_no_folder_is_named(path: Path, name: str) -> None:
    shutil.rmtree(path / name)
    (path / name).symlink_to("/nowhere/at/all")
    with pytest.raises(StoreError, match=name):
        EpisodeStore.open(path, writable=True)
    (path / name).unlink()
    (path / name).write_text("a file")
    with pytest.raises(StoreError, match="cannot"):
        EpisodeStore.open(path, writable=True)


@pytest.mark.parametrize("elsewhere", [True, False])
def test_append_to_a_store_that_is_gone(
    path: Path, spec: DataSpec, make_episode: EpisodeMaker, elsewhere: bool
) -> None:
    with EpisodeStore.open(path, writable=True) as store:
        moved = path.with_name("moved")
        path.rename(moved)
        if not elsewhere:
            shutil.rmtree(moved)
        for _ in range(2):
            with pytest.raises(StoreError, match="gone, or was moved away"):
                store.append(make_episode(spec))
        assert not path.exists()
        if elsewhere:
            moved.rename(path)
            assert store.append(make_episode(spec)) == 1
