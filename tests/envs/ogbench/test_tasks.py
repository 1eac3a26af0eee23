"""The OGBench tasks keep the contract, and their resets are reproducible to the bit."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from softflow.envs.check_env import check_env
from softflow.envs.ogbench.demonstrators import Operator, demonstrate
from softflow.envs.ogbench.tasks import OGBenchManipulation
from softflow.envs.registry import make_env
from softflow.errors import ConfigError, DataError, EnvironmentContractError

SOURCE = Path(__file__).parents[3] / "src"
QUICK = Operator("quick", "markov", pace=(1.0, 1.0))

FINGERPRINTS = """
import hashlib
import numpy as np
from softflow.envs.registry import make_env

for env_id in ("cube-single", "scene"):
    env = make_env(env_id)
    observation, _ = env.reset(seed=11)
    digest = hashlib.sha256(observation["observation.state"].tobytes())
    for action in np.random.default_rng(3).uniform(-1, 1, (30, 5)).astype(np.float32):
        digest.update(env.step(action)[0]["observation.state"].tobytes())
    print(digest.hexdigest())
"""


def fingerprint(env: OGBenchManipulation) -> str:
    observation, _ = env.reset(seed=11)
    digest = hashlib.sha256(observation["observation.state"].tobytes())
    for action in np.random.default_rng(3).uniform(-1, 1, (30, 5)).astype(np.float32):
        digest.update(env.step(action)[0]["observation.state"].tobytes())
    return digest.hexdigest()


@pytest.mark.slow
def test_every_family_keeps_the_contract(any_env: OGBenchManipulation) -> None:
    rng = np.random.default_rng(0)
    solved = demonstrate(any_env, QUICK, rng)
    assert solved.success, "the solution for check_env must be one"
    solution = (solved.metadata["seed"], solved.actions)
    check_env(any_env, check_render=False, solution=solution)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("env_id", "limit", "state_size"),
    [
        ("cube-single", 200, 34),
        ("cube-double", 500, 49),
        ("scene", 750, 46),
        ("puzzle-3x3", 500, 55),
    ],
)
def test_sizes_and_limits(
    shared_env: Callable[[str], OGBenchManipulation], env_id: str, limit: int, state_size: int
) -> None:
    env = shared_env(env_id)
    assert env.max_episode_steps == limit
    assert env.reset(seed=0)[0]["observation.state"].shape == (state_size,)
    assert env.control_hz == 20.0


def test_the_state_ends_with_the_cubes_relative_to_the_gripper(
    shared_env: Callable[[str], OGBenchManipulation],
) -> None:
    env = shared_env("cube-double")
    state = env.reset(seed=3)[0]["observation.state"]
    for action in np.random.default_rng(0).uniform(-1, 1, (5, 5)).astype(np.float32):
        state = env.step(action)[0]["observation.state"]
    truth = env.ground_truth()
    offsets = np.array(
        [truth[f"privileged/block_{i}_pos"] - truth["proprio/effector_pos"] for i in (0, 1)]
    )
    expected = np.concatenate([10.0 * offsets, (20.0 * offsets).clip(-1.0, 1.0)]).ravel()
    np.testing.assert_allclose(state[-12:], expected, atol=1e-5)


@pytest.mark.slow
def test_same_bits_in_another_process_and_after_other_episodes(
    shared_env: Callable[[str], OGBenchManipulation],
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    other = subprocess.run(
        [sys.executable, "-c", FINGERPRINTS],
        capture_output=True, text=True, check=True, env=environment,
    ).stdout.split()  # fmt: skip
    for env, expected in zip((shared_env("cube-single"), shared_env("scene")), other, strict=True):
        demonstrate(env, QUICK, np.random.default_rng(99))
        assert fingerprint(env) == expected
        env.reset(seed=4)
        for _ in range(5):
            env.step(np.ones(5, np.float32))
        assert fingerprint(env) == expected


def test_different_seeds_give_different_episodes(cube_env: OGBenchManipulation) -> None:
    first, second = (cube_env.reset(seed=seed)[0]["observation.state"] for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_reset_without_seed_follows_from_the_last_one(cube_env: OGBenchManipulation) -> None:
    def second_episode() -> np.ndarray:
        cube_env.reset(seed=5)
        return cube_env.reset()[0]["observation.state"]

    np.testing.assert_array_equal(second_episode(), second_episode())


def test_success_is_judged_after_the_step_that_reaches_it(cube_env: OGBenchManipulation) -> None:
    episode = demonstrate(cube_env, QUICK, np.random.default_rng(1))
    cube_env.reset(seed=episode.metadata["seed"])
    distances, outcomes = [], []
    for action in episode.actions:
        outcomes.append(cube_env.step(action)[1:])
        cube = cube_env.ground_truth()["privileged/block_0_pos"]
        distances.append(np.linalg.norm(cube - [0.5, 0.0, 0.02]))
    assert outcomes[-1] == (1.0, True, False, {"success": True})
    assert set(map(repr, outcomes[:-1])) == {repr((0.0, False, False, {"success": False}))}
    assert distances[-1] <= 0.04 < min(distances[:-1])


def test_step_after_the_end_is_refused(cube_env: OGBenchManipulation) -> None:
    cube_env.reset(seed=0)
    limit = cube_env.max_episode_steps
    outcomes = [cube_env.step(cube_env.neutral_action)[1:] for _ in range(limit)]
    assert outcomes[-1] == (0.0, False, True, {"success": False})
    with pytest.raises(EnvironmentContractError, match="call reset first"):
        cube_env.step(cube_env.neutral_action)


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.array([0, 0, np.nan, 0, 0], np.float32), "step 1: action is .*must be finite"),
        (np.array([0, 0, 1.5, 0, 0], np.float32), r"step 1: action .* leaves \[-1, 1\]"),
        (np.zeros(4, np.float32), r"action has shape \(4,\); give \[5\]"),
    ],
)
def test_unusable_actions_are_refused(
    cube_env: OGBenchManipulation, action: np.ndarray, message: str
) -> None:
    cube_env.reset(seed=0)
    with pytest.raises(DataError, match=message):
        cube_env.step(action)


def test_unusable_image_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="image size 4x64 is too small"):
        make_env("cube-single", image_size=(4, 64))


def test_tasks_have_their_own_goals() -> None:
    env = make_env("cube-single-task3", image_size=(32, 48))
    observation, _ = env.reset(seed=0)
    assert isinstance(env, OGBenchManipulation)
    np.testing.assert_allclose(env.simulator.data.mocap_pos[0], [0.35, 0.0, 0.02])
    picture = observation["observation.images.front"]
    assert env.observation_space.contains(observation)
    assert picture.shape == (32, 48, 3)
    assert picture.std() > 5.0, "the camera sees something"
    env.close()
