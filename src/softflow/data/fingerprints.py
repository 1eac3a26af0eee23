"""Which episodes and labels a store holds, in one short text each, to tell changed data from old.

They follow from what was recorded and labelled, not from paths, times or how a file was copied.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence

from softflow.data.episode_store import EpisodeStore

SHOWN = 5


def fingerprints(store: EpisodeStore, indices: Iterable[int]) -> list[str]:
    """The recording of each episode, and its label if one counts: "3f…" or "3f…+a7…".

    Raises:
        StoreError: an episode or a label cannot be read.
    """
    return [_fingerprint(store, index) for index in indices]


def _fingerprint(store: EpisodeStore, index: int) -> str:
    recorded = store.summary(index).digest[:16]
    label = store.newest_label(index)
    if label is None:
        return recorded
    said = {"annotator": label.annotator, "events": [event.to_json() for event in label.events]}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    return f"{recorded}+{digest[:16]}"


def lost(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """A line for each recording that is another one or gone, the first ones only."""
    lines = [
        f"episode {index} is another recording"
        for index, (old, new) in enumerate(zip(before, now, strict=False))
        if old.partition("+")[0] != new.partition("+")[0]
    ]
    if len(now) < len(before):
        lines.append(f"there were {len(before)} episodes, now there are {len(now)}")
    return _first(lines)


def grown(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """A line for each recording that is labelled otherwise, the first ones only, and for new ones.

    Of the same recordings, as `lost` tells.
    """
    lines = _first(
        [
            f"episode {index} is labelled otherwise"
            for index, (old, new) in enumerate(zip(before, now, strict=False))
            if old != new
        ]
    )
    if len(now) > len(before):
        lines.append(f"there were {len(before)} episodes, now there are {len(now)}")
    return lines


def digest(prints: Iterable[str]) -> str:
    """One text for all of them, in their order."""
    return hashlib.sha256("\n".join(prints).encode()).hexdigest()[:16]


def _first(lines: list[str]) -> list[str]:
    more = len(lines) - SHOWN
    return [*lines[:SHOWN], f"and {more} more episodes"] if more > 0 else lines
