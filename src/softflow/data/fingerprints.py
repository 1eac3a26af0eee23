"""Which episodes and labels a store holds, in one short text each, to tell changed data from old.

They follow from what was recorded and labelled, not from paths, times or how a file was copied.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict

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
    said = {"annotator": label.annotator, "events": [asdict(event) for event in label.events]}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
    return f"{recorded}+{digest[:16]}"


def changes(before: Sequence[str], now: Sequence[str]) -> list[str]:
    """A line for each difference, the first ones only: another recording, another label."""
    lines: list[str] = []
    for index, (old, new) in enumerate(zip(before, now, strict=False)):
        if old.partition("+")[0] != new.partition("+")[0]:
            lines.append(f"episode {index} is another recording")
        elif old != new:
            lines.append(f"episode {index} is labelled otherwise")
    if len(lines) > SHOWN:
        lines[SHOWN:] = [f"and {len(lines) - SHOWN} more episodes"]
    if len(before) != len(now):
        lines.append(f"there were {len(before)} episodes, now there are {len(now)}")
    return lines
