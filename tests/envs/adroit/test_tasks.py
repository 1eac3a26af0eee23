"""The Adroit tasks keep the contract, succeed where they say, and replay what people recorded."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from shared_envs import built_once

from softflow.data.data_spec import STATE_KEY
from softflow.envs.adroit.tasks import AdroitHand
from softflow.envs.check_env import check_env
from softflow.envs.contract import data_spec
from softflow.envs.registry import make_env
from softflow.errors import ConfigError, DataError

SIZES = {
    "adroit-door": (39, 28, 300),
    "adroit-hammer": (46, 26, 200),
    "adroit-pen": (45, 24, 200),
    "adroit-relocate": (39, 30, 200),
}
DOOR_ANGLE = 28

HandOf = Callable[[str], AdroitHand]


@pytest.fixture(scope="module")
def hand() -> HandOf:
    """One environment a task; whoever takes it resets it."""
    return built_once(AdroitHand)


@pytest.mark.slow
@pytest.mark.parametrize("env_id", SIZES)
def test_every_task_keeps_the_contract(hand: HandOf, env_id: str) -> None:
    check_env(hand(env_id), check_render=False)


@pytest.mark.parametrize("env_id", SIZES)
def test_sizes_and_limits(hand: HandOf, env_id: str) -> None:
    env, (state_dim, action_dim, limit) = hand(env_id), SIZES[env_id]
    spec = data_spec(env, env_id)
    assert spec.observation_shapes == {STATE_KEY: (state_dim,)}
    assert (spec.action_dim, set(spec.action_low), set(spec.action_high)) == (
        action_dim,
        {-1.0},
        {1.0},
    )
    assert (spec.control_hz, env.max_episode_steps) == (100.0, limit)


@pytest.mark.parametrize("env_id", SIZES)
def test_the_neutral_action_holds_the_arm_and_the_hand(hand: HandOf, env_id: str) -> None:
    """Zeros, the middle of every joint's range, do not."""

    def moved(action: np.ndarray) -> float:
        env.reset(seed=4)
        before = env.simulator.data.qpos[: len(action)].copy()
        for _ in range(15):
            env.step(action)
        return float(np.abs(env.simulator.data.qpos[: len(action)] - before).max())

    env = hand(env_id)
    assert moved(env.neutral_action) < 0.1
    assert moved(np.zeros_like(env.neutral_action)) > 0.4


def test_seeds_place_the_door(hand: HandOf) -> None:
    env = hand("adroit-door")
    places = []
    for seed in (0, 1, 0):
        env.reset(seed=seed)
        places.append(env.simulator.model.body_pos[env.simulator.door_body_id].copy())
    assert np.array_equal(places[0], places[2])
    assert not np.array_equal(places[0], places[1])


def opened_by(env: AdroitHand, angle: float) -> tuple[float, bool, bool, dict[str, object]]:
    """What the step after somebody opened the door that far says."""
    env.reset(seed=0)
    env.step(env.neutral_action)
    simulator = env.simulator
    pose, speed = simulator.data.qpos.copy(), simulator.data.qvel.copy()
    pose[simulator.door_hinge_addrs] = angle
    simulator.set_state(pose, speed * 0)
    return env.step(env.neutral_action)[1:]


@pytest.mark.parametrize(
    ("angle", "events", "success"),
    [
        (0.9, [], False),
        (1.2, ["opened"], False),
        (1.45, ["opened", "success"], True),
    ],
)
def test_what_counts_at_the_door(
    hand: HandOf, angle: float, events: list[str], success: bool
) -> None:
    told = {"success": success, "events": events}
    assert opened_by(hand("adroit-door"), angle) == (float(success), success, False, told)


def test_a_milestone_counts_once_an_episode(hand: HandOf) -> None:
    env = hand("adroit-door")
    for _ in range(2):
        assert opened_by(env, 1.2)[3]["events"] == ["opened"]
        assert env.step(env.neutral_action)[4]["events"] == []


def test_what_cannot_be_made_or_done(hand: HandOf, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="adroit-pen has no tasks to choose from; leave out -ta"):
        make_env("adroit-pen-task2")
    env = hand("adroit-pen")
    env.reset(seed=0)
    with pytest.raises(DataError, match=r"step 1: action has shape \(5,\); give \[24\]"):
        env.step(np.zeros(5, np.float32))
    monkeypatch.setitem(sys.modules, "gymnasium_robotics.envs.adroit_hand.adroit_pen", None)
    with pytest.raises(ConfigError, match=r"pip install 'softflow\[adroit\]'"):
        make_env("adroit-pen")


@pytest.mark.slow
def test_pictures(hand: HandOf) -> None:
    env = make_env("adroit-relocate", image_size=(24, 32))
    picture = env.reset(seed=0)[0]["observation.images.front"]
    assert picture.shape == (24, 32, 3)
    assert picture.std() > 10
    env.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 16, 18])
def test_what_people_recorded_happens_again(hand: HandOf, shared_data: Path, number: int) -> None:
    """Their actions from their first pose, simulated: what they saw, and their successes."""
    with np.load(shared_data / "adroit_door_human" / "door_human.npz") as archive:
        last = int(np.cumsum(archive["lengths"])[number])
        rows = slice(last - int(archive["lengths"][number]), last)
        recorded, actions = archive["observations"][rows], archive["actions"][rows].clip(-1, 1)
        place, pose = archive["door_body_pos"][number], archive["qpos0"][number]
    env = hand("adroit-door")
    env.reset(seed=0)
    env.simulator.model.body_pos[env.simulator.door_body_id] = place
    env.simulator.set_state(pose, np.zeros_like(pose))
    states, success = [env.simulator._get_obs()], False
    for action in actions:
        observation, _, success, _, _ = env.step(action)
        states.append(observation[STATE_KEY])
        if success:
            break
    steps = len(states) - 1
    assert np.median(np.abs(np.array(states[:-1]) - recorded[:steps])) < 0.003
    opened = np.flatnonzero(recorded[1:, DOOR_ANGLE] >= 1.35)
    assert success == (len(opened) > 0)
    assert not success or abs(steps - (opened[0] + 1)) <= 2
