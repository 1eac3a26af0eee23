"""What a person tells a running loop: by key, by Ctrl-C; by files in `watched_files.py`."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Literal

Command = Literal["stop", "success", "failure", "discard"]
"""Stop the robot and the run; end the episode as a success or failure; end it and forget it."""
Commands = Callable[[], Command | None]
"""What was told since it was asked last; returns at once."""

KEYS: dict[str, Command] = {
    " ": "stop",
    "q": "stop",
    "Q": "stop",  # whoever wants it to stop does not look for Caps Lock
    "s": "success",
    "f": "failure",
    "d": "discard",
}


def first_of(sources: Sequence[Commands]) -> Commands:
    """Asks one after the other, whoever may stop the robot first."""

    def poll() -> Command | None:
        told: list[Command] = [command for source in sources if (command := source()) is not None]
        return "stop" if "stop" in told else (told[0] if told else None)

    return poll


@contextmanager
def signals() -> Iterator[Commands]:
    """Ctrl-C and the wish to end (SIGTERM, a closed terminal) stop the robot within a control step.

    A second Ctrl-C is Python's own KeyboardInterrupt, for a driver that never returns.
    """
    told: list[Command] = []

    def handle(number: int, _: FrameType | None) -> None:
        if told and number == signal.SIGINT:
            raise KeyboardInterrupt
        told.append("stop")

    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handle) for number in wanted}
    try:
        yield lambda: told[0] if told else None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def endings_interrupt() -> Iterator[None]:
    """SIGTERM and a closed terminal are a KeyboardInterrupt here, so that the robot is closed."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    wanted = (signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, interrupt) for number in wanted}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Keys:
    """Single keys of a terminal, without Enter.

    Args:
        terminal: its file descriptor.
    """

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._others = ""

    def __call__(self) -> Command | None:
        """The command of the keys pressed since it was asked last: a stop, else the first one."""
        told: Command | None = None
        while select.select([self._terminal], [], [], 0)[0]:
            key = os.read(self._terminal, 1).decode(errors="replace")
            if not key:
                break
            self._others += "" if key in KEYS else key
            command = KEYS.get(key)
            told = command if command == "stop" else told or command
        return told

    def others(self) -> str:
        """The keys that are no commands, pressed since this was asked last."""
        keys, self._others = self._others, ""
        return keys


@contextmanager
def keys() -> Iterator[Keys | None]:
    """Keys while the block runs; None where there is no terminal."""
    if not sys.stdin.isatty():
        yield None
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield Keys(terminal)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
