"""A fixed rate on a clock that never goes back: no tick is made up for, none comes in a burst."""

from __future__ import annotations

import time
from typing import NamedTuple, Protocol


class Clock(Protocol):
    """Time for a control loop; another one in tests, which then need not sleep."""

    def now_s(self) -> float:
        """Seconds, from anywhere; never less than before."""
        ...

    def wait_until(self, at_s: float) -> None:
        """Return at that time, or at once if it has gone by."""
        ...


class MonotonicClock:
    """The clock of the machine that nobody sets."""

    def now_s(self) -> float:
        """`time.monotonic()`."""
        return time.monotonic()

    def wait_until(self, at_s: float) -> None:
        """Sleep; a signal that is handled goes on sleeping."""
        time.sleep(max(at_s - time.monotonic(), 0.0))


class Tick(NamedTuple):
    """One control step begins.

    Attributes:
        at_s: now.
        late_s: after its time.
        missed: control steps that were let go before it.
    """

    at_s: float
    late_s: float
    missed: int


class Ticker:
    """Control steps of one length.

    A tick that comes more than half a period late counts as that many missed ones, and the next is
    a whole period later: two ticks are never closer than half a period.

    Args:
        clock: of the loop.
        period_s: of a control step. The first tick is now.
    """

    def __init__(self, clock: Clock, period_s: float) -> None:
        self._clock, self._period_s = clock, period_s
        self._next_s = clock.now_s()

    def wait(self) -> Tick:
        """The next control step, when its time has come."""
        self._clock.wait_until(self._next_s)
        now_s = self._clock.now_s()
        late_s = max(now_s - self._next_s, 0.0)
        missed = round(late_s / self._period_s)
        self._next_s = (now_s if missed else self._next_s) + self._period_s
        return Tick(now_s, late_s, missed)
