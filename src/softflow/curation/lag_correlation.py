"""How much an action tells of the one some control steps later."""

from __future__ import annotations

import numpy as np

LEAST_PAIRS = 10
"""Fewer pairs of rows say nothing: two alone are always correlated perfectly."""


class LagCorrelation:
    """Correlation of rows with the rows 0 … `lags` steps later, never across two episodes.

    Args:
        components: of one row.
        lags: control steps looked ahead, >= 1.
    """

    def __init__(self, components: int, lags: int) -> None:
        self.lags = lags
        self._shift: np.ndarray | None = None
        self._count = np.zeros((lags + 1, 1))
        self._x, self._y, self._xx, self._yy, self._xy = np.zeros((5, lags + 1, components))

    def add(self, rows: np.ndarray) -> None:
        """The rows of another episode, `[T, components]`, T >= 1."""
        rows = rows.astype(np.float64)
        # Sums of squares cancel where values are large against their spread.
        self._shift = rows.mean(axis=0) if self._shift is None else self._shift
        rows = rows - self._shift
        for lag in range(min(self.lags, len(rows) - 1) + 1):
            x, y = rows[: len(rows) - lag], rows[lag:]
            self._count[lag] += len(x)
            self._x[lag] += x.sum(axis=0)
            self._y[lag] += y.sum(axis=0)
            self._xx[lag] += (x * x).sum(axis=0)
            self._yy[lag] += (y * y).sum(axis=0)
            self._xy[lag] += (x * y).sum(axis=0)

    def result(self) -> np.ndarray:
        """`[lags + 1, components]` in [−1, 1]; NaN where rows are constant or too few."""
        n = np.maximum(self._count, 1)
        covariance = self._xy / n - self._x * self._y / n**2
        x_variance = self._xx / n - (self._x / n) ** 2
        y_variance = self._yy / n - (self._y / n) ** 2
        floor = 1e-12 * np.maximum(self._xx / n, 1e-12)
        varies = (self._count >= LEAST_PAIRS) & (x_variance > floor) & (y_variance > floor)
        with np.errstate(invalid="ignore", divide="ignore"):
            correlation = covariance / np.sqrt(x_variance * y_variance)
        return np.where(varies, np.clip(correlation, -1, 1), np.nan)
