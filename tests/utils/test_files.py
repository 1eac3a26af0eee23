from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from softflow.errors import StoreError
from softflow.utils.files import read_json, sha256_of, write_bytes, write_json, written_whole


def test_json_round_trip_leaves_one_file(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True], "ü": "é"}
    write_json(tmp_path / "value.json", {"old": 1})
    write_json(tmp_path / "value.json", value)
    assert read_json(tmp_path / "value.json") == value
    assert [file.name for file in tmp_path.iterdir()] == ["value.json"]


def test_interrupted_write_keeps_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "value.bin"
    write_bytes(file, b"old")

    def interrupted() -> None:
        with written_whole(file) as temp:
            temp.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert file.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["value.bin"]


def test_damaged_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "value.json").write_text('{"a": 1')
    with pytest.raises(StoreError, match=r"value\.json' is damaged"):
        read_json(tmp_path / "value.json")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"gone\.json': No such file"):
        read_json(tmp_path / "gone.json")
    with pytest.raises(StoreError, match="gone"):
        sha256_of(tmp_path / "gone")


def test_nan_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no JSON form"):
        write_json(tmp_path / "value.json", {"loss": float("nan")})
    assert not list(tmp_path.iterdir())


def test_missing_folder_says_create_it(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="create the folder first"):
        write_bytes(tmp_path / "missing" / "file", b"x")


def test_sha256_of_content(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()


FILE_LIMIT_SCRIPT = """
import resource, sys
from pathlib import Path
from softflow.utils.files import write_bytes
from softflow.errors import StoreError

file = Path(sys.argv[1]) / "value.bin"
write_bytes(file, b"old")
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    write_bytes(file, bytes(100_000))
except StoreError as error:
    print(error)
assert file.read_bytes() == b"old"
assert [entry.name for entry in file.parent.iterdir()] == ["value.bin"]
"""


def test_refused_write_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    script = [sys.executable, "-c", FILE_LIMIT_SCRIPT, str(tmp_path)]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "value.bin" in done.stdout
    assert "file-size limit" in done.stdout
