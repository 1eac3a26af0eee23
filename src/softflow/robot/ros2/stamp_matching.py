"""Which messages of several topics belong to one moment. No clock and no ROS in here."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence


def newest_match(stamps: Sequence[Sequence[int]], tolerance: int) -> tuple[int, ...] | None:
    """The newest set of stamps, one a topic, that lie within a tolerance of each other.

    Of two such sets the newer of both in every topic is one again, so one of them is the newest in
    every topic. Found from above: whatever is too new for the oldest of the set steps back.

    Args:
        stamps: of each topic, rising.
        tolerance: largest spread of a set, in the units of the stamps.

    Returns:
        The stamp of each topic; None if there is no such set.
    """
    places = [len(topic) - 1 for topic in stamps]
    if not places or min(places) < 0:
        return None
    while True:
        chosen = [topic[place] for topic, place in zip(stamps, places, strict=True)]
        latest = min(chosen) + tolerance
        if max(chosen) <= latest:
            return tuple(chosen)
        places = [
            bisect_right(topic, latest, 0, place + 1) - 1
            for topic, place in zip(stamps, places, strict=True)
        ]
        if min(places) < 0:
            return None
