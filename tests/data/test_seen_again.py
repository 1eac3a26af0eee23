"""What rendering found out about recorded actions stays with the episodes; training tells it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from point_world import demonstration, point_spec

from softflow.data.episode_store import EpisodeStore
from softflow.data.seen_again import foreign_actions, seen_again
from softflow.errors import DataError
from softflow.pages.data_tables import store_overview


def store_of(path: Path, *found: dict[str, Any]) -> EpisodeStore:
    with EpisodeStore.create(path, point_spec()) as store:
        for seed, metadata in enumerate(found):
            episode = demonstration(seed, towards_goal=True)
            store.append(replace(episode, metadata={**episode.metadata, **metadata}))
    return EpisodeStore.open(path)


def test_steps_that_end_elsewhere_are_told(tmp_path: Path) -> None:
    """Also of a store in which they are only some."""
    steps = seen_again({"object": 0.001}, 0.004, 0.005)
    store = store_of(tmp_path / "store", {}, steps, seen_again({}, 0.008, 0.005))
    told = foreign_actions(store.summaries())
    assert "the actions of 2 episodes were another controller's" in told
    assert "a step ended 6 mm from the recorded one, the gripper having moved 5 mm" in told
    assert f"careful: {told}" in store_overview(store)


@pytest.mark.parametrize(
    "found",
    [
        {},
        seen_again({}, 0.001, 0.005),
        seen_again({}, float("nan"), float("nan")),
        {"seen_again": {"largest_errors": {}}},  # of a softflow that kept no steps
    ],
)
def test_nothing_is_told_where_steps_fit_or_nobody_tried(
    tmp_path: Path, found: dict[str, Any]
) -> None:
    store = store_of(tmp_path / "store", found)
    assert foreign_actions(store.summaries()) == ""
    assert "careful" not in store_overview(store)


def test_metadata_of_somebody_else_under_that_name(tmp_path: Path) -> None:
    store = store_of(tmp_path / "store", {"seen_again": "yes"})
    with pytest.raises(DataError, match="episode 0: the metadata 'seen_again' is 'yes'"):
        foreign_actions(store.summaries())
