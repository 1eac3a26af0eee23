"""Operators are reproducible, honest about what they did, and solve what they are shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from softflow.envs.contract import data_spec
from softflow.envs.ogbench.demonstrators import (
    HAND_SHUT,
    Operator,
    OperatorMixture,
    demonstrate,
    operator_mixture,
    other_operators,
)
from softflow.envs.ogbench.subgoals import lights_out_presses, next_subgoal
from softflow.envs.ogbench.tasks import OGBenchManipulation
from softflow.errors import ConfigError

GRIPPER = 17
"""Index of the gripper's opening in the state; OGBench multiplies it by 3."""
FLAWLESS = Operator("flawless", "plan", pace=(0.3, 0.3))
CLUMSY = Operator(
    "clumsy", "markov", pace=(0.4, 0.8), noise_std=(0.1, 0.3), aim_std_m=0.02, slips_per_s=0.5
)


@pytest.mark.slow
def test_same_seed_same_demonstration_whatever_ran_before(cube_env: OGBenchManipulation) -> None:
    first = demonstrate(cube_env, CLUMSY, np.random.default_rng([0, 7]))
    demonstrate(cube_env, FLAWLESS, np.random.default_rng(1))
    np.random.normal(size=3)  # noqa: NPY002
    second = demonstrate(cube_env, CLUMSY, np.random.default_rng([0, 7]))
    np.testing.assert_array_equal(first.actions, second.actions)
    state = "observation.state"
    np.testing.assert_array_equal(first.observations[state], second.observations[state])
    assert first.metadata == second.metadata
    assert first.success == second.success


def test_numpys_global_random_state_is_left_alone(cube_env: OGBenchManipulation) -> None:
    np.random.seed(5)  # noqa: NPY002
    expected = np.random.uniform(size=4)  # noqa: NPY002
    np.random.seed(5)  # noqa: NPY002
    demonstrate(cube_env, FLAWLESS, np.random.default_rng(0))
    np.testing.assert_array_equal(np.random.uniform(size=4), expected)  # noqa: NPY002


def test_recorded_actions_are_the_executed_ones(cube_env: OGBenchManipulation) -> None:
    episode = demonstrate(cube_env, CLUMSY, np.random.default_rng(2))
    episode.validate(data_spec(cube_env, "cube-single"))
    observation, _ = cube_env.reset(seed=episode.metadata["seed"])
    replayed = [observation["observation.state"]]
    for action in episode.actions:
        observation, *_ = cube_env.step(action)
        replayed.append(observation["observation.state"])
    np.testing.assert_array_equal(np.stack(replayed), episode.observations["observation.state"])
    assert np.abs(episode.actions).max() <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("style", ["plan", "markov"])
def test_flawless_operators_solve_every_family(any_env: OGBenchManipulation, style: Any) -> None:
    operator = replace(FLAWLESS, oracle=style)
    episode = demonstrate(any_env, operator, np.random.default_rng(0))
    assert episode.success
    assert episode.terminated
    assert episode.return_ == 1.0
    assert episode.metadata["source"] == "oracle"
    assert episode.metadata["style"] == {"oracle": style, "pace": 0.3, "noise_std": 0.0}
    assert next_subgoal(any_env) is None


def test_someone_who_always_aims_beside_fails_by_the_time_limit(
    cube_env: OGBenchManipulation,
) -> None:
    blind = replace(FLAWLESS, name="blind", aim_std_m=0.5)
    episode = demonstrate(cube_env, blind, np.random.default_rng(0))
    assert not episode.success
    assert episode.truncated
    assert episode.length == cube_env.max_episode_steps
    assert episode.metadata["attempts"] > 1, "people try again"


def test_slow_operators_are_slow(cube_env: OGBenchManipulation) -> None:
    rng = np.random.default_rng
    slow = demonstrate(cube_env, replace(FLAWLESS, pace=(0.6, 0.6)), rng(0))
    fast = demonstrate(cube_env, FLAWLESS, rng(0))
    assert slow.success
    assert fast.success
    assert slow.length > 1.6 * fast.length


def test_hesitant_operators_stop_and_go_on(cube_env: OGBenchManipulation) -> None:
    reactive = replace(FLAWLESS, oracle="markov", pace=(0.6, 0.6))
    hesitant = replace(reactive, pauses_per_s=1.0, pause_s=(0.5, 0.5))
    fluent = demonstrate(cube_env, reactive, np.random.default_rng(0))
    halting = demonstrate(cube_env, hesitant, np.random.default_rng(0))
    assert halting.success
    still = (np.abs(halting.actions) == 0).all(axis=1)
    assert not (np.abs(fluent.actions) == 0).all(axis=1).any()
    assert still.sum() >= 10, "a pause of half a second lasts 10 control steps"
    assert halting.length >= fluent.length + still.sum() / 2


@pytest.mark.slow
def test_whoever_grasps_nothing_opens_the_hand_and_tries_again(
    cube_env: OGBenchManipulation,
) -> None:
    aims_too_high = replace(FLAWLESS, oracle="markov", pace=(0.6, 0.6), aim_std_m=0.03)
    episodes = [demonstrate(cube_env, aims_too_high, np.random.default_rng(n)) for n in range(6)]
    recovered = 0
    for episode in episodes:
        shut = episode.observations["observation.state"][:, GRIPPER] > 3 * HAND_SHUT
        (starts,) = np.nonzero(np.diff(shut.astype(int), prepend=0) == 1)
        for start in starts:
            reopens = np.nonzero(~shut[start:])[0]
            assert len(reopens) or len(shut) - start < 1.0 * cube_env.control_hz
            assert not len(reopens) or reopens[0] < 1.0 * cube_env.control_hz
        recovered += episode.success and len(starts) > 0
    assert recovered > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"oracle": "magic"}, "oracle is 'magic'; plan or markov"),
        ({"pace": (0.9, 0.3)}, "pace 0.9..0.3 is no range"),
        ({"pace": (0.0, 0.3)}, "give seconds"),
        ({"oracle": "markov", "pace": (0.5, 1.5)}, "fraction of full speed"),
        ({"noise_std": (-0.1, 0.3)}, "noise_std -0.1..0.3 is no range"),
        ({"noise_memory": 1.0}, "noise_memory 1.0"),
        ({"slips_per_s": -1.0}, "slip rate"),
        ({"pauses_per_s": -1.0}, "pause rate"),
        ({"pause_s": (2.0, 0.5)}, "pause_s 2.0..0.5 is no range"),
    ],
)
def test_unusable_operators_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(FLAWLESS, **changes)


@pytest.mark.parametrize(
    ("count", "weights"), [(2, (1.0,)), (0, ()), (2, (0.0, 0.0)), (2, (1.0, -0.5))]
)
def test_unusable_mixtures_are_refused(count: int, weights: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="mixture: "):
        OperatorMixture((FLAWLESS, CLUMSY)[:count], weights)


def test_mixture_draws_by_weight() -> None:
    mixture = OperatorMixture((FLAWLESS, CLUMSY), (3.0, 1.0))
    rng = np.random.default_rng(0)
    drawn = [mixture.draw(rng).name for _ in range(2000)]
    assert drawn.count("clumsy") / 2000 == pytest.approx(0.25, abs=0.04)


@pytest.mark.parametrize("family", ["cube-single", "cube-double", "scene", "puzzle-3x3"])
def test_every_family_has_the_same_four_people(family: str) -> None:
    mixture = operator_mixture(f"{family}-task2")
    assert [o.name for o in mixture.operators] == ["steady", "hesitant", "slow", "careless"]
    assert mixture == operator_mixture(family)


@pytest.mark.slow
def test_a_swift_operator_is_one(cube_env: OGBenchManipulation) -> None:
    (swift,) = other_operators("cube-single")
    episodes = [demonstrate(cube_env, swift, np.random.default_rng([5, n])) for n in range(3)]
    assert all(episode.success for episode in episodes)
    assert max(episode.length for episode in episodes) < 80, "others take 175"


def test_lights_out_presses_turn_start_into_goal() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        start, goal = rng.integers(0, 2, (2, 9))
        states = start.reshape(3, 3).copy()
        presses = lights_out_presses(start, goal)
        for press in presses:
            row, column = divmod(press, 3)
            for dr, dc in ((0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)):
                if 0 <= row + dr < 3 and 0 <= column + dc < 3:
                    states[row + dr, column + dc] ^= 1
        np.testing.assert_array_equal(states.ravel(), goal)
    # By hand: the centre alone lights a plus.
    plus = np.array([0, 1, 0, 1, 1, 1, 0, 1, 0])
    assert lights_out_presses(np.zeros(9, int), plus) == (4,)
    assert lights_out_presses(plus, plus) == ()


@pytest.mark.slow
@pytest.mark.parametrize("task", [4, 5])
def test_occupied_places_and_towers_are_handled_in_order(task: int) -> None:
    """Task 4 swaps two cubes, task 5 stacks them."""
    from softflow.envs.registry import make_env

    env = make_env(f"cube-double-task{task}")
    assert isinstance(env, OGBenchManipulation)
    assert demonstrate(env, FLAWLESS, np.random.default_rng(0)).success
