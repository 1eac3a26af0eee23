"""What the system may refuse, call by call: opening, reading, writing, flushing, renaming.

`Faults` stands below pathlib, zipfile and Zarr. It counts the calls that touch one folder and lets
the n-th of a kind fail, or all from the n-th on.
"""

from __future__ import annotations

import fcntl
import io
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMED = ("open", "stat", "lstat", "listdir", "mkdir", "rename", "replace", "unlink")
"""Calls of `os` whose first argument is a path."""


class Faults:
    """Which call fails, how, and how many calls there were.

    Args:
        folder: calls outside it, and in no file of it, work.
        kind: of the call that fails, such as "read"; "" only counts.
        nth: which of them, from 0.
        error: what it raises; made anew for every call.
        lasting: those after it fail as well.
    """

    def __init__(
        self,
        folder: Path,
        kind: str = "",
        nth: int = 0,
        error: Callable[[], BaseException] = OSError,
        lasting: bool = False,
    ) -> None:
        self.folder = str(folder)
        self.kind, self.nth, self.error, self.lasting = kind, nth, error, lasting
        self.calls = Counter[str]()

    def check(self, kind: str) -> None:
        """Count a call, and fail if it is its turn."""
        number = self.calls[kind]
        self.calls[kind] += 1
        due = number >= self.nth if self.lasting else number == self.nth
        if kind == self.kind and due:
            raise self.error()

    def concerns(self, path: Any) -> bool:
        """Whether a path, or an open file, belongs to the folder."""
        if isinstance(path, int):
            path = Path(f"/proc/self/fd/{path}").readlink()
        return str(path).startswith(self.folder)

    @contextmanager
    def on(self) -> Iterator[Faults]:
        """The calls fail within the block."""
        with pytest.MonkeyPatch.context() as patch:
            for name in NAMED:
                patch.setattr(os, name, self._guarded(name, getattr(os, name)))
            patch.setattr(os, "fsync", self._guarded("fsync", os.fsync))
            patch.setattr(fcntl, "flock", self._flock(fcntl.flock))
            patch.setattr(io, "open", self._io_open(io.open))
            yield self

    def _guarded(self, kind: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any = ".", *arguments: Any, **options: Any) -> Any:
            if self.concerns(path):
                self.check(kind)
            return real(path, *arguments, **options)

        return call

    def _flock(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: Any, operation: int) -> Any:
            if self.concerns(file.name):
                self.check("flock")
            return real(file, operation)

        return call

    def _io_open(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(
            path: Any, mode: str = "r", buffering: int = -1, *rest: Any, **options: Any
        ) -> Any:
            if isinstance(path, int) or not self.concerns(path) or "b" not in mode:
                return real(path, mode, buffering, *rest, **options)
            self.check("open")
            raw = _FaultyFile(path, mode.replace("b", ""), self)
            if buffering == 0:
                return raw
            kind = io.BufferedRandom if "+" in mode else io.BufferedReader
            return (io.BufferedWriter if mode[0] in "wax" and "+" not in mode else kind)(raw)

        return call


class _FaultyFile(io.FileIO):
    def __init__(self, path: Any, mode: str, faults: Faults) -> None:
        super().__init__(path, mode)
        self._faults = faults

    def readinto(self, buffer: Any) -> int:
        self._faults.check("read")
        return super().readinto(buffer)  # type: ignore[return-value]

    def readall(self) -> bytes:
        self._faults.check("read")
        return super().readall()  # type: ignore[return-value]

    def write(self, content: Any) -> int:
        self._faults.check("write")
        return super().write(content)  # type: ignore[return-value]

    def seek(self, *arguments: int) -> int:
        self._faults.check("seek")
        return super().seek(*arguments)
