"""How times are distributed, in numbers small enough for the metadata of an episode."""

from __future__ import annotations

from bisect import bisect_left
from typing import Any

EDGES_MS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""Upper ends of the bins; one more bin holds what is longer."""


class Histogram:
    """Durations, counted in bins that grow by about two."""

    def __init__(self) -> None:
        self._counts = [0] * (len(EDGES_MS) + 1)
        self._sum_ms = self._max_ms = 0.0

    def add(self, duration_s: float) -> None:
        """Count one."""
        duration_ms = duration_s * 1000
        self._counts[bisect_left(EDGES_MS, duration_ms)] += 1
        self._sum_ms += duration_ms
        self._max_ms = max(self._max_ms, duration_ms)

    def metadata(self) -> dict[str, Any]:
        """Number, mean, largest, and the counts of the bins up to `edges_ms`."""
        number = sum(self._counts)
        return {
            "number": number,
            "mean_ms": round(self._sum_ms / max(number, 1), 3),
            "max_ms": round(self._max_ms, 3),
            "edges_ms": list(EDGES_MS),
            "counts": self._counts,
        }
