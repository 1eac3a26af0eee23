"""What of some episodes lies outside of the range that a normalisation was made for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.statistics import ArrayStatistics, DatasetStatistics, Episodes, SeenActions

_SHOWN = 3
LEAST_SLACK = 0.01
"""How far outside the training range any component may be, in its own unit: sensors are noisy."""


@dataclass(frozen=True)
class Outside:
    """One component that leaves its range.

    Attributes:
        key: "observation.…" or "action"; component: its index within the key.
        share: of all rows, in (0, 1].
        worst: the value farthest outside; low, high: the range. Units of the data; of actions that
            are relative to the observation, as the networks see them.
    """

    key: str
    component: tuple[int, ...]
    share: float
    worst: float
    low: float
    high: float

    @property
    def excess(self) -> float:
        """How far the worst value is outside, in widths of the range."""
        return self._beyond / max(self.high - self.low, 1e-9)

    @property
    def is_far(self) -> bool:
        """Whether it is outside by more than the range is wide, as a policy is warned of."""
        return self._beyond > max(self.high - self.low, LEAST_SLACK)

    @property
    def _beyond(self) -> float:
        return max(self.low - self.worst, self.worst - self.high)


def outside_range(
    episodes: Episodes, statistics: DatasetStatistics, seen_actions: SeenActions | None = None
) -> list[Outside]:
    """The components that leave their range, the farthest first.

    Args:
        episodes: held to the statistics, cameras left out.
        statistics: of other episodes with the same keys and shapes.
        seen_actions: as for `compute_statistics`.
    """
    ranges = {**statistics.observations, "action": statistics.seen_action}
    count = {key: _Count(item) for key, item in ranges.items()}
    for index in range(len(episodes)):
        episode = episodes.episode(index, with_images=False)
        for key in statistics.observations:
            count[key].add(episode.observations[key])
        where = f"'{episodes.path}', episode {index}"
        count["action"].add(seen_actions(episode, where) if seen_actions else episode.actions)
    found = [item for key, one in count.items() for item in one.found(key)]
    return sorted(found, key=lambda item: -item.excess)


def in_words(found: Sequence[Outside], spec: DataSpec) -> str:
    """One line: how many components, the worst ones with their share and value, what to check."""
    count = f"{len(found)} component{'s' * (len(found) > 1)}"
    worst = "; ".join(_worst(item, spec) for item in found[:_SHOWN])
    said = f"outside of the normalisation, which is kept: {count}, farthest {worst}"
    if not any(item.is_far for item in found):
        return said
    return f"{said}. Careful: are units (degrees, radians), order and offsets those of before?"


def _worst(item: Outside, spec: DataSpec) -> str:
    names = spec.names.get(item.key, ())
    called = f" ({names[item.component[-1]]})" if names and item.component else ""
    place = f"[{', '.join(map(str, item.component))}]" if item.component else ""
    return (
        f"{item.key}{place}{called} in {100 * item.share:.2g} % of the steps, up to "
        f"{item.worst:.4g} where [{item.low:.4g}, {item.high:.4g}] is known"
    )


class _Count:
    """Rows outside of the range, a component, and the lowest and highest value."""

    def __init__(self, known: ArrayStatistics) -> None:
        self._known, self._rows = known, 0
        self._outside = np.zeros(known.mean.shape, np.int64)
        self._low, self._high = known.minimum.copy(), known.maximum.copy()

    def add(self, rows: np.ndarray) -> None:
        """Count rows `[N, *shape]`."""
        known = self._known
        self._rows += len(rows)
        self._outside += ((rows < known.minimum) | (rows > known.maximum)).sum(axis=0)
        self._low = np.minimum(self._low, rows.min(axis=0))
        self._high = np.maximum(self._high, rows.max(axis=0))

    def found(self, key: str) -> list[Outside]:
        """The components that were outside at least once."""
        low, high = self._known.minimum, self._known.maximum
        below = low - self._low > self._high - high
        worst = np.where(below, self._low, self._high)
        return [
            Outside(
                key,
                tuple(int(i) for i in place),
                float(self._outside[tuple(place)] / self._rows),
                float(worst[tuple(place)]),
                float(low[tuple(place)]),
                float(high[tuple(place)]),
            )
            for place in np.argwhere(self._outside)
        ]
