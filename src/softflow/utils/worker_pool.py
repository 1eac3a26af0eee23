"""Processes that work beside this one: they end with it, and their death is told clearly."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from types import TracebackType
from typing import Any, Self, TypeVar

from softflow.errors import SoftflowError

Item = TypeVar("Item")
Result = TypeVar("Result")


class WorkerPool:
    """`num_workers` fresh processes; use it as a context manager.

    They are copies of one process that has loaded what this one has loaded of softflow, and nothing
    else: PyTorch is imported once, not once a worker.

    Args:
        num_workers: how many.
        setup: called with `arguments` once in every new process.
        arguments: what `setup` gets; sent to the processes.
    """

    def __init__(
        self,
        num_workers: int,
        setup: Callable[..., None] | None = None,
        arguments: tuple[Any, ...] = (),
    ) -> None:
        self._executor = ProcessPoolExecutor(
            num_workers,
            _fresh_processes(),
            _start_worker,
            (setup, arguments),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in the order of the items, as they come; an error in a worker is raised here.

        Raises:
            SoftflowError: a process died (out of memory, or killed).
        """
        try:
            yield from self._executor.map(function, items)
        except BrokenProcessPool as error:
            raise SoftflowError(
                "a worker process died (out of memory, or killed); everything finished so far is "
                "kept: run the same command again, with fewer workers if memory was short"
            ) from error


def _fresh_processes() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    loaded = [name for name in sys.modules if name.startswith("softflow.")]
    context.set_forkserver_preload(sorted(set(loaded) - {"softflow.__main__"}))
    resource_tracker.ensure_running()  # it would lift the mask
    # A terminal sends Ctrl-C to every process, and it is this one's to handle: what is started now
    # inherits the mask and never hears of it.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


def _start_worker(setup: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if setup is not None:
        setup(*arguments)


def _exit_with_parent() -> None:
    """A parent that is killed cannot stop its workers: they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
