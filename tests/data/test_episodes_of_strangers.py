"""Episode files of strangers: damaged, or made to run code, fill memory, or hang."""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numcodecs.zstd import compress
from strangers import OTHER_FORMATS, Bomb, Outside, damaged, outcome
from zstd_bombs import zeros_in_zstd

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.files.episode_file import read_episode_file, read_summary, write_episode_file
from softflow.data.files.limits import (
    EPISODE_LIMIT_VARIABLE,
    GIB,
    MAX_METADATA_BYTES,
    episode_bytes,
)
from softflow.data.files.sealed_arrays import decoded, frame_bytes
from softflow.errors import ConfigError, DataError, StoreError
from softflow.sampling.image_pieces import piece_tables

CAMERA, STATE = "observation.images.front", "observation.state"
SPEC = DataSpec({STATE: (3,), CAMERA: (8, 8, 3)}, 2, (-1.0, -1.0), (1.0, 1.0), 10.0)
STEPS = 5


def healthy_episode() -> Episode:
    rng = np.random.default_rng(0)
    return Episode(
        {
            STATE: rng.normal(size=(STEPS + 1, 3)).astype(np.float32),
            CAMERA: rng.integers(0, 255, (STEPS + 1, 8, 8, 3)).astype(np.uint8),
        },
        rng.uniform(-1, 1, (STEPS, 2)).astype(np.float32),
        np.zeros(STEPS, np.float32),
        terminated=True,
        truncated=False,
        success=True,
        metadata={"operator": "anna"},
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "episode_000000.zarr.zip"
    write_episode_file(path, healthy_episode())
    return path


def repacked(path: Path, changes: dict[str, bytes | None], how: int = zipfile.ZIP_STORED) -> None:
    """Write an episode file anew with other entries; None leaves one out."""
    with zipfile.ZipFile(path) as archive:
        entries: dict[str, bytes | None] = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in (entries | changes).items():
            if content is not None:
                archive.writestr(name, content)


def with_document(path: Path, name: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a zarr.json."""
    entry = f"{name}/zarr.json".lstrip("/")
    with zipfile.ZipFile(path) as archive:
        document = json.loads(archive.read(entry))
    change(document)
    repacked(path, {entry: json.dumps(document).encode()})


def read_all(path: Path) -> None:
    """Every way in which an episode file is read."""
    errors: list[StoreError] = []
    for read in (
        lambda: read_summary(path, 0),
        lambda: read_episode_file(path, SPEC),
        lambda: read_episode_file(path, SPEC, with_images=False),
        lambda: every_piece(path),
    ):
        try:
            read()
        except StoreError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def every_piece(path: Path) -> None:
    from softflow.data.files.episode_reading import reading

    with reading(path):
        table = piece_tables(path, [CAMERA])[CAMERA]
        file = os.open(path, os.O_RDONLY)
        try:
            for piece in range(len(table.entries)):
                table.read(file, path, piece)
        finally:
            os.close(file)


def test_a_healthy_file_is_read_without_opening_anything_else(path: Path, outside: Outside) -> None:
    with outside.watched():
        read_all(path)
        np.testing.assert_array_equal(
            read_episode_file(path, SPEC).actions, healthy_episode().actions
        )


# ---- code --------------------------------------------------------------------------------------


def test_zarr_format_2_with_its_pickles_is_not_opened(path: Path, outside: Outside) -> None:
    """numcodecs up to 0.16.5 unpickles what such a group holds."""
    array = {
        "zarr_format": 2,
        "shape": [STEPS, 2],
        "chunks": [STEPS, 2],
        "dtype": "|O",
        "compressor": None,
        "fill_value": None,
        "filters": [{"id": "pickle", "protocol": 5}],
        "order": "C",
    }
    attributes = {"format_version": 2, "length": STEPS, "sha256": {}, "metadata": {}}
    bomb = pickle.dumps([Bomb(outside.mark)])
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(".zgroup", json.dumps({"zarr_format": 2}))
        archive.writestr(".zattrs", json.dumps(attributes))
        for name in ("action", f"data/{STATE}", "data/action", "data/next.reward"):
            archive.writestr(f"{name}/.zarray", json.dumps(array))
            archive.writestr(f"{name}/0.0", bomb)
    with outside.watched(), pytest.raises(StoreError, match="Zarr format 2"):
        read_all(path)


@pytest.mark.parametrize(
    "codec",
    [
        "numcodecs.pickle",
        "numcodecs.json2",
        "numcodecs.zlib",
        "pickle",
        "gzip",
        "blosc",
        "crc32c",
        "transpose",
        "sharding_indexed",
        "vlen-bytes",
        "vlen-utf8",
        "os.system",
    ],
)
@pytest.mark.parametrize("place", ["data/action", f"data/{CAMERA}"])
def test_other_codecs_are_refused_by_name(
    path: Path, outside: Outside, codec: str, place: str
) -> None:
    bomb = {
        f"{place}/c/0{'/0' * (3 if 'images' in place else 1)}": pickle.dumps(Bomb(outside.mark))
    }
    repacked(path, dict[str, bytes | None](bomb))
    with_document(path, place, lambda d: d["codecs"].append({"name": codec, "configuration": {}}))
    with outside.watched(), pytest.raises(StoreError, match=rf"codecs bytes, zstd, {codec}"):
        read_all(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"zarr_format": 2}, "Invalid enum value 2"),
        ({"data_type": "object"}, "data type object"),
        ({"data_type": "|O"}, "data type"),
        ({"data_type": "float128"}, "data type float128"),
        ({"data_type": "complex128"}, "data type complex128"),
        ({"data_type": {"name": "numpy.datetime64"}}, "Expected `str`"),
        ({"storage_transformers": [{"name": "x"}]}, "transformed"),
        ({"codecs": []}, "codecs"),
        ({"codecs": None}, "Expected `array`"),
        ({"chunk_key_encoding": {"name": "v2"}}, "pieces named by 'v2'"),
        ({"chunk_grid": {"name": "rectangular", "configuration": {}}}, "chunks None"),
        ({"shape": []}, "chunks"),
        ({"shape": [-5, 2]}, "chunks"),
        ({"shape": [0, 2]}, "chunks"),
        ({"shape": [5.0, 2]}, "Expected `int`"),
        ({"shape": "5, 2"}, "Expected `array`"),
        ({"shape": [STEPS, 3]}, "chunks"),
        ({"shape": [True, 2]}, "Expected `int`"),
        ({"shape": [2**62, 2]}, "at most"),
        ({"shape": [10**30, 2]}, "at most"),
    ],
)
def test_declarations_that_softflow_does_not_make(
    path: Path, outside: Outside, change: dict[str, Any], message: str
) -> None:
    with_document(path, "data/action", lambda document: document.update(change))
    with outside.watched(), pytest.raises(StoreError, match=message):
        read_episode_file(path, SPEC)


# ---- memory ------------------------------------------------------------------------------------


def test_65_kilobytes_do_not_decode_to_2_gigabytes(path: Path, outside: Outside) -> None:
    bomb = zeros_in_zstd(2 * GIB)
    assert len(bomb) < 66_000
    for place in ("data/action/c/0/0", f"data/{CAMERA}/c/0/0/0/0"):
        repacked(path, {place: bomb})
        with outside.watched(), pytest.raises(StoreError, match=r"damaged.*declares 2147483648"):
            read_all(path)


def test_a_frame_that_holds_more_than_it_says(path: Path, outside: Outside) -> None:
    for place, size in (("data/action/c/0/0", STEPS * 8), (f"data/{CAMERA}/c/0/0/0/0", 960)):
        repacked(path, {place: zeros_in_zstd(2 * GIB, declared=size)})
        with outside.watched(), pytest.raises(StoreError, match="damaged"):
            read_all(path)
        repacked(path, {place: compress(bytes(size), 1) + zeros_in_zstd(2 * GIB)})
        with outside.watched(), pytest.raises(StoreError, match="damaged"):
            read_all(path)


def test_frames_are_decoded_to_what_was_expected() -> None:
    frame = compress(b"hello", 1)
    assert decoded(frame, 5).tobytes() == b"hello"
    for size in (4, 6, 0, 2**40):
        with pytest.raises(ValueError, match="declares 5 bytes"):
            decoded(frame, size)
    for size in (0, 1, 255, 256, 65_791, 65_792, 100_000):
        assert frame_bytes(compress(bytes(size), 1)) == size
    for broken in (b"", frame[:5], b"xxxx" + frame[4:], frame[:4] + b"\0\0" + frame[6:]):
        with pytest.raises(ValueError, match="a piece"):
            decoded(broken, 5)


@pytest.mark.parametrize("steps", [2**20, 2**40, 2**62])
def test_a_length_nobody_recorded(path: Path, outside: Outside, steps: int) -> None:
    """More pieces than the file has are not searched for; more bytes than allowed not reserved."""
    with_document(path, "", lambda document: document["attributes"].update(length=steps))
    for place, rest in (("data/action", [2]), (f"data/{CAMERA}", [8, 8, 3])):
        for rows in (1, steps):
            grid = {"name": "regular", "configuration": {"chunk_shape": [rows, *rest]}}
            change = {"shape": [steps, *rest], "chunk_grid": grid}
            with_document(path, place, lambda document, change=change: document.update(change))
            with (
                outside.watched(),
                pytest.raises(StoreError, match=r"at most|chunks|declares|shape"),
            ):
                read_all(path)


def test_an_episode_is_held_against_one_limit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EPISODE_LIMIT_VARIABLE, str(1100 / GIB))
    with pytest.raises(
        StoreError, match=r"declares 1,2\d\d bytes.*at most 1,100.*set SOFTFLOW_MAX"
    ):
        read_episode_file(path, SPEC)
    monkeypatch.setenv(EPISODE_LIMIT_VARIABLE, str(1300 / GIB))
    read_episode_file(path, SPEC)
    assert episode_bytes() == 1300
    for text in ("much", "-1", "0", "nan", "inf"):
        monkeypatch.setenv(EPISODE_LIMIT_VARIABLE, text)
        with pytest.raises(ConfigError, match=r"give GiB"):
            episode_bytes()
    monkeypatch.delenv(EPISODE_LIMIT_VARIABLE)
    assert GIB / 4 < episode_bytes() <= 64 * GIB


def test_arrays_of_another_store_are_not_decoded(path: Path) -> None:
    wide = DataSpec({STATE: (3,), CAMERA: (80, 80, 3)}, 2, (-1.0, -1.0), (1.0, 1.0), 10.0)
    repacked(path, {f"data/{CAMERA}/c/0/0/0/0": b"never looked at"})
    with pytest.raises(StoreError, match=r"has shape \(6, 8, 8, 3\), this store holds \(6, 80"):
        read_episode_file(path, wide)


def test_zip_bombs_are_not_inflated(path: Path, outside: Outside) -> None:
    repacked(path, {"zarr.json": b" " * 2**27}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 300_000
    with outside.watched(growth=64 * 2**20), pytest.raises(StoreError, match="compressed by other"):
        read_all(path)
    buffer = bytearray(path.read_bytes())
    place = buffer.rindex(b"PK\x01\x02")  # a central entry that declares 3 GiB
    buffer[place + 20 : place + 28] = struct.pack("<II", 3 * GIB, 3 * GIB)
    path.write_bytes(buffer)
    with outside.watched(growth=64 * 2**20):
        assert outcome(lambda: read_all(path))


def test_a_document_that_is_too_long_or_too_deep(path: Path, outside: Outside) -> None:
    repacked(path, {"zarr.json": b'{"a":' * 100_000})
    with outside.watched(), pytest.raises(StoreError, match="damaged"):
        read_all(path)
    deep = b'{"zarr_format": 3, "node_type": "group", "attributes": ' + b'{"a":' * 50_000
    repacked(path, {"zarr.json": deep + b"1" + b"}" * 50_001})
    with outside.watched(), pytest.raises(StoreError, match="damaged"):
        read_all(path)


def test_metadata_that_would_not_be_read_back_is_not_written() -> None:
    episode = healthy_episode()
    episode.metadata["note"] = "x" * MAX_METADATA_BYTES
    with pytest.raises(DataError, match="at most 8,388,608"):
        episode.validate(SPEC)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    episode.metadata["note"] = deep
    with pytest.raises(DataError, match="metadata cannot be written as JSON"):
        episode.validate(SPEC)


# ---- damage ------------------------------------------------------------------------------------

FACTS = ("format_version", "length", "success", "terminated", "truncated", "return", "metadata")


@pytest.mark.parametrize("fact", [*FACTS, "sha256"])
def test_facts_that_are_missing_or_of_another_type(path: Path, fact: str) -> None:
    original = path.read_bytes()
    for value in (None, [], "5", -1, 1e300, {"a": []}, [[[]]], True, "\udc80", 10**40):
        path.write_bytes(original)
        with_document(path, "", lambda d, value=value: d["attributes"].update({fact: value}))
        assert all("\n" not in text for text in [outcome(lambda: read_all(path))])
    path.write_bytes(original)
    with_document(path, "", lambda document: document["attributes"].pop(fact))
    assert "episode_000000.zarr.zip" in outcome(lambda: read_all(path))


@pytest.mark.parametrize("value", [[], 5, "text", None, {}, [{"a": 1}]], ids=repr)
@pytest.mark.parametrize("name", ["", "data/action", f"meta/final/{STATE}"])
def test_documents_that_are_something_else(path: Path, name: str, value: object) -> None:
    entry = f"{name}/zarr.json".lstrip("/")
    repacked(path, {entry: json.dumps(value).encode()})
    assert "damaged" in outcome(lambda: read_all(path))
    repacked(path, {entry: json.dumps(value).encode("utf-16")})
    assert "damaged" in outcome(lambda: read_all(path))


def test_every_entry_is_needed_or_not_read(path: Path) -> None:
    original = path.read_bytes()
    with zipfile.ZipFile(io.BytesIO(original)) as archive:
        names = archive.namelist()
    for name in names:
        for content in (None, b"", b"\xff" * 40):
            path.write_bytes(original)
            repacked(path, {name: content})
            outcome(lambda: read_all(path))


def test_damaged_files(path: Path, outside: Outside) -> None:
    """Told in one sentence that names the file, or read as it was recorded."""
    original, expected = path.read_bytes(), healthy_episode()
    told = 0
    for how, content in damaged(original, cuts=12, flips=60):
        path.write_bytes(content)
        with outside.watched(5.0):
            message = outcome(lambda: read_all(path))
        if message:
            told += 1
            assert "episode_000000.zarr.zip" in message, how
        else:
            found = read_episode_file(path, SPEC)
            np.testing.assert_array_equal(found.actions, expected.actions, how)
            np.testing.assert_array_equal(
                found.observations[CAMERA], expected.observations[CAMERA], how
            )
    assert told > 40


@pytest.mark.parametrize("kind", OTHER_FORMATS)
def test_other_formats_under_that_name(path: Path, kind: str) -> None:
    path.write_bytes(OTHER_FORMATS[kind])
    assert "is damaged" in outcome(lambda: read_all(path))


def test_names_in_the_zip_lead_nowhere(path: Path, outside: Outside) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        for name in ("../outside/secret.bin", str(outside.secret), "a\\..\\..\\b", "x" * 60_000):
            archive.writestr(name, b"overwritten")
        link = zipfile.ZipInfo("data/action/c/0/1")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, str(outside.secret))
    before = sorted(path.parent.iterdir())
    with outside.watched():
        read_all(path)
    assert sorted(path.parent.iterdir()) == before


def test_a_folder_under_that_name(path: Path) -> None:
    path.unlink()
    path.mkdir()
    assert outcome(lambda: read_all(path))
    shutil.rmtree(path)
    assert "gone" in outcome(lambda: read_all(path))
