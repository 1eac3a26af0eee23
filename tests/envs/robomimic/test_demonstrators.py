"""Operators of three qualities: what they record is what happened, and skill shows in success."""

from __future__ import annotations

import numpy as np
import pytest
from simulator_needed import skip_without_robosuite

from softflow.data.data_spec import STATE_KEY
from softflow.envs.contract import data_spec
from softflow.envs.registry import make_env
from softflow.envs.robomimic.demonstrators import (
    Operator,
    demonstrate,
    operator_mixture,
)
from softflow.envs.robomimic.scene import rotation_vector, turn_between
from softflow.envs.robomimic.tasks import RobomimicTask
from softflow.errors import ConfigError

skip_without_robosuite()


def test_six_operators_of_three_qualities() -> None:
    for family in ("lift", "can", "square"):
        people = operator_mixture(family).operators
        assert [person.quality for person in people if isinstance(person, Operator)] == [
            "better",
            "better",
            "okay",
            "okay",
            "worse",
            "worse",
        ]
        assert len({person.name for person in people}) == 6


def test_an_operator_that_makes_no_sense() -> None:
    with pytest.raises(ConfigError, match=r"pace .* give fractions of full speed"):
        Operator("rushed", "better", pace=(0.5, 1.5))
    with pytest.raises(ConfigError, match="clearance_m and settle_s are above 0"):
        Operator("flat", "better", pace=(0.5, 1.0), clearance_m=0.0)


def test_turns() -> None:
    down = np.diag([1.0, -1.0, -1.0])
    quarter = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert np.allclose(rotation_vector(quarter), [0.0, 0.0, np.pi / 2])
    assert np.allclose(rotation_vector(np.eye(3)), 0.0)
    assert np.allclose(turn_between(down, np.array([1.0, 0.0, 0.0])), 0.0)
    turn = turn_between(down, np.array([0.0, 1.0, 0.0]))
    assert np.allclose(turn, [0.0, 0.0, np.pi / 2])


@pytest.mark.slow
def test_an_episode_is_a_function_of_its_arguments_and_happens_again() -> None:
    env = make_env("lift")
    assert isinstance(env, RobomimicTask)
    operator = operator_mixture("lift").operators[2]
    assert isinstance(operator, Operator)
    first, again = (demonstrate(env, operator, np.random.default_rng(8)) for _ in range(2))
    assert np.array_equal(first.actions, again.actions)
    assert first.metadata == again.metadata
    assert {"operator", "quality", "style", "seed", "attempts"} <= first.metadata.keys()
    first.validate(data_spec(env, "lift"))
    env.reset(seed=first.metadata["seed"])
    rewards = []
    for step, action in enumerate(first.actions, 1):
        observation, reward, *_ = env.step(action)
        assert np.array_equal(observation[STATE_KEY], first.observations[STATE_KEY][step])
        rewards.append(reward)
    assert rewards == first.rewards.tolist()
