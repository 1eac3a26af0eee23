"""What of some episodes lies outside of a normalisation, worked by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from point_world import demonstration, point_spec

from softflow.data.data_spec import STATE_KEY
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.outside_range import Outside, in_words, outside_range
from softflow.data.statistics import compute_statistics


def store_of(path: Path, state: np.ndarray, actions: np.ndarray) -> EpisodeStore:
    """One episode: states [T+1, 4] and actions [T, 2]."""
    rewards = np.zeros(len(actions), np.float32)
    made = demonstration(0, towards_goal=True)
    episode: Episode = replace(
        made,
        observations={STATE_KEY: state.astype(np.float32)},
        actions=actions.astype(np.float32),
        rewards=rewards,
    )
    with EpisodeStore.create(path, point_spec()) as store:
        store.append(episode)
    return EpisodeStore.open(path)


def test_share_worst_value_and_range_of_each_component(tmp_path: Path) -> None:
    known = store_of(
        tmp_path / "known",
        np.array([[0, 0, 0, 0], [1, 2, 1, 1], [0, 1, 0, 0]]),
        np.array([[-0.5, 0.0], [0.5, 0.5]]),
    )
    other = store_of(
        tmp_path / "other",
        np.array([[4, 0, 0, 0], [0, -1, 1, 0], [3, 2, 0, 1]]),
        np.array([[0.75, 0.0], [0.5, 0.25]]),
    )
    statistics = compute_statistics(known)
    assert outside_range(known, statistics) == []
    found = outside_range(other, statistics)
    assert found == [
        Outside(STATE_KEY, (0,), 2 / 3, 4.0, 0.0, 1.0),
        Outside(STATE_KEY, (1,), 1 / 3, -1.0, 0.0, 2.0),
        Outside("action", (0,), 0.5, 0.75, -0.5, 0.5),
    ]
    assert [item.excess for item in found] == [3.0, 0.5, 0.25]
    spec = replace(point_spec(), names={"action": ("x", "y")})
    said = in_words(found, spec)
    assert "3 components, farthest observation.state[0] in 67 % of the steps, up to 4 " in said
    assert said.endswith("are units (degrees, radians), order and offsets those of before?")
    assert "Careful" not in in_words(found[1:], spec)
    assert not Outside("action", (0,), 1.0, 0.004, 0.0, 0.0).is_far, "a still joint, and noise"
    assert "action[0] (x) in 50 % of the steps, up to 0.75 where [-0.5, 0.5] is known" in said
