"""Labels that a page sends, as soon as they are on the disk."""

from __future__ import annotations

import time
from pathlib import Path

from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Label


def waited_for(path: Path, index: int, count: int = 1, timeout_s: float = 30) -> list[Label]:
    """The labels of an episode, as soon as there are so many."""
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        labels = EpisodeStore.open(path).labels(index)
        if len(labels) >= count:
            return labels
        time.sleep(0.05)
    raise AssertionError(f"episode {index} of {path} has no {count} labels")
