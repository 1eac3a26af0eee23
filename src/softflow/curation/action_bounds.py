"""Another action space for the episodes of a store, which stay as they are."""

from __future__ import annotations

from collections.abc import Callable

from softflow.data.action_space import lies_within
from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore


def change_bounds(
    store: EpisodeStore, spec: DataSpec, on_checked: Callable[[int], None] = lambda done: None
) -> None:
    """Let a store, open for writing, say that its actions are those of `spec`.

    Wider bounds hold every episode; for others all episodes are read, as they were recorded. Only
    then is store.json replaced, whole: a stop before that leaves everything as it was.

    Args:
        store: its episodes.
        spec: the store's, with other bounds or another neutral action, or an environment named.
        on_checked: called with the number of episodes that were found to fit.

    Raises:
        DataError: an action lies outside; names episode, step, component and value. Or `spec` says
            other things anew.
        StoreError: an episode cannot be read, or the disk refuses.
    """
    if not lies_within(store.spec, spec):
        for index in range(len(store)):
            episode = store.episode(index, with_images=False, labelled=False)
            episode.require_within_bounds(spec, f"episode {index} of '{store.path}'")
            on_checked(index + 1)
    store.redeclare(spec)
