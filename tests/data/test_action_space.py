"""Bounds as somebody gives them, and which bounds may take the place of which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from softflow.data.action_space import (
    ActionSpace,
    bounds_command,
    goes_on_as,
    is_only_narrower,
    lies_within,
    require_fits_environment,
    require_may_act,
)
from softflow.data.data_spec import DataSpec
from softflow.errors import ConfigError, DataError

NARROW = DataSpec(
    {"observation.state": (3,)},
    2,
    (-0.5, -0.25),
    (0.5, 0.75),
    10.0,
    "my-env",
    names={"action": ("x", "gripper")},
)
WIDE = replace(NARROW, action_low=(-1.0, -1.0), action_high=(1.0, 1.0))


def test_one_bound_for_all_components_or_one_each() -> None:
    assert ActionSpace(low=(-1.0,), high=(1.0,)).given_to(NARROW) == WIDE
    each = ActionSpace(high=(2.0, 3.0)).given_to(NARROW)
    assert (each.action_low, each.action_high) == (NARROW.action_low, (2.0, 3.0))
    assert ActionSpace().given_to(NARROW) == NARROW


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (ActionSpace(low=(-1.0, -1.0, -1.0)), ConfigError, r"has 3 values for 2 .*\(x, gripper\)"),
        (ActionSpace(high=(float("inf"),)), DataError, "must be finite"),
        (ActionSpace(low=(0.7,)), DataError, "component 0 has low 0.7 above high 0.5"),
    ],
)
def test_bounds_that_cannot_be(given: ActionSpace, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        given.given_to(NARROW)


def test_which_bounds_lie_within_which() -> None:
    assert lies_within(NARROW, WIDE)
    assert lies_within(NARROW, NARROW)
    assert not lies_within(WIDE, NARROW)
    rounded = replace(WIDE, action_low=(-1.0 - 1e-7, -1.0))
    assert lies_within(rounded, WIDE)
    assert is_only_narrower(NARROW, WIDE)
    assert not is_only_narrower(rounded, WIDE), "they are the same but for rounding"
    assert not is_only_narrower(replace(NARROW, control_hz=20.0), WIDE)
    assert not is_only_narrower(replace(NARROW, action_high=(0.5, 1.1)), WIDE)


def test_what_learned_from_narrower_bounds_may_go_on() -> None:
    assert goes_on_as(NARROW, WIDE)
    assert goes_on_as(replace(NARROW, env_id=""), WIDE), "an environment is named"
    assert not goes_on_as(WIDE, NARROW)
    assert goes_on_as(NARROW, replace(WIDE, env_id="another")), "it was renamed"
    assert not goes_on_as(NARROW, replace(WIDE, control_hz=20.0))


def test_another_neutral_action_is_another_beginning_of_every_episode() -> None:
    """Above zero the bound nearest to it held still; within wider bounds it would be zero."""
    lifted = replace(NARROW, action_low=(0.1, -0.25))
    assert lifted.held_still == (0.1, 0.0)
    assert not goes_on_as(lifted, WIDE)
    assert goes_on_as(lifted, replace(WIDE, neutral_action=(0.1, 0.0)))


def test_train_is_told_the_command_that_widens() -> None:
    with pytest.raises(DataError) as refused:
        require_fits_environment(NARROW, WIDE, Path("data/my door"))
    said = str(refused.value)
    assert "the dataset data/my door has narrower action bounds" in said
    assert "action_low[1]: -0.25 and -1" in said
    assert "softflow data bounds 'data/my door' --env-id my-env" in said
    require_fits_environment(WIDE, WIDE, Path("data"))
    with pytest.raises(DataError, match=r"'data' and the environment .* order:") as other:
        require_fits_environment(replace(NARROW, control_hz=20.0), WIDE, Path("data"))
    assert "control_hz: 20.0 and 10.0" in str(other.value)
    assert "softflow data bounds data --env-id ANOTHER --replace-env" in str(other.value)


def test_evaluate_measures_and_tells() -> None:
    with pytest.warns(UserWarning, match="data bounds STORE --env-id my-env"):
        require_may_act(NARROW, WIDE, Path("run/checkpoints/last"))
    with pytest.raises(DataError, match="action_high"):
        require_may_act(replace(NARROW, action_high=(0.5, 1.1)), WIDE, Path("run"))


def test_the_command_for_numbers_is_short_where_it_can_be() -> None:
    said = bounds_command("data/x", (-1.0, -1.0), (0.1, 1.0))
    assert said == "softflow data bounds data/x --action-low -1 --action-high 0.1 1"
