"""The environment by its name, held to the contract."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from softflow.envs.check_env import check_env
from softflow.envs.contract import data_spec
from softflow.envs.orca_cube.rotations import product, yaw_quat
from softflow.envs.orca_cube.settings import TWIN_GAP, CubeSettings
from softflow.envs.orca_cube.tasks import CUBE_PROFILE, OrcaCube
from softflow.envs.registry import make_env, registered_families
from softflow.errors import ConfigError, EnvironmentFaultError

_SHORT = CubeSettings(episode_s=3.0, platform_s=1.0)


def test_it_keeps_the_contract() -> None:
    check_env(OrcaCube(settings=_SHORT), check_render=False)


def test_it_is_found_by_name_with_parts_of_its_gap() -> None:
    assert {"orca-cube", "orca-cube-twin"} <= set(registered_families())
    env = make_env("orca-cube")
    spec = data_spec(env, "orca-cube")
    assert (spec.action_dim, spec.control_hz, env.max_episode_steps) == (17, 20.0, 640)
    assert spec.names["observation.state"][-1] == "command_rad_s"
    half = make_env("orca-cube-twin-task50")
    assert isinstance(half, OrcaCube)
    assert half.settings.gap == TWIN_GAP.scaled(0.5)
    for name in ("orca-cube-task1", "orca-cube-twin-task900"):
        with pytest.raises(ConfigError):
            make_env(name)


def test_its_profile_counts_turns_and_says_the_rate_first() -> None:
    assert CUBE_PROFILE.kind == "count"
    assert [m.name for m in CUBE_PROFILE.measures] == [
        "turns_per_minute",
        "turns_before_drop",
        "drop_rate",
    ]


def test_an_open_hand_ends_the_episode_with_a_drop() -> None:
    env = OrcaCube(settings=_SHORT)
    env.reset(seed=1)
    reward, terminated, info = 0.0, False, {}
    for _ in range(60):
        _, reward, terminated, _, info = env.step(np.full(17, -1.0, np.float32))
        if terminated:
            break
    assert terminated
    assert info["events"] == ["dropped"]
    assert reward == 0.0
    assert not info["success"]


def test_a_cube_that_is_turned_is_counted() -> None:
    env = OrcaCube(settings=_SHORT)
    env.reset(seed=1)
    open_hand = np.full(17, -1.0, np.float32)
    for _ in range(6):
        env.step(open_hand)
    cube, rewards, info = env.hand.physics.cube_quat_wxyz, [], {}
    for _ in range(9):
        cube[0] = product(yaw_quat(0.2), cube[0])  # it stands on the platform
        _, reward, _, _, info = env.step(open_hand)
        assert info["events"] == ["rotated"] * int(reward)
        rewards.append(reward)
    assert sum(rewards) == 1
    assert info["success"]


def test_broken_physics_stops_the_episode_and_names_the_dump() -> None:
    env = OrcaCube(settings=_SHORT)
    env.reset(seed=1)
    env.hand.physics.joint_vel[0] = 1e9
    with pytest.raises(EnvironmentFaultError, match="replay_unstable"):
        env.step(env.neutral_action)


def test_a_picture_shows_the_cube_from_below() -> None:
    settings = CubeSettings(platform_s=0.0)  # which would be in the way
    env = OrcaCube(settings=settings, image_size=(48, 64))
    observation, _ = env.reset(seed=0)
    picture = observation["observation.images.below"]
    assert picture.shape == (48, 64, 3)
    middle = picture[18:30, 26:38].reshape(-1, 3)
    assert np.ptp(middle.astype(int), axis=1).max() > 60  # yellow: the face below
    env.close()


def test_a_hand_that_is_rewarded_by_what_is_seen_counts_the_pose_it_observes() -> None:
    """The same physics; the seen pose turns by a quarter, the true one does not."""
    env = make_env("orca-cube-twin-seen-task0")
    true = make_env("orca-cube-twin-task0")
    assert isinstance(env, OrcaCube)
    assert isinstance(true, OrcaCube)
    assert replace(env.settings, events_from="truth") == true.settings
    rewards = {"seen": 0.0, "true": 0.0}
    for name, one in {"seen": env, "true": true}.items():
        one.reset(seed=3)
        direction = float(np.sign(one.hand.commands[0]))
        for turned_rad in np.linspace(0, 3, 21):
            one.hand._observing._turn_bias[:, 2] = direction * turned_rad
            rewards[name] += one.step(one.neutral_action)[1]
    assert rewards == {"seen": 1.0, "true": 0.0}
