"""How long a job of several kinds of work still takes, from the pace of each so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


class JobTime:
    """Keeps what is still to be done, and how long a unit of each kind of work has taken.

    A kind that has not begun has no pace yet: until then what is left can only be bounded below.

    Args:
        clock: seconds that only go up.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: dict[str, int] = {}
        self._units: dict[str, int] = {}
        self._seconds: dict[str, float] = {}
        self._kind, self._only_once = "", False
        self._first = self._total = self._counted = 0
        self._last_s = clock()

    def expect(self, work: Mapping[str, int]) -> None:
        """What the whole job still has to do: kind of work -> units of it.

        Work of a title belongs to the first of these kinds whose name stands in the title.
        """
        self._left = {kind: units for kind, units in work.items() if units > 0}

    def begin(self, title: str, total: int, done: int = 0) -> None:
        """A piece of work of `total` units begins; one that has ended before is not taken up again.

        So a stage that ended early leaves nothing behind.
        """
        if self._only_once:
            self._left.pop(self._kind, None)
        self._kind = next((kind for kind in self._left if kind in title), title)
        self._only_once = self._kind == title
        self._first, self._total, self._counted = done, total, done
        self._last_s = self._clock()

    def advance(self, done: int) -> None:
        """`done` units of this piece are finished."""
        now_s, new = self._clock(), max(done - self._counted, 0)
        self._seconds[self._kind] = self._seconds.get(self._kind, 0.0) + now_s - self._last_s
        self._units[self._kind] = self._units.get(self._kind, 0) + new
        if self._kind in self._left:
            self._left[self._kind] = max(self._left[self._kind] - new, 0)
        self._counted, self._last_s = max(done, self._counted), now_s

    def left(self) -> str:
        """In words: "1 h 05 min left", "≥ 12 min left"; "" before anything is known."""
        left = dict(self._left)
        if self._kind not in left:
            left = {self._kind: max(self._total - self._counted, 0), **left}
        known = {kind for kind in left if self._units.get(kind)}
        if not known and any(left.values()):
            return ""
        seconds = sum(left[k] * self._seconds[k] / self._units[k] for k in known)
        is_whole = all(kind in known or not units for kind, units in left.items())
        if seconds < 0.5 and not is_whole:
            return ""  # what is known is over
        return f"{'' if is_whole else '≥ '}{duration(seconds)} left"


def duration(seconds: float) -> str:
    """A time span for people: 34 s, 21 min, 1 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
