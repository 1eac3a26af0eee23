"""A fresh process with a connection to it; a terminal's Ctrl-C does not reach it."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any


def spawn(
    target: Callable[..., None], *arguments: Any, daemon: bool
) -> tuple[SpawnProcess, Connection]:
    """Start `target(connection, *arguments)` in a new process.

    Args:
        target: a function of a module.
        arguments: what else it gets; sent to the process.
        daemon: whether it is ended when this process ends by itself.

    Returns:
        The process, and this side of the connection.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(theirs, *arguments), daemon=daemon)
    # The new process inherits the mask, and handles signals as it likes once it runs.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    theirs.close()
    return process, ours
