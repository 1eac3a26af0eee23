"""Processes that work beside this one: they end with it, and their death is told clearly.

An error in one of them, or Ctrl-C here, stops them all: whoever works for long asks `is_stopping`
now and then, and what must be closed at the end, such as a robot, is handed to `at_end`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from multiprocessing.util import Finalize
from types import TracebackType
from typing import Any, Self, TypeVar

from softflow.errors import SoftflowError

Item = TypeVar("Item")
Result = TypeVar("Result")

PATIENCE_S = 5.0
"""How long a worker that shall end has for what it is doing, and for closing what it holds."""


class StoppedWorkError(SoftflowError):
    """This piece of work was given up because another one failed, or the user stopped them all."""


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
        context = _fresh_processes()
        self._num_calls = 0
        # The number of the newest call of `map` whose work shall stop.
        self._stopped = context.RawValue("q", -1)
        self._executor = ProcessPoolExecutor(
            num_workers, context, _start_worker, (self._stopped, setup, arguments)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._stopped.value = self._num_calls
            self._end_whoever_hangs()
        try:
            # A robot may take its time to close; who does not want to wait presses Ctrl-C.
            self._executor.shutdown(wait=True, cancel_futures=True)
        except KeyboardInterrupt:
            self._end_whoever_hangs()
            raise

    def _end_whoever_hangs(self) -> None:
        """A driver that never answers must not keep its user from leaving."""
        # Python 3.11 has no public way to the processes.
        processes = list((self._executor._processes or {}).values())
        self._executor.shutdown(wait=False, cancel_futures=True)
        for end in (lambda _: None, BaseProcess.terminate, BaseProcess.kill):
            for process in processes:
                end(process)
            deadline_s = time.monotonic() + PATIENCE_S
            for process in processes:
                process.join(max(0.0, deadline_s - time.monotonic()))
            processes = [process for process in processes if process.is_alive()]

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in the order of the items, as they come.

        The first error in a worker stops the others and is raised here; so does Ctrl-C.

        Raises:
            SoftflowError: a process died (out of memory, or killed).
        """
        number = self._num_calls
        self._num_calls += 1
        futures: deque[Future[Result]] = deque()
        try:
            for item in items:
                with _interrupted_later():  # it may start a worker
                    futures.append(self._executor.submit(_work, number, function, item))
            # What was given away is kept no longer: an episode with cameras is large.
            while futures:
                yield _result(futures.popleft(), futures)
        except BrokenProcessPool as error:
            raise SoftflowError(
                "a worker process died (out of memory, or killed); everything finished so far is "
                "kept: run the same command again, with fewer workers if memory was short (in a "
                'script of yours, put the call below `if __name__ == "__main__":`)'
            ) from error
        finally:
            # Nothing is left to stop if all results came.
            self._stopped.value = max(self._stopped.value, number)
            for future in futures:
                future.cancel()


@contextlib.contextmanager
def _interrupted_later() -> Iterator[None]:
    """Ctrl-C counts at the end of the block.

    A worker whose start is broken off nobody knows of: it begins later, and finds its parent gone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    told: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: told.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if told:
            signal.raise_signal(signal.SIGINT)


def _result(future: Future[Result], others: Iterable[Future[Result]]) -> Result:
    """What a piece of work gave; if it gave up because another one failed, that one's error."""
    try:
        return future.result()
    except StoppedWorkError as error:
        reason = next(_faults(others), error)
    raise reason


def _faults(futures: Iterable[Future[Any]]) -> Iterator[BaseException]:
    """Errors of the work that ran, other than of giving up."""
    for future in futures:
        error = None if future.cancel() else future.exception()
        if error is not None and not isinstance(error, StoppedWorkError):
            yield error


class _Worker:
    """What a worker process knows."""

    stopped: Any = None
    number = -1
    parent_is_gone = False
    busy = threading.Lock()
    endings: list[Callable[[], None]] = []  # noqa: RUF012


def is_stopping() -> bool:
    """In a worker: whether what it does is of no use any more. Elsewhere False."""
    stopped = _Worker.stopped
    return _Worker.parent_is_gone or (stopped is not None and stopped.value >= _Worker.number)


def raise_if_stopping() -> None:
    """Raise StoppedWorkError if `is_stopping`."""
    if is_stopping():
        raise StoppedWorkError("stopped, because other work failed or the user wished so")


def at_end(ending: Callable[[], None]) -> None:
    """Have something done once when this process ends, be it because its parent was killed."""
    if not _Worker.endings:
        # A worker process runs these, and not what `atexit` knows.
        Finalize(None, _end, exitpriority=100)
    _Worker.endings.append(ending)


def _end() -> None:
    while _Worker.endings:
        with contextlib.suppress(Exception):
            _Worker.endings.pop()()


def _work(number: int, function: Callable[[Item], Result], item: Item) -> Result:
    with _Worker.busy:
        _Worker.number = number
        raise_if_stopping()
        try:
            return function(item)
        except BaseException:
            # The others need not wait until the parent hears of it.
            _Worker.stopped.value = max(_Worker.stopped.value, number)
            raise


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


def _start_worker(
    stopped: Any, setup: Callable[..., None] | None, arguments: tuple[Any, ...]
) -> None:
    _Worker.stopped = stopped
    # Raised in whatever Python is doing; the executor passes it on, and what is held is closed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    if setup is not None:
        setup(*arguments)


def _exit_with_parent() -> None:
    """A parent that is killed cannot stop its workers: they would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        _Worker.parent_is_gone = True
        # What it does ends at its next step; then what it holds is closed.
        _Worker.busy.acquire(timeout=PATIENCE_S)
        _end()
        os._exit(1)
