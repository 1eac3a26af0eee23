"""How well a loop kept time, and what became of the decisions, for an episode's metadata."""

from __future__ import annotations

from collections import Counter
from typing import Any

from softflow.control.chunk_scheduler import Arrival
from softflow.robot.timing.histograms import Histogram
from softflow.robot.timing.ticks import Tick


class LoopStatistics:
    """Counted while an episode runs; nothing in here is estimated."""

    def __init__(self) -> None:
        self._lateness, self._busy, self._jitter = Histogram(), Histogram(), Histogram()
        self._late_before_s: float | None = None
        self._latency, self._deciding = Histogram(), Histogram()
        self._missed = self._held = self._skipped = 0
        self._arrivals: Counter[str] = Counter()

    def tick(self, tick: Tick) -> None:
        """A control step began."""
        self._lateness.add(tick.late_s)
        if self._late_before_s is not None:
            self._jitter.add(abs(tick.late_s - self._late_before_s))
        self._late_before_s = tick.late_s
        self._missed += tick.missed

    def busy(self, duration_s: float) -> None:
        """How long the loop worked in it."""
        self._busy.add(duration_s)

    def latency(self, latency_s: float, decided_in_s: float) -> None:
        """A decision came so long after it was asked for, of which its networks took a part."""
        self._latency.add(latency_s)
        self._deciding.add(decided_in_s)

    def arrived(self, arrival: Arrival) -> None:
        """What the scheduler made of it."""
        self._arrivals[arrival.verdict] += 1
        self._skipped += arrival.skipped

    def held(self) -> None:
        """No decision covered a step."""
        self._held += 1

    def metadata(self) -> dict[str, Any]:
        """Counts, and histograms of times in milliseconds."""
        return {
            "missed_ticks": self._missed,
            "held_steps": self._held,
            "decisions": dict(self._arrivals),
            "skipped_actions": self._skipped,
            "lateness": self._lateness.metadata(),
            "jitter": self._jitter.metadata(),
            "busy": self._busy.metadata(),
            "latency": self._latency.metadata(),
            "deciding": self._deciding.metadata(),
        }
