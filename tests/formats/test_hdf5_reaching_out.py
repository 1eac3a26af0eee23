"""HDF5 files of strangers that reach out of the file, or ask for code to be loaded."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t  # pyright: ignore[reportAttributeAccessIssue]
from strange_hdf5 import ALL_PLACES, KINDS, STEPS, changed, read_all, refused, written
from strangers import Bomb, Outside


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_healthy_files_are_read(tmp_path: Path, outside: Outside, kind: str) -> None:
    with outside.watched():
        assert [episode.length for episode in read_all(written(tmp_path, kind), kind)] == [6, 6]


# ---- nothing outside the file ------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "place"), ALL_PLACES)
def test_links_to_another_file(tmp_path: Path, outside: Outside, kind: str, place: str) -> None:
    other = written(outside.folder, kind)
    path = written(tmp_path, kind)

    def change(file: Any) -> None:
        del file[place]
        file[place] = h5py.ExternalLink(str(other), f"/{place}")

    assert "to another file" in refused(changed(path, change), kind, outside)


@pytest.mark.parametrize(("kind", "place"), ALL_PLACES)
def test_soft_links_in_the_file_are_followed_and_those_out_of_it_or_in_a_circle_are_not(
    tmp_path: Path, outside: Outside, kind: str, place: str
) -> None:
    other = written(outside.folder, kind)

    def moved(file: Any, target: Callable[[Any], str]) -> None:
        file.move(place, "elsewhere")
        file[place] = h5py.SoftLink(target(file))

    def by_another_file(file: Any) -> str:
        file["door"] = h5py.ExternalLink(str(other), "/")
        return f"/door/{place}"

    path = written(tmp_path, kind)
    expected = read_all(path, kind)
    changed(path, lambda file: moved(file, lambda _: "/elsewhere"))
    with outside.watched():
        for found, episode in zip(read_all(path, kind), expected, strict=True):
            np.testing.assert_array_equal(found.actions, episode.actions)
    path = changed(written(tmp_path, kind), lambda file: moved(file, by_another_file))
    assert "to another file" in refused(path, kind, outside)
    path = changed(written(tmp_path, kind), lambda file: moved(file, lambda _: f"/{place}"))
    assert "in a circle" in refused(path, kind, outside)


def external(file: Any, place: str, raw: Path) -> None:
    shape, dtype = file[place].shape, file[place].dtype
    del file[place]
    size = int(np.prod(shape)) * dtype.itemsize
    file.create_dataset(place, shape, dtype, external=[(str(raw), 0, size)])


def virtual(file: Any, place: str, source: Path) -> None:
    shape, dtype = file[place].shape, file[place].dtype
    del file[place]
    layout = h5py.VirtualLayout(shape, dtype)
    layout[...] = h5py.VirtualSource(source, f"/{place}", shape)
    file.create_virtual_dataset(place, layout)


def virtual_of_any_length(file: Any, place: str, source: Path) -> None:
    """HDF5 opens the sources of such an array when only its shape is asked for."""
    dtype = file[place].dtype
    del file[place]
    space = h5s.create_simple((0,), (h5s.UNLIMITED,))
    settings = h5p.create(h5p.DATASET_CREATE)
    space.select_hyperslab((0,), (h5s.UNLIMITED,), (1,), (1,))
    settings.set_virtual(space, bytes(source), place.encode(), space)
    h5d.create(file.id, place.encode(), h5t.py_create(dtype), space, settings)


@pytest.mark.parametrize("how", [external, virtual, virtual_of_any_length])
@pytest.mark.parametrize(
    ("kind", "place"),
    [
        (kind, place)
        for kind, place in ALL_PLACES
        if place.split("/")[-1]
        not in ("data", "mask", "demo_0", "obs", "episode_0", "observations", "infos")
        or (kind, place) == ("d4rl", "observations")
    ],
)
def test_arrays_in_other_files(
    tmp_path: Path, outside: Outside, kind: str, place: str, how: Callable[..., None]
) -> None:
    source = outside.secret if how is external else written(outside.folder, kind)
    path = changed(written(tmp_path, kind), lambda file: how(file, place, source))
    assert "lies in other files" in refused(path, kind, outside).replace("lies", "lies")


def test_links_of_a_kind_nobody_registered(tmp_path: Path, outside: Outside, kind: str) -> None:
    """An external link whose type (64) becomes one that a library would have to register."""
    place = KINDS[kind][2]
    path = written(tmp_path, kind)

    def change(file: Any) -> None:
        del file[place]
        file[place] = h5py.ExternalLink("another_file", "/")

    content = bytearray(changed(path, change).read_bytes())
    name = place.rpartition("/")[2].encode()
    at = content.index(name + b"\x10\x00\x00another_file") - 2
    assert content[at] == 64
    content[at] = 200
    path.write_bytes(content)
    assert "softflow does not follow" in refused(path, kind, outside)


def test_references_lead_nowhere(tmp_path: Path, outside: Outside) -> None:
    """In arrays, attributes and masks they are values, of the wrong kind."""
    path = written(tmp_path, "robomimic")

    def change(file: Any) -> None:
        reference = file["data/demo_1"].ref
        file["data"].attrs["model"] = reference
        file["data/demo_0"].attrs["many"] = np.array([reference] * 3, h5py.ref_dtype)
        del file["mask/train"]
        file.create_dataset("mask/train", data=np.array([reference], h5py.ref_dtype))
        file.create_dataset("mask/numbers", data=np.arange(3))

    with outside.watched():
        assert len(read_all(changed(path, change), "robomimic")) == 2
    changed(path, lambda file: file.__delitem__("data/demo_0/rewards"))
    changed(
        path,
        lambda file: file.create_dataset(
            "data/demo_0/rewards", data=np.array([file["data"].ref] * STEPS, h5py.ref_dtype)
        ),
    )
    assert "not numbers over time" in refused(path, "robomimic", outside)


def test_a_group_that_holds_itself(tmp_path: Path, outside: Outside) -> None:
    path = written(tmp_path, "minari")

    def change(file: Any) -> None:
        for number in range(10):
            file[f"episode_0/observations/again_{number}"] = file["episode_0/observations"]

    assert "holds more than 1000" in refused(changed(path, change), "minari", outside)


# ---- no foreign code ---------------------------------------------------------------------------


@pytest.mark.parametrize("number", [32001, 32015, 307, 4, 6, 5, 65535])
def test_filters_are_not_loaded(
    tmp_path: Path, outside: Outside, kind: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HDF5_PLUGIN_PATH", str(outside.folder))
    place = KINDS[kind][2]
    path = written(tmp_path, kind)

    def change(file: Any) -> None:
        shape, dtype = file[place].shape, file[place].dtype
        del file[place]
        settings = h5p.create(h5p.DATASET_CREATE)
        settings.set_chunk(shape)
        settings.set_deflate(1)
        space = h5s.create_simple(shape)
        made = h5d.create(file.id, place.encode(), h5t.py_create(dtype), space, settings)
        made.write_direct_chunk((0, 0), zlib.compress(bytes(shape[0] * shape[1] * 8)))

    changed(path, change)
    content = bytearray(path.read_bytes())
    # The filter's number in the pipeline message, version 1: gzip is 1, its name "deflate".
    at = content.rindex(b"deflate\0") - 8
    assert content[at : at + 2] == b"\x01\x00"
    content[at : at + 2] = number.to_bytes(2, "little")
    path.write_bytes(content)
    assert f"filter {number}" in refused(path, kind, outside)


def test_compressors_one_upon_the_other(tmp_path: Path, outside: Outside, kind: str) -> None:
    place = KINDS[kind][2]

    def change(file: Any) -> None:
        shape, dtype = file[place].shape, file[place].dtype
        del file[place]
        settings = h5p.create(h5p.DATASET_CREATE)
        settings.set_chunk(shape)
        settings.set_deflate(1)
        settings.set_deflate(1)
        space = h5s.create_simple(shape)
        h5d.create(file.id, place.encode(), h5t.py_create(dtype), space, settings)

    path = changed(written(tmp_path, kind), change)
    assert "the filters [1, 1]" in refused(path, kind, outside)


def test_objects_in_attributes_are_text(tmp_path: Path, outside: Outside) -> None:
    import pickle

    path = written(tmp_path, "robomimic")
    bomb = np.void(pickle.dumps(Bomb(outside.mark)))

    def change(file: Any) -> None:
        file["data"].attrs["model"] = bomb
        file["data/demo_0"].attrs["state"] = bomb

    with outside.watched():
        read_all(changed(path, change), "robomimic")
