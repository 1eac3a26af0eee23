"""Which control steps a person commanded, in an episode and in windows of many."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from softflow.data.episode_store import EpisodeStore
from softflow.data.metadata import metadata_value
from softflow.errors import DataError

TAKEN_OVER_KEY = "taken_over"
"""Metadata: [first step, last step] of everything that a person commanded."""
_STEPS = 2**32
"""More than an episode has: a number of an episode and a step in it are one number."""


def taken_over(metadata: Mapping[str, Any], where: str) -> list[tuple[int, int]]:
    """What a person commanded in an episode: [first step, last step] of each time, in order.

    Args:
        metadata: of the episode; where: how messages call it.

    Raises:
        DataError: something else stands there, or the times are in no order.
    """
    none: list[tuple[int, int]] = []
    times = metadata_value(metadata, TAKEN_OVER_KEY, list[tuple[int, int]], none, where)
    before = -1
    for first, last in times:
        if not before < first <= last < _STEPS:
            raise DataError(
                f"{where}: the metadata '{TAKEN_OVER_KEY}' is {times!r:.60}; give "
                "[first step, last step] of each time, in their order"
            )
        before = last
    return times


class TakenOver:
    """What people commanded in the episodes of a store.

    Args:
        store: of the episodes; episodes: their numbers in it.

    Raises:
        StoreError: an episode file is damaged.
        DataError: the metadata of one say it otherwise than they should.
    """

    def __init__(self, store: EpisodeStore, episodes: Iterable[int]) -> None:
        times = [
            (index * _STEPS + first, index * _STEPS + last)
            for index in sorted(set(episodes))
            for first, last in taken_over(
                store.summary(index).metadata, f"episode {index} of '{store.path}'"
            )
        ]
        self._times = np.array(times, np.int64).reshape(-1, 2)

    def and_in(self, store: EpisodeStore, episodes: Iterable[int]) -> TakenOver:
        """With what people commanded in more episodes; only these are looked into.

        Raises:
            StoreError, DataError: as for the first ones.
        """
        more = TakenOver(store, episodes)
        more._times = np.unique(np.concatenate([self._times, more._times]), axis=0)
        return more

    def __bool__(self) -> bool:
        return len(self._times) > 0

    @property
    def episodes(self) -> set[int]:
        """Numbers in the store of the episodes in which a person commanded something."""
        return set((self._times[:, 0] // _STEPS).tolist())

    def steps_from(self, episode: np.ndarray, step: np.ndarray) -> np.ndarray:
        """How many control steps from this one on a person commanded without a break `[B]`.

        Args:
            episode: `[B]` numbers in the store; step: `[B]`.
        """
        if not self:
            return np.zeros(len(step), np.int64)
        place = episode * _STEPS + step
        first, last = self._times.T
        time = np.searchsorted(first, place, side="right") - 1
        left = last[np.maximum(time, 0)] - place + 1
        return np.where(time < 0, 0, np.maximum(left, 0))
