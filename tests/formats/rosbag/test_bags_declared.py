"""Bags of strangers that declare more than they hold, or never end."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import lz4.frame
import pytest
from strange_bags import (
    chunk_record,
    mcap_with,
    message_record,
    read_all,
    record,
    refused,
)
from strangers import Outside, outcome
from zstd_bombs import zeros_in_zstd

from softflow.data.files.limits import GIB
from softflow.errors import DataError
from softflow.formats.rosbag import bounds
from softflow.formats.rosbag.reader import opened

LIES = [1000, 0, *[pytest.param(n, marks=pytest.mark.slow) for n in (2 * GIB, 2**63)]]


@pytest.mark.parametrize("declared", LIES)
@pytest.mark.parametrize("how", ["zstd", "lz4"])
def test_chunks_that_decompress_to_gigabytes(
    tmp_path: Path, outside: Outside, how: str, declared: int
) -> None:
    path = tmp_path / "a.mcap"
    bomb = zeros_in_zstd(2 * GIB) if how == "zstd" else lz4.frame.compress(bytes(2**27))
    for compressed in (bomb, zeros_in_zstd(2 * GIB, 1000) if how == "zstd" else bomb):
        path.write_bytes(mcap_with([chunk_record(compressed, how, min(declared, 2**63))]))
        # What a gigabyte is decoded to before it is given up is the limit itself.
        message = refused(path, outside, growth=3 * GIB)
        assert "cannot read the bag" in message


def _fails(call: Callable[[], object]) -> bool:
    try:
        call()
    except Exception:
        return True
    return False


def test_decompressors_stop_at_a_limit(outside: Outside) -> None:
    limit = 10_000
    frame = zeros_in_zstd(2**20)
    for data in (zeros_in_zstd(2 * GIB), frame * 3000, frame[:-3], b"", b"no frame at all"):
        with outside.watched(growth=32 * 2**20):
            assert data == b"" or _fails(lambda data=data: bounds._unzstd(data, limit))
    assert bounds._unzstd(frame + frame, 2**21) == bytes(2**21)
    packed = lz4.frame.compress(bytes(2**26))
    with outside.watched(growth=32 * 2**20), pytest.raises(Exception, match="more than 10,000"):
        bounds._unlz4(packed, limit)
    assert bounds._unlz4(lz4.frame.compress(b"abc"), 3) == b"abc"


@pytest.mark.parametrize("size", [0, 5, 21, 2**31, 2**40, 2**62, 2**64 - 1])
def test_records_of_any_length(tmp_path: Path, outside: Outside, size: int) -> None:
    path = tmp_path / "a.mcap"
    for kind in (1, 2, 3, 4, 5, 6, 7, 8, 11, 15, 200):
        content = bytearray(mcap_with([message_record(b"\0\1\0\0" + bytes(8))]))
        broken = record(kind, bytes(60))
        broken = broken[:1] + struct.pack("<Q", size) + broken[9:]
        at = content.index(record(15, struct.pack("<I", 0)))
        path.write_bytes(bytes(content[:at]) + broken + bytes(content[at:]))
        with outside.watched():
            assert outcome(lambda: read_all(path))


def test_chunks_in_chunks(tmp_path: Path, outside: Outside) -> None:
    path = tmp_path / "a.mcap"
    inner = chunk_record(message_record(b"\0\1\0\0" + bytes(8)), "", 43)
    for _ in range(20):
        inner = chunk_record(inner, "", len(inner))
    path.write_bytes(mcap_with([inner]))
    refused(path, outside)


@pytest.mark.slow
def test_compressed_files_and_messages_end_at_a_limit(
    healthy: dict[str, Path], tmp_path: Path, outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    bag = Path(shutil.copytree(healthy["compressed file"], tmp_path / "file"))
    next(bag.glob("*.zstd")).write_bytes(zeros_in_zstd(2 * GIB))
    monkeypatch.setattr(bounds, "DISK_SHARE", 1e-6)
    assert "half of the disk" in refused(bag, outside)
    bag = Path(shutil.copytree(healthy["compressed messages"], tmp_path / "messages"))
    with closing(sqlite3.connect(next(bag.glob("*.db3")))) as database:
        database.execute("UPDATE messages SET data = ?", (zeros_in_zstd(2 * GIB),))
        database.commit()
    assert "more than 1,073,741,824 bytes" in refused(bag, outside, growth=3 * GIB)


def test_many_chunks_at_the_same_time(mcap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(mcap) as recording:
        storages = recording.storages
        bounds.require_bounded_chunks(storages)
        (storage,) = storages
        storage.chunks *= 3
        assert storage.chunks
        size = storage.chunks[0].uncompressed_size
        monkeypatch.setattr(bounds, "MAX_CHUNK_BYTES", size * 3 // 4 + 1)
        bounds.require_bounded_chunks(storages)
        monkeypatch.setattr(bounds, "MAX_CHUNK_BYTES", size // 2)
        with pytest.raises(DataError, match="of them at the same time"):
            bounds.require_bounded_chunks(storages)
        storage.chunks = [storage.chunks[0]._replace(uncompressed_size=10 * GIB)]
        monkeypatch.setattr(bounds, "MAX_CHUNK_BYTES", 100 * GIB)
        with pytest.raises(DataError, match="declares chunks of 10,737,418,240"):
            bounds.require_bounded_chunks(storages)
