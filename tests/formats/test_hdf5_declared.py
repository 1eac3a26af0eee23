"""HDF5 files of strangers that declare more than they hold; paths that lead out of a folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from strange_hdf5 import KINDS, changed, read_all, refused, written
from strangers import Outside, deflate_bomb

from softflow.data.files.limits import EPISODE_LIMIT_VARIABLE, GIB
from softflow.errors import DataError
from softflow.formats.robomimic.record import PACKED, unpacked


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("chunked", [True, False])
def test_arrays_that_were_never_written(
    tmp_path: Path, outside: Outside, kind: str, chunked: bool
) -> None:
    place = KINDS[kind][2]

    def change(file: Any) -> None:
        del file[place]
        options = {"chunks": (1000, 2), "compression": "gzip"} if chunked else {}
        file.create_dataset(place, (10**9, 2), np.float64, **options)

    message = refused(changed(written(tmp_path, kind), change), kind, outside)
    assert re.search("not all of it was written|at most|different lengths", message)


@pytest.mark.parametrize("chunked", [True, False])
def test_cameras_that_were_never_written(tmp_path: Path, outside: Outside, chunked: bool) -> None:
    for kind, place in (
        ("robomimic", "data/demo_0/obs/front_image"),
        ("minari", "episode_0/observations/camera"),
    ):

        def change(file: Any, place: str = place) -> None:
            steps = file[place].shape[0]
            del file[place]
            chunks = (1, 4000, 4000, 3) if chunked else None
            file.create_dataset(place, (steps, 4000, 4000, 3), np.uint8, chunks=chunks)

        message = refused(changed(written(tmp_path, kind), change), kind, outside)
        assert "not all of it was written" in message


def test_a_chunk_that_decodes_to_more_than_it_declares(
    tmp_path: Path, outside: Outside, kind: str
) -> None:
    """HDF5 alone would inflate all of it: 1 MB to 1 GB."""
    place = KINDS[kind][2]
    bomb = deflate_bomb(GIB)
    assert len(bomb) < 1_200_000

    def change(file: Any) -> None:
        shape = file[place].shape
        del file[place]
        array = file.create_dataset(place, shape, np.float64, chunks=shape, compression="gzip")
        array.id.write_direct_chunk((0, 0), bomb)

    message = refused(changed(written(tmp_path, kind), change), kind, outside)
    assert "decodes to more than the" in message


def test_chunks_larger_than_are_read(tmp_path: Path, outside: Outside, kind: str) -> None:
    place = KINDS[kind][2]

    def change(file: Any) -> None:
        shape, dtype = file[place].shape, file[place].dtype
        del file[place]
        file.create_dataset(
            place, shape, dtype, maxshape=(None, 2), chunks=(2**27, 2), compression="gzip"
        )

    message = refused(changed(written(tmp_path, kind), change), kind, outside)
    assert "declares chunks of 2,147,483,648 bytes" in message


def test_an_episode_is_held_against_one_limit(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, kind)
    monkeypatch.setenv(EPISODE_LIMIT_VARIABLE, str(300 / GIB))
    with pytest.raises(DataError, match=r"at most 300 are read.*SOFTFLOW_MAX_EPISODE_GIB"):
        read_all(path, kind)
    monkeypatch.setenv(EPISODE_LIMIT_VARIABLE, str(50_000 / GIB))
    read_all(path, kind)


def test_attributes_and_masks_of_any_size(tmp_path: Path, outside: Outside) -> None:
    path = written(tmp_path, "robomimic")

    def many_texts(file: Any) -> None:
        texts = np.array(["x" * 1000] * 1000, h5py.string_dtype())
        file["data"].attrs.create("texts", texts, dtype=h5py.string_dtype())

    with h5py.File(path, "w", libver="latest") as file:
        data = file.create_group("data")
        data.attrs.create("much", np.zeros(9 * 2**20))
    assert "attribute 'much' declares 75,497,472" in refused(path, "robomimic", outside)
    path.unlink()
    path = changed(written(tmp_path, "robomimic"), many_texts)
    assert "attribute 'texts'" in refused(path, "robomimic", outside)
    path.unlink()
    path = changed(
        written(tmp_path, "robomimic"),
        lambda file: file.create_dataset("mask/big", (2**40,), "S10", chunks=(1000,)),
    )
    assert "not all of it was written" in refused(path, "robomimic", outside)


def test_packed_texts_are_unpacked_to_a_bound(outside: Outside) -> None:
    import base64

    bomb = PACKED + base64.b64encode(deflate_bomb(2**29)).decode()
    with outside.watched(), pytest.raises(DataError, match="cannot be unpacked"):
        unpacked(bomb)
    for broken in (PACKED + "???", PACKED, PACKED + "AAAA", bomb[:1000]):
        with pytest.raises(DataError, match="cannot be unpacked"):
            unpacked(broken)
