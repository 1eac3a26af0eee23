"""Episodes on a robot: in this process, one after the other, with a person beside it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from types import TracebackType

from softflow.training.rollouts import RolloutPool, close_environments
from softflow.utils.worker_pool import Item, Result


class ForegroundPool(RolloutPool):
    """No processes: the robot is made, acts and is closed here, so `input()` reaches the person.

    Use it as a context manager; the robot is closed when the block is left, however.
    """

    is_robot = True

    def __init__(self) -> None:
        self._profiles = {}

    def __enter__(self) -> ForegroundPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        close_environments()

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results in the order of the items, one at a time, when they are asked for."""
        return map(function, items)

    def pause(self, what: str) -> None:
        """Let the person label, or put things right, until Enter; without a terminal go on."""
        if sys.stdin is not None and sys.stdin.isatty():
            with suppress(EOFError):
                input(f"\n{what} Enter goes on: ")
