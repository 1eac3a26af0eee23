"""Which demonstrations are held out: no stage learns from them, and the policy is measured there.

Only successful episodes are held out, because imitation learns from no others.
"""

from __future__ import annotations

import hashlib

from softflow.data.episode_store import EpisodeStore
from softflow.errors import ConfigError

EVERY = 20
"""Without a share of its own a run holds out every 20th success, from the 21st on."""
MAX_SHARE = 0.5


def require_share(share: float | None) -> None:
    """Raise unless so much of the demonstrations can be held out.

    Raises:
        ConfigError: the share is not within 0 and `MAX_SHARE`.
    """
    if share is not None and not 0 <= share <= MAX_SHARE:
        raise ConfigError(
            f"data.held_out is {share}; must lie in [0, {MAX_SHARE}], the share of the successful "
            "episodes that are kept out of training"
        )


def successful_episodes(store: EpisodeStore) -> list[int]:
    """Indices of the successful episodes, ascending; possibly none."""
    return [summary.index for summary in store.summaries() if summary.success]


def held_out_episodes(store: EpisodeStore, share: float | None, seed: int) -> list[int]:
    """Store indices of the demonstrations that no stage learns from, ascending.

    With a `share`, an episode is held out where a hash of the seed and of what was recorded lies
    below it: the same ones wherever the episode stands, whatever its label, and whichever are added
    later. At least one is, and at least one is not. As long as none lies below, the lowest is held
    out; one that is learned from is never held out later for others that were added.

    Without, every 20th success is: a store of 20 successes or fewer keeps all for learning, which
    needs each of them more than a measurement on one episode would tell.

    Args:
        store: the episodes.
        share: of the successful ones, 0 to `MAX_SHARE`; 0: none.
        seed: of the run.
    """
    successes = successful_episodes(store)
    if share is None:
        return successes[EVERY::EVERY]
    if share == 0 or len(successes) < 2:
        return []
    place = {index: _place(seed, store.summary(index).digest) for index in successes}
    ranked = sorted(successes, key=lambda index: place[index])
    chosen = [index for index in ranked if place[index] < share] or ranked[:1]
    return sorted(chosen[: len(successes) - 1])


def in_words(num_successes: int, num_held_out: int, share: float | None) -> str:
    """What `train` says of the split where there is nothing else to measure by."""
    if num_held_out:
        return (
            f"the policy is measured on {num_held_out} of {num_successes} successful episodes, "
            "which no stage learns from"
        )
    if share is None:
        return (
            f"with {num_successes} successful episodes none is kept out of training to measure on "
            f"(it takes {EVERY + 1}); --data.held-out 0.1 keeps out a tenth"
        )
    return "no episode is kept out of training to measure on"


def _place(seed: int, digest: str) -> float:
    """Where an episode lies in [0, 1): a pure function of the seed and of what was recorded."""
    hashed = hashlib.sha256(f"{seed} {digest}".encode()).digest()
    return int.from_bytes(hashed[:6], "big") / 2**48
