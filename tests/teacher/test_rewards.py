"""Table III by hand: each term where its value is known, and the sum."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from softflow.errors import ConfigError
from softflow.teacher.hand_view import HandView
from softflow.teacher.rewards import (
    TABLE_III,
    action_rate,
    angular_acceleration,
    joint_acceleration,
    joint_velocity,
    object_position,
    pose_closure,
    reaching_object,
    rotation_direction,
    rotation_magnitude,
    rotation_reward,
    table_iii_reward,
)

View = Callable[..., HandView]


def test_the_names_and_weights_are_the_papers() -> None:
    assert {name: term.weight for name, term in TABLE_III.items()} == {
        "object_position": 10.0,
        "rotation_magnitude": 10.0,
        "rotation_direction": 30.0,
        "angular_acceleration": 1.0,
        "reaching_object": 15.0,
        "pose_closure": 2.0,
        "joint_velocity": -1e-4,
        "action_size": -5e-4,
        "action_rate": -1e-2,
        "joint_acceleration": -1e-7,
    }


def test_position_is_1_at_home_and_falls_with_the_square(make_view: View) -> None:
    rest = make_view()
    assert object_position(rest, rest)[0] == 1.0
    away = make_view(cube_pos=[[0.0, 0.02, 0.0]])
    assert object_position(rest, away)[0] == pytest.approx(np.exp(-1))


def test_the_asked_speed_is_best_about_whatever_axis(make_view: View) -> None:
    rest = make_view()
    assert rotation_magnitude(rest, make_view(cube_spin=[[1.0, 0, 0]]))[0] == 1.0
    assert rotation_magnitude(rest, make_view(cube_spin=[[0, 0, 1.5]]))[0] == pytest.approx(
        np.exp(-1)
    )
    backwards = make_view(cube_spin=[[0, 0, -1.0]])
    assert rotation_magnitude(rest, backwards)[0] == 1.0


def test_direction_is_the_cosine_to_the_commanded_axis(make_view: View) -> None:
    rest = make_view()
    assert rotation_direction(rest, rest)[0] == 0.0
    assert rotation_direction(rest, make_view(cube_spin=[[0, 0, 2.0]]))[0] == pytest.approx(1.0)
    tilted = make_view(cube_spin=[[3.0, 0, 4.0]], command=[-1.0])
    assert rotation_direction(rest, tilted)[0] == pytest.approx(-0.8)


def test_a_steady_spin_costs_nothing(make_view: View) -> None:
    spinning = make_view(cube_spin=[[0, 0, 1.0]])
    assert angular_acceleration(spinning, spinning)[0] == 0.0
    # 2 rad/s within 0.05 s are 40 rad/s²
    faster = make_view(cube_spin=[[0, 0, 3.0]])
    assert angular_acceleration(spinning, faster)[0] == pytest.approx(np.exp(-1) - 1)


def test_reaching_and_closure(make_view: View) -> None:
    rest = make_view()
    assert reaching_object(rest, rest)[0] == pytest.approx(np.exp(-1))
    assert pose_closure(rest, rest)[0] == pytest.approx(1.0)
    beside = make_view(tips=[[[0.03, 0, 0], [0.03, 0, 0]]])
    assert pose_closure(rest, beside)[0] == pytest.approx(0.0)
    square = make_view(tips=[[[0.03, 0, 0], [0, 0.03, 0]]])
    assert pose_closure(rest, square)[0] == pytest.approx(1 - np.sqrt(0.5))


def test_penalties_are_sums_of_squares(make_view: View) -> None:
    rest = make_view()
    moving = make_view(joint_vel=[[1.0, 2.0]], actions=[[0.5, -0.5]])
    assert joint_velocity(rest, moving)[0] == 5.0
    assert action_rate(rest, moving)[0] == 0.5
    assert joint_acceleration(rest, moving)[0] == pytest.approx(5.0 * 20**2)


def test_the_sum_by_hand(make_view: View) -> None:
    rest = make_view()
    after = make_view(cube_spin=[[0, 0, 1.0]], joint_vel=[[1.0, 0]], actions=[[1.0, 0]])
    jerk = np.exp(-20 / 40) - 1
    reach = np.exp(-1)
    by_hand = 10 + 10 + 30 + jerk + 15 * reach + 2 - 1e-4 - 5e-4 - 1e-2 - 1e-7 * 400
    assert table_iii_reward(rest, after)[0] == pytest.approx(by_hand * 0.05)
    without = table_iii_reward(rest, after, {"rotation_direction": 0.0})
    assert without[0] == pytest.approx((by_hand - 30) * 0.05)
    with pytest.raises(ConfigError, match="no reward is called 'speed'"):
        table_iii_reward(rest, after, {"speed": 1.0})


def test_rotation_is_capped_and_a_drop_costs_more_than_eight_steps(make_view: View) -> None:
    rest = make_view()
    views = [
        HandView(
            *(
                np.repeat(v, 4, 0) if v.ndim > 1 or v.shape == (1,) else v
                for v in vars(rest).values()
            )
        )
    ] * 2
    turned = np.array([0.075, 0.5, -0.0375, 0.075])  # at 20 Hz: 1.5, 10, -0.75, 1.5 rad/s
    dropped = np.array([False, False, False, True])
    earned = rotation_reward(turned, np.ones(4), dropped, *views)
    assert earned == pytest.approx([1.0, 1.0, -0.5, -12.0])
    other = rotation_reward(turned, -np.ones(4), dropped, *views)
    assert other[:3] == pytest.approx([-1.0, -1.0, 0.5])
    with pytest.raises(ConfigError, match="below 8"):
        rotation_reward(turned, np.ones(4), dropped, *views, drop_penalty=5.0)
