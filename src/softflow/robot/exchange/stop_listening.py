"""A stop that arrives while an episode runs, without the control loop ever touching the folder."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType

from softflow.errors import brief
from softflow.robot.exchange.commands import CommandFolder
from softflow.robot.exchange.folder import ExchangeFolder
from softflow.robot.exchange.told_once import ToldOnce

POLL_S = 0.2


class StopListener:
    """Looks for a stop in a thread of its own, which a folder that hangs may hold up.

    The loop reads `stopped`, which never waits. It is no emergency stop: a file takes as long as
    the folder does, and a folder that is away says nothing. Within its block it listens.

    Args:
        folder: the exchange.
        say: where faults are told, each once; called in that thread.
        poll_s: seconds between two looks.
    """

    def __init__(
        self, folder: ExchangeFolder, say: Callable[[str], None], poll_s: float = POLL_S
    ) -> None:
        self._commands, self._told = CommandFolder(folder.commands, say), ToldOnce(say)
        self._poll_s = poll_s
        self._over = threading.Event()
        self._said = ""
        # A daemon: reading a folder that hangs cannot be interrupted, and must not keep the robot.
        self._thread = threading.Thread(target=self._listen, name="stop listener", daemon=True)

    @property
    def stopped(self) -> str:
        """Who told robots to stop; "" while they may move."""
        return self._said

    def __enter__(self) -> StopListener:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join(2 * self._poll_s)

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                command = self._commands.stopped()
                self._said = "" if command is None else f"{command.author} ({command.id[:8]})"
            except Exception as error:  # of the folder or of the terminal: the next stop counts
                with suppress(Exception):
                    self._told("listening", f"commands could not be read: {brief(error)}")
            self._over.wait(self._poll_s)
