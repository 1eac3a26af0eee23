"""The test kit accepts a good environment and names each way of breaking the contract."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from softflow.envs.check_env import check_env
from softflow.envs.contract import RobotEnv, data_spec
from softflow.errors import EnvironmentContractError

UP = np.array([1.0, 0.0], np.float32)


class Walk(RobotEnv):
    """A point starts at a random place below 0.5 and succeeds at 1; an action moves it by 0.1."""

    def __init__(self) -> None:
        self.parts: dict[str, spaces.Space[Any]] = {
            "observation.state": spaces.Box(-np.inf, np.inf, (1,), np.float32),
            "observation.images.top": spaces.Box(0, 255, (4, 6, 3), np.uint8),
        }
        self.observation_space = spaces.Dict(self.parts)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.control_hz = 10.0
        self.max_episode_steps = 30
        self.neutral_action = np.zeros(2, np.float32)
        self.place, self.steps = 0.0, 0

    def observe(self) -> dict[str, np.ndarray]:
        image = np.full((4, 6, 3), int(100 * abs(self.place)) % 256, np.uint8)
        state = np.array([self.place], np.float32)
        return {"observation.state": state, "observation.images.top": image}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.steps = float(self.np_random.uniform(0.0, 0.5)), 0
        return self.observe(), {}

    def outcome(self) -> tuple[float, bool, bool, dict[str, Any]]:
        success = self.place >= 1.0
        truncated = self.steps == self.max_episode_steps and not success
        return float(success), success, truncated, {"success": success}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place += 0.1 * float(action[0])
        self.steps += 1
        return self.observe(), *self.outcome()

    def render(self) -> np.ndarray:  # type: ignore[override]
        return np.zeros((8, 8, 3), np.uint8)


SOLUTION = (5, np.tile(UP, (11, 1)))


class _FeelsItsGripper(Walk):
    def __init__(self) -> None:
        super().__init__()
        gripper = {"observation.gripper": spaces.Box(0.0, 1.0, (2,), np.float32)}
        self.observation_space = spaces.Dict(self.parts | gripper)

    def observe(self) -> dict[str, np.ndarray]:
        return super().observe() | {"observation.gripper": np.zeros(2, np.float32)}


def test_any_observation_may_have_a_name_of_its_own() -> None:
    check_env(_FeelsItsGripper(), solution=SOLUTION)


def test_good_environment_passes() -> None:
    check_env(Walk(), solution=SOLUTION)


class _NoDict(Walk):
    def __init__(self) -> None:
        super().__init__()
        self.observation_space = spaces.Box(-1.0, 1.0, (1,), np.float32)


class _ForeignKey(Walk):
    def __init__(self) -> None:
        super().__init__()
        extra = {"joint_angles": spaces.Box(-1.0, 1.0, (1,), np.float32)}
        self.observation_space = spaces.Dict(self.parts | extra)


class _Float64State(Walk):
    def __init__(self) -> None:
        super().__init__()
        state = {"observation.state": spaces.Box(-np.inf, np.inf, (1,), np.float64)}
        self.observation_space = spaces.Dict(self.parts | state)


class _ChannelsFirst(Walk):
    def __init__(self) -> None:
        super().__init__()
        image = {"observation.images.top": spaces.Box(0, 255, (3, 4, 6), np.uint8)}
        self.observation_space = spaces.Dict(self.parts | image)


class _UnboundedActions(Walk):
    def __init__(self) -> None:
        super().__init__()
        self.action_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)


class _NoRate(Walk):
    def __init__(self) -> None:
        super().__init__()
        del self.control_hz


class _NeutralOutside(Walk):
    def __init__(self) -> None:
        super().__init__()
        self.neutral_action = np.full(2, 2.0, np.float32)


class _KeyMissing(Walk):
    def observe(self) -> dict[str, np.ndarray]:
        return {"observation.state": super().observe()["observation.state"]}


class _ObservesFloat64(Walk):
    def observe(self) -> dict[str, np.ndarray]:
        observation = super().observe()
        return observation | {"observation.state": np.array([self.place])}


class _NotANumber(Walk):
    def observe(self) -> dict[str, np.ndarray]:
        observation = super().observe()
        if self.steps == 7:
            observation["observation.state"][0] = np.nan
        return observation


class _ReusesArrays(Walk):
    def __init__(self) -> None:
        super().__init__()
        self.buffer = super().observe()

    def observe(self) -> dict[str, np.ndarray]:
        for key, value in super().observe().items():
            self.buffer[key][...] = value
        return self.buffer


class _ChangesAction(Walk):
    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        action += 0.25
        return super().step(action)


class _NoSuccess(Walk):
    def outcome(self) -> tuple[float, bool, bool, dict[str, Any]]:
        return (*super().outcome()[:3], {})


class _DenseReward(Walk):
    def outcome(self) -> tuple[float, bool, bool, dict[str, Any]]:
        return (self.place - 1.0, *super().outcome()[1:])


class _GoesOnAfterSuccess(Walk):
    def outcome(self) -> tuple[float, bool, bool, dict[str, Any]]:
        reward, _, truncated, info = super().outcome()
        return reward, False, truncated, info


class _EndsOnFailure(Walk):
    def outcome(self) -> tuple[float, bool, bool, dict[str, Any]]:
        reward, terminated, truncated, info = super().outcome()
        return reward, terminated or self.steps == 9, truncated, info


class _BothEndings(Walk):
    def outcome(self) -> tuple[float, bool, bool, dict[str, Any]]:
        reward, terminated, truncated, info = super().outcome()
        return reward, terminated, truncated or terminated, info


class _NoTimeLimit(Walk):
    def outcome(self) -> tuple[float, bool, bool, dict[str, Any]]:
        reward, terminated, _, info = super().outcome()
        return reward, terminated, False, info


class _EarlyTimeLimit(Walk):
    def outcome(self) -> tuple[float, bool, bool, dict[str, Any]]:
        reward, terminated, _, info = super().outcome()
        return reward, terminated, self.steps == 29, info


class _UnseededNoise(Walk):
    """Noise from a generator that no reset seeds again: here, a counter of all steps so far."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn = 0

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.drawn += 1
        self.place += 1e-6 * self.drawn
        return super().step(action)


class _Leftovers(Walk):
    def __init__(self) -> None:
        super().__init__()
        self.speed = 0.0

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.speed = 0.5 * self.speed + 0.01 * float(action[1])
        self.place += self.speed
        return super().step(action)


class _NoInfo(Walk):
    def step(self, action: np.ndarray) -> Any:
        return super().step(action)[:4]


class _RewardsNothing(Walk):
    def outcome(self) -> Any:
        return (None, *super().outcome()[1:])


class _WrongProfile(Walk):
    task_profile = "events"  # type: ignore[assignment]


class _RendersFloats(Walk):
    def render(self) -> np.ndarray:  # type: ignore[override]
        return np.zeros((8, 8, 3))


class _SaysRobotInWords(Walk):
    is_robot = "yes"  # type: ignore[assignment]


class _Robot(_UnseededNoise):
    """As every robot it does nothing twice alike."""

    is_robot = True

    def __init__(self) -> None:
        super().__init__()
        self.commanded: list[list[float]] = []

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.commanded.append(action.tolist())
        return super().step(action)


def test_a_robot_is_only_told_to_hold_still_and_need_not_repeat_itself() -> None:
    robot = _Robot()
    check_env(robot)
    assert len(robot.commanded) > 30
    assert robot.commanded == [robot.neutral_action.tolist()] * len(robot.commanded)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (_NoDict, "non-empty gymnasium.spaces.Dict"),
        (_ForeignKey, "observation key 'joint_angles' is not one a store knows"),
        (_Float64State, "observation.state has space .* make it a float32 Box"),
        (_ChannelsFirst, r"observation.images.top has shape \(3, 4, 6\).*channels last"),
        (_UnboundedActions, "action_space has infinite bounds"),
        (_NoRate, "attribute 'control_hz' is missing"),
        (_NeutralOutside, "neutral_action is .* make it a member of"),
        (_KeyMissing, r"reset\(seed=0\): the observation has the keys \['observation.state'\]"),
        (_ObservesFloat64, r"observation.state is float64 \(1,\), the space says float32"),
        (_NotANumber, r"step 7: observation.state\[0\] is nan"),
        (_ReusesArrays, "step changed the array that reset returned"),
        (_ChangesAction, "step 1: step changed the action"),
        (_NoSuccess, r"step 1: info\['success'\] is None"),
        (_DenseReward, "step 1: reward is -0.* but info\\['success'\\] is False"),
        (_GoesOnAfterSuccess, "terminated is False but info\\['success'\\] is True"),
        (_EndsOnFailure, "step 9: terminated is True but info\\['success'\\] is False"),
        (_BothEndings, "both terminated and truncated"),
        (_NoTimeLimit, "step 30: truncated is False, max_episode_steps is 30"),
        (_EarlyTimeLimit, "step 29: truncated is True, max_episode_steps is 30"),
        (_UnseededNoise, "step 1: observation.state differs by .*e-0"),
        (_Leftovers, r"differs by .* \(leftovers of the episode before"),
        (_NoInfo, r"step 1: step returned a tuple of 4; return \(observation, reward, terminated"),
        (_RewardsNothing, "step 1: reward is None; give a number"),
        (_WrongProfile, "task_profile is 'events'; make it a softflow.data.task_profile.Task"),
        (_SaysRobotInWords, "is_robot is 'yes'; make it True for a robot"),
        (_RendersFloats, r"render\(\) gave float64; give a uint8 array"),
    ],
)
def test_each_broken_promise_is_named(broken: type[Walk], message: str) -> None:
    with pytest.raises(EnvironmentContractError, match=message):
        check_env(broken(), solution=SOLUTION)


def test_solution_that_no_longer_solves_is_named() -> None:
    with pytest.raises(EnvironmentContractError, match="its 3 actions do not reach success"):
        check_env(Walk(), solution=(5, np.tile(UP, (3, 1))))


def test_data_spec_says_what_a_store_holds() -> None:
    spec = data_spec(Walk(), "walk")
    assert spec.observation_shapes == {
        "observation.state": (1,),
        "observation.images.top": (4, 6, 3),
    }
    assert (spec.action_dim, spec.action_low, spec.action_high) == (2, (-1.0, -1.0), (1.0, 1.0))
    assert (spec.control_hz, spec.env_id) == (10.0, "walk")
