"""The offset of an episode that explores: from its seed alone, and never from rubbish."""

from __future__ import annotations

import numpy as np
import pytest

from softflow.data.exploration import exploration_facts, exploration_offset, offset_of
from softflow.errors import DataError


def test_a_robot_and_a_learner_know_the_same_offset() -> None:
    metadata = exploration_facts(0.1) | {"seed": 7}
    found = offset_of(metadata, 0.1, 3, "an episode")
    assert found is not None
    assert (found == exploration_offset(7, 0.1, 3)).all()
    assert (found != exploration_offset(8, 0.1, 3)).all()


def test_offsets_are_spread_as_told() -> None:
    drawn = np.array([exploration_offset(seed, 0.1, 5) for seed in range(400)])
    assert drawn.std() == pytest.approx(0.1, rel=0.05)
    assert abs(drawn.mean()) < 0.01


def test_episodes_that_did_not_explore_or_otherwise_tell_nothing() -> None:
    assert exploration_facts(0.0) == {}
    assert offset_of({"seed": 7}, 0.1, 3, "an episode") is None
    assert offset_of(exploration_facts(0.2) | {"seed": 7}, 0.1, 3, "an episode") is None


@pytest.mark.parametrize(
    "metadata",
    [
        {"exploration_std": "much", "seed": 7},
        {"exploration_std": 0.1, "seed": "first"},
        {"exploration_std": 0.1, "seed": -3},
        {"exploration_std": 0.1},
    ],
)
def test_rubbish_is_named(metadata: dict[str, object]) -> None:
    with pytest.raises(DataError, match="an episode"):
        offset_of(metadata, 0.1, 3, "an episode")
