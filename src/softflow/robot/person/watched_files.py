"""Files that tell a running loop something: stop, or that somebody outside is still there.

Threads look at them, as a network folder may take its time.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from softflow.robot.person.operator_commands import Command

EVERY_S = 0.02


class _Watch:
    """Looks again and again until it is closed, or has seen enough."""

    def __init__(self, look: Callable[[], bool]) -> None:
        self._look, self._closed = look, threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while not (self._look() or self._closed.wait(EVERY_S)):
            pass

    def close(self) -> None:
        """Look no longer."""
        self._closed.set()


class StopFile:
    """The robot stops as soon as a file is there, whoever made it: `touch stop`.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._found = path, threading.Event()
        self._watch = _Watch(self._look)

    def __call__(self) -> Command | None:
        """Whether it is there."""
        return "stop" if self._found.is_set() else None

    def close(self) -> None:
        """Look no longer."""
        self._watch.close()

    def _look(self) -> bool:
        if os.path.lexists(self._path):
            self._found.set()
        return self._found.is_set()


class HeartbeatFile:
    """When a file was last touched, on this machine's monotonic clock: no other clock is believed.

    Args:
        path: of the file, which somebody touches again and again.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._touched_ns, self._seen_s = self._time_ns(), time.monotonic()
        self._watch = _Watch(self._look)

    def __call__(self) -> float:
        """When it last changed, as `time.monotonic()`."""
        return self._seen_s

    def close(self) -> None:
        """Look no longer."""
        self._watch.close()

    def _look(self) -> bool:
        touched_ns = self._time_ns()
        # A file that is gone, or a folder that comes and goes, is nobody's sign of life.
        if touched_ns is not None and touched_ns != self._touched_ns:
            self._touched_ns, self._seen_s = touched_ns, time.monotonic()
        return False

    def _time_ns(self) -> int | None:
        try:
            return self._path.stat().st_mtime_ns
        except OSError:
            return None
