"""CPU time of a run, which other processes on the machine change least."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class CpuClock:
    """CPU time of this process since the clock was made, evaluations apart.

    Args:
        spent_s: what earlier processes of the same run have spent.
    """

    def __init__(self, spent_s: float = 0.0) -> None:
        self._start_s = time.process_time() - spent_s
        self._apart_since_s: float | None = None
        self._times: dict[str, tuple[float, int]] = {}

    @property
    def spent_s(self) -> float:
        """CPU time of learning and collecting so far."""
        now_s = time.process_time() if self._apart_since_s is None else self._apart_since_s
        return now_s - self._start_s

    @contextmanager
    def apart(self) -> Iterator[None]:
        """What is done inside does not count: the clock stands still."""
        self._apart_since_s = time.process_time()
        try:
            yield
        finally:
            self._start_s += time.process_time() - self._apart_since_s
            self._apart_since_s = None

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """What is done inside is one of `name`."""
        start_s = time.process_time()
        yield
        spent_s, count = self._times.get(name, (0.0, 0))
        self._times[name] = (spent_s + time.process_time() - start_s, count + 1)

    def mean_ms(self, name: str) -> float | None:
        """Mean time of one since this was last asked; None if there was none."""
        spent_s, count = self._times.pop(name, (0.0, 0))
        return 1e3 * spent_s / count if count else None
