"""Which episodes of a dataset a stage can learn from, and what to do if there are none."""

from __future__ import annotations

from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import vouch
from softflow.errors import DataError


def require_episodes(store: EpisodeStore) -> list[int]:
    """Indices of all episodes of a store.

    Raises:
        DataError: the store is empty.
    """
    if len(store) == 0:
        raise DataError(
            f"the dataset '{store.path}' holds no episodes; collect some with `softflow collect` "
            "or point to another folder."
        )
    return list(range(len(store)))


def successful_episodes(store: EpisodeStore) -> list[int]:
    """Indices of the successful episodes, ascending; possibly none."""
    return [summary.index for summary in store.summaries() if summary.success]


def require_successes(store: EpisodeStore) -> list[int]:
    """Indices of the successful episodes: what imitation learns from (Sec. IV-D).

    Raises:
        DataError: the store is empty, or no episode in it succeeded.
    """
    indices = require_episodes(store)
    successes = successful_episodes(store)
    if not successes:
        raise DataError(
            f"none of the {len(indices)} episodes in '{store.path}' is marked success, and "
            "imitation learns from successful ones only; add successful demonstrations, or say "
            f"which are: {vouch(store.path)}"
        )
    return successes
