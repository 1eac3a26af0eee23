"""Files of strangers: what a test may watch while one is read, and how one is damaged."""

from __future__ import annotations

import ctypes
import os
import select
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from softflow.errors import SoftflowError

MIB = 1024**2
_RUNS_CODE = {
    *("pickle.find_class", "os.system", "os.exec", "os.posix_spawn", "subprocess.Popen"),
    *("socket.connect", "socket.getaddrinfo", "ctypes.dlopen"),
}
_IN_ACCESS, _IN_MODIFY, _IN_OPEN, _IN_CREATE, _IN_DELETE = 0x1, 0x2, 0x20, 0x100, 0x200
_noticed: list[str] | None = None


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _noticed is not None and event in _RUNS_CODE:
        _noticed.append(f"{event} {arguments!r:.200}")


sys.addaudithook(_audit)


class Bomb:
    """Unpickled, it makes a folder: that code ran cannot be overlooked."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.mark),)


class Outside:
    """A folder beside the data with a secret in it, which nobody may open: see `watched`.

    Attributes:
        secret: a file whose content nothing may read.
        mark: what a `Bomb` makes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "outside"
        self.folder.mkdir(exist_ok=True)
        self.secret = self.folder / "secret.bin"
        self.secret.write_bytes(b"SECRET OF SOMEBODY ELSE " * 512)
        self.mark = self.folder / "code_ran"

    @contextmanager
    def watched(self, seconds: float = 10.0, growth: int = 256 * MIB) -> Iterator[None]:
        """Nothing in the block opens a file here, runs code, takes long or much memory."""
        global _noticed
        libc = ctypes.CDLL(None, use_errno=True)
        notify = libc.inotify_init1(os.O_NONBLOCK)
        mask = _IN_ACCESS | _IN_MODIFY | _IN_OPEN | _IN_CREATE | _IN_DELETE
        assert libc.inotify_add_watch(notify, bytes(self.folder), mask) >= 0
        _noticed, before = [], _reset_peak()
        started, worked = time.monotonic(), time.process_time()
        try:
            yield
        finally:
            noticed, _noticed = _noticed, None
            waited, taken = time.monotonic() - started, time.process_time() - worked
            grown = _memory("VmHWM") - before
            opened = bool(select.select([notify], [], [], 0)[0])
            os.close(notify)
        assert not opened, "a file outside the data was opened"
        assert not noticed, noticed
        assert not self.mark.exists(), "code of the file was executed"
        # Other processes may have the machine, too.
        assert taken < seconds, f"{taken:.1f} s"
        assert waited < 10 * seconds, f"{waited:.1f} s"
        assert grown < growth, f"{grown / MIB:.0f} MiB more"


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    """Beside the data of a test."""
    return Outside(tmp_path)


def outcome(read: Callable[[], object]) -> str:
    """The message of the SoftflowError that `read` raises; empty if it raises nothing."""
    try:
        read()
    except SoftflowError as error:
        message = str(error)
        assert message
        assert len(message) < 5000, f"a message of {len(message)} characters"
        return message
    return ""


def damaged(content: bytes, cuts: int = 6, flips: int = 12) -> Iterator[tuple[str, bytes]]:
    """Damaged copies of a file, with what was done to each; always the same ones."""
    size = len(content)
    yield "empty", b""
    for number in range(1, cuts):
        yield f"cut at {size * number // cuts}", content[: size * number // cuts]
    yield "last byte missing", content[:-1]
    yield "first byte missing", content[1:]
    yield "something behind it", content + b"\0" * 64
    yield "zeros", bytes(size)
    yield "middle zeroed", content[: size // 3] + bytes(size // 3) + content[2 * (size // 3) :]
    yield "half of it twice", content[: size // 2] * 2
    for number in range(flips):
        # Heads and tails hold what is declared; the middle, values.
        place = (number * size // flips + number * 7919) % size if number % 3 else number * 5 % size
        place = size - 1 - place if number % 2 else place
        flipped = bytearray(content)
        flipped[place] ^= 0xFF if number % 4 else 1 << number % 8
        yield f"byte {place} flipped", bytes(flipped)


def deflate_bomb(size: int, level: int = 9) -> bytes:
    """A zlib stream that inflates to `size` zeros, a multiple of 4 MiB, and more; made quickly."""
    encoder = zlib.compressobj(level, zlib.DEFLATED, -15)
    part = encoder.compress(bytes(4 * MIB)) + encoder.flush(zlib.Z_FULL_FLUSH)
    return b"\x78\xda" + part * (size // (4 * MIB)) + b"\x03\x00" + bytes(4)


OTHER_FORMATS = {
    "text": b"this is no recording\n" * 20,
    "HTML": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "git lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
    "pickle": b"\x80\x04\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
    "zip": b"PK\x05\x06" + bytes(18),
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "HDF5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "SQLite": b"SQLite format 3\0" + bytes(100),
    "gzip": b"\x1f\x8b\x08" + bytes(30),
}
"""What is found under the name of a recording."""


def _reset_peak() -> int:
    """Memory of this process now, from where its peak is counted on."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(what: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) * 1024
    raise AssertionError(what)
