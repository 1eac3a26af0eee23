"""What a person commanded: read from metadata, counted for any step of any episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_episodes import EpisodeMaker

from softflow.data.data_spec import DataSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.taken_over import TAKEN_OVER_KEY, TakenOver, taken_over
from softflow.errors import DataError

TIMES: list[list[list[int]]] = [[], [[1, 2], [5, 5]], [[0, 0]], [[4, 6]], []]


@pytest.mark.parametrize("parts", [[range(5)], [[3], [0, 1], [2, 4, 1]]], ids=["at once", "grown"])
def test_steps_left_to_the_person_are_those_counted_one_by_one(
    parts: list[Sequence[int]], tmp_path: Path, spec: DataSpec, make_episode: EpisodeMaker
) -> None:
    with EpisodeStore.create(tmp_path / "data", spec) as store:
        for times in TIMES:
            store.append(replace(make_episode(spec), metadata={TAKEN_OVER_KEY: times}))
        assert not TakenOver(store, [0, 4])
        found = TakenOver(store, ())
        for part in parts:
            found = found.and_in(store, part)
    assert found
    for episode, times in enumerate(TIMES):
        marked = {step for first, last in times for step in range(first, last + 1)}
        for step in range(-3, 10):
            left = next(n for n in range(10) if step + n not in marked)
            assert found.steps_from(np.array([episode]), np.array([step])).tolist() == [left]


def test_an_episode_without_the_key_has_none(spec: DataSpec, make_episode: EpisodeMaker) -> None:
    assert taken_over(make_episode(spec).metadata, "here") == []


@pytest.mark.parametrize(
    "said", ["yes", [[1]], [[3, 2]], [[1, 4], [4, 6]], [[-1, 2]], [[0, 2**40]], {"first": 1}]
)
def test_what_says_no_times_is_refused(said: Any) -> None:
    with pytest.raises(DataError, match="here: the metadata 'taken_over' is"):
        taken_over({TAKEN_OVER_KEY: said}, "here")
