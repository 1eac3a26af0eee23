"""When the critic has learned the value of a policy that stands still: a measure, not a count."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

SPAN_UPDATES = 400
"""Two spans of this many updates are compared."""


class Convergence:
    """How far the value that the critic gives the data still moves.

    The mean over the last `SPAN_UPDATES` updates is compared with that over as many before them:
    one batch says little, and a value that still rises in a straight line has not converged.

    Args:
        values: mean value of the chunks of a batch, in units of return, one a report.
        updates_apart: updates from one report to the next.
        value_range: highest less lowest value that the critic can tell apart.

    Attributes:
        drift: share of the value range by which the value moved; None: too early to say.
    """

    def __init__(self, values: Sequence[float], updates_apart: int, value_range: float) -> None:
        self._values = list(values)
        self._span = max(1, SPAN_UPDATES // updates_apart)
        self._range = value_range
        self.drift = self._measured()

    def note(self, value: float) -> None:
        """The next report."""
        self._values.append(value)
        self.drift = self._measured()

    def _measured(self) -> float | None:
        if len(self._values) < 2 * self._span:
            return None
        earlier = np.mean(self._values[-2 * self._span : -self._span])
        later = np.mean(self._values[-self._span :])
        return float(abs(later - earlier)) / self._range

    def within(self, tolerance: float) -> bool:
        """Whether the value has moved by less than this share of the value range."""
        return self.drift is not None and self.drift < tolerance
