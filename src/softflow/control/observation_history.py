"""The observations that a decision sees."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np


class ObservationHistory:
    """The newest observations of an episode, oldest first, the first one repeated at the start.

    Args:
        length: observation steps seen, the current one included.
        first: key -> value of the episode's first observation.
    """

    def __init__(self, length: int, first: Mapping[str, np.ndarray]) -> None:
        self._steps = deque([first] * length, maxlen=length)

    def add(self, observation: Mapping[str, np.ndarray]) -> None:
        """The observation of the next control step."""
        self._steps.append(observation)

    def stacked(self) -> dict[str, np.ndarray]:
        """key -> `[history, ...]`."""
        return {key: np.stack([step[key] for step in self._steps]) for key in self._steps[-1]}
