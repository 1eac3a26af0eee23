"""How many rows of an online batch come from the offline data: a fixed share, or by size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from softflow.errors import ConfigError


class Mixing(ABC):
    """A rule for the offline rows of a batch; while there is no online window, all are."""

    def num_offline(
        self, generator: np.random.Generator, batch_size: int, offline: int, online: int
    ) -> int:
        """Offline rows in [0, batch_size].

        Args:
            generator: of this batch; a rule may draw from it.
            batch_size: rows of the batch.
            offline, online: windows that may be drawn, ≥ 0.
        """
        return self._rows(generator, batch_size, offline, online) if online else batch_size

    @abstractmethod
    def _rows(
        self, generator: np.random.Generator, batch_size: int, offline: int, online: int
    ) -> int:
        """As `num_offline`, with at least one online window."""


@dataclass(frozen=True)
class FixedRatio(Mixing):
    """The same share of every batch, however much was collected (Sec. IV-D, IV; ρ in App. C2).

    Args:
        offline_ratio: ρ in [0, 1]; the offline rows are round(ρ · batch_size).

    Raises:
        ConfigError: offline_ratio is out of range.
    """

    offline_ratio: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.offline_ratio <= 1.0:
            raise ConfigError(f"offline_ratio is {self.offline_ratio}; it must lie in [0, 1].")

    def _rows(
        self, generator: np.random.Generator, batch_size: int, offline: int, online: int
    ) -> int:
        return round(self.offline_ratio * batch_size)


@dataclass(frozen=True)
class BySize(Mixing):
    """Rows in proportion to the sizes of both data, offline windows at a weight (App. C2, real).

    Each row is offline with probability w · N_offline / (w · N_offline + N_online), N being
    windows: as if all windows lay in one heap, an offline one w times as likely as an online one.
    The count is drawn instead of rounded, so a single online window among many is seen too.

    Args:
        offline_weight: w ≥ 0, 0.5 in the paper.

    Raises:
        ConfigError: offline_weight is negative or not finite.
    """

    offline_weight: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.offline_weight < float("inf"):
            raise ConfigError(
                f"offline_weight is {self.offline_weight}; it must be ≥ 0 and finite."
            )

    def share(self, offline: int, online: int) -> float:
        """Probability that a row is offline, given the number of windows (online ≥ 1)."""
        weighted = self.offline_weight * offline
        return 1 / (1 + online / weighted) if weighted else 0.0

    def _rows(
        self, generator: np.random.Generator, batch_size: int, offline: int, online: int
    ) -> int:
        return int(generator.binomial(batch_size, self.share(offline, online)))
