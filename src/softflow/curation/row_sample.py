"""A bounded, repeatable sample of rows that arrive in any number: exact while they all fit."""

from __future__ import annotations

import numpy as np

SAMPLE_ROWS = 100_000
SAMPLE_VALUES = 8_000_000
"""Bounds the memory of a sample of wide rows: 32 MB of float32."""


def sample_rows(components: int) -> int:
    """How many rows of so many components to keep."""
    return max(1_000, min(SAMPLE_ROWS, SAMPLE_VALUES // components))


class RowSample:
    """At most `limit` of the rows added, each equally likely, in the order they came.

    Which rows stay depends on nothing but their number, so the same data gives the same sample.
    The choice is by a hash of that number: every n-th row would hit the same step of episodes of
    equal length.

    Args:
        limit: rows kept at most, >= 1.
    """

    def __init__(self, limit: int = SAMPLE_ROWS) -> None:
        self.limit = limit
        self.seen = 0
        self._rows: list[np.ndarray] = []
        self._hashes: list[np.ndarray] = []
        self._kept = 0
        self._bits = 0

    @property
    def exact(self) -> bool:
        """Whether every row added is still there."""
        return self._bits == 0

    @property
    def rows(self) -> np.ndarray:
        """`[N, ...]`, N at most `limit`; `[0]` before the first row."""
        return np.concatenate(self._rows) if self._rows else np.empty(0, np.float32)

    def add(self, rows: np.ndarray) -> None:
        """Offer rows `[n, ...]`; all calls bring the same row shape."""
        hashes = _hashed(np.arange(self.seen, self.seen + len(rows), dtype=np.uint64))
        self.seen += len(rows)
        self._keep(rows, hashes)
        while self._kept > self.limit:
            self._bits += 1
            parts = list(zip(self._rows, self._hashes, strict=True))
            self._rows, self._hashes, self._kept = [], [], 0
            for old_rows, old_hashes in parts:
                self._keep(old_rows, old_hashes)

    def _keep(self, rows: np.ndarray, hashes: np.ndarray) -> None:
        """Keep the rows whose hash starts with `_bits` zeros: one in 2 ** bits."""
        chosen = hashes >> np.uint64(64 - self._bits) == 0 if self._bits else slice(None)
        self._rows.append(np.array(rows[chosen]))
        self._hashes.append(hashes[chosen])
        self._kept += len(self._hashes[-1])


def _hashed(numbers: np.ndarray) -> np.ndarray:
    """SplitMix64: uint64 `[n]` to uint64 `[n]` in which every bit looks random."""
    z = numbers + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
