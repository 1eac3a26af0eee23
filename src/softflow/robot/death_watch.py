"""A process that outlives the one with the robot, for a moment: it stops the robot if that dies.

A driver should stop by itself when commands stay out. Where it does not, this calls a function of
the user's, in a process that neither Ctrl-C nor a closed terminal reaches.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from multiprocessing.connection import Connection

from softflow.errors import ConfigError
from softflow.robot.spawned import spawn
from softflow.utils.imports import follow, trust, trusted

_STARTING_S = 60.0
_GOOD_BYE = b"good-bye"
_READY = b"ready"


class DeathWatch:
    """Watches this process until `close`; use it as a context manager.

    Args:
        stop: "module:function", called without arguments if this process dies; the user named it.

    Raises:
        ConfigError: the function cannot be imported.
    """

    def __init__(self, stop: str) -> None:
        self._process, self._connection = spawn(_watch, stop, trusted(), daemon=False)
        try:
            ready = self._connection.poll(_STARTING_S) and self._connection.recv_bytes()
        except EOFError:
            ready = b""
        if ready != _READY:
            self.close()
            raise ConfigError(f"--on-death is {stop!r}, which cannot be imported; correct it")

    def __enter__(self) -> DeathWatch:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Of the watching process."""
        return self._process.pid or 0

    def close(self) -> None:
        """The robot was given back: nothing needs to be stopped any more."""
        if not self._connection.closed:
            with contextlib.suppress(OSError):
                self._connection.send_bytes(_GOOD_BYE)
            self._connection.close()
            self._process.join()


def _watch(connection: Connection, stop: str, paths: frozenset[str]) -> None:
    """Wait for a good-bye; without one, stop the robot."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    trust(*paths)
    function = follow(stop)
    connection.send_bytes(_READY)
    try:
        farewell = connection.recv_bytes()
    except (EOFError, OSError):
        farewell = b""
    if farewell != _GOOD_BYE:
        print("softflow: the robot's process died; stopping the robot", file=sys.stderr, flush=True)
        function()
    os._exit(0)
