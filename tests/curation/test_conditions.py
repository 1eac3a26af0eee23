"""Conditions mean what they say, and nothing else is evaluated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softflow.curation.conditions import parse_condition
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.errors import DataError

STATE = "observation.state"
SPEC = DataSpec({STATE: (2,)}, 1, (-9.0,), (9.0,), 10.0, "", {STATE: ("height", "width")})


def episode(heights: list[float], actions: list[float] | None = None) -> Episode:
    """Seen before the first action, and after each."""
    steps = len(heights) - 1
    state = np.stack([heights, np.arange(steps + 1)], axis=1).astype(np.float32)
    return Episode(
        {STATE: state},
        np.array(actions or [0.0] * steps, np.float32)[:, None],
        np.arange(steps, dtype=np.float32),
        terminated=False,
        truncated=True,
        success=False,
    )


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("observation.state[0]>0.5", [0, 0, 1, 1]),
        ("observation.state[height] >= 0.5", [0, 1, 1, 1]),
        ("observation.state[0]<0.5", [1, 0, 0, 0]),
        ("observation.state[0] == 0.9", [0, 0, 1, 0]),
        ("observation.state[0]!=0.9", [1, 1, 0, 1]),
        ("observation.state[0] <= -1e9", [0, 0, 0, 0]),
        ("action<0", [1, 0, 1, 0]),
        ("action[0]<0 and observation.state[0]>0.5", [0, 0, 1, 0]),
        ("action<0 and next.reward>=2 or observation.state[1]==1", [1, 0, 1, 0]),
        ("next.reward>2.5", [0, 0, 0, 1]),
    ],
)
def test_where_a_condition_holds(text: str, steps: list[int]) -> None:
    recorded = episode([9.0, 0.2, 0.5, 0.9, 1.0], [-1, 1, -1, 1])
    holds = parse_condition(text, SPEC).holds(recorded)
    assert holds.tolist() == [bool(step) for step in steps]


def test_what_was_seen_before_the_first_action_earns_nothing() -> None:
    assert parse_condition("observation.state[0]>5", SPEC).first_step(episode([9, 0, 0])) is None


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 6))
def test_the_first_step_by_which_it_held_long_enough(flags: list[bool], hold: int) -> None:
    found = parse_condition("observation.state[0]>0.5", SPEC).first_step(
        episode([0.0, *map(float, flags)]), hold
    )
    slow = [t for t in range(hold - 1, len(flags)) if all(flags[t - hold + 1 : t + 1])]
    assert found == (slow[0] if slow else None)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "write comparisons such as"),
        ("observation.state[0]", "write comparisons such as"),
        ("observation.state[0] > high", "write comparisons such as"),
        ("observation.state[0] > nan", "write comparisons such as"),
        ("observation.state[0] > 1 and", "write comparisons such as"),
        ("__import__('os').remove('x') > 0", "names nothing in this data"),
        ("observation.state > 1", "compares all 2 components"),
        ("observation.state[2] > 1", "give 0 to 1 or one of height, width"),
        ("observation.state[depth] > 1", "no component 'depth'"),
        ("observation.force[0] > 1", "one of observation.state, action, next.reward"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, hint: str) -> None:
    with pytest.raises(DataError) as error:
        parse_condition(text, SPEC)
    assert hint in str(error.value)


def test_keys_may_hold_the_words_that_join() -> None:
    spec = replace(SPEC, observation_shapes={"observation.hand.orientation": (1,)}, names={})
    assert len(parse_condition("observation.hand.orientation>0", spec).groups) == 1
