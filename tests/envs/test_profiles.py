"""The test kit holds an environment to the events it declares and names what it breaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from event_worlds import TAPE_PROFILE, TapeWorld, TurningWorld, tape_demonstration
from point_world import PointWorld

from softflow.data.task_profile import SUCCESS_PROFILE, Measure, TaskEvent, TaskProfile
from softflow.envs.check_env import check_env
from softflow.envs.contract import declared_profile
from softflow.envs.profiles import EventRecorder
from softflow.errors import EnvironmentContractError

SEED = 3
CUTTING = (SEED, tape_demonstration(SEED, towards_goal=True).actions)
DROPPING = (5, tape_demonstration(5, towards_goal=False).actions)
TURNING = (0, np.tile(np.array([1.0, 0.0], np.float32), (6, 1)))


def test_good_environments_pass() -> None:
    check_env(TapeWorld(), solution=CUTTING)
    check_env(TurningWorld(), solution=TURNING)


def test_an_environment_that_declares_nothing_has_the_success_profile() -> None:
    assert declared_profile(PointWorld()) is SUCCESS_PROFILE
    assert declared_profile(TapeWorld()) is TAPE_PROFILE


def test_a_solution_must_succeed_or_where_nothing_can_be_rewarded() -> None:
    with pytest.raises(EnvironmentContractError, match="its 2 actions do not reach success"):
        check_env(TapeWorld(), solution=(SEED, CUTTING[1][:2]))
    still = (0, np.zeros((6, 2), np.float32))
    with pytest.raises(EnvironmentContractError, match="do not reach an event with a reward"):
        check_env(TurningWorld(), solution=still)


class _Changed(TapeWorld):
    """Changes what a step returned; `happened` is what it says of events."""

    def step(self, action: np.ndarray) -> Any:
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, *self.changed(reward, terminated, truncated, dict(info))

    def changed(self, reward: float, terminated: bool, truncated: bool, info: dict) -> Any:
        raise NotImplementedError


class _SilentWhereNothingHappens(_Changed):
    def changed(self, reward: float, terminated: bool, truncated: bool, info: dict) -> Any:
        if not info["events"]:
            del info["events"]
        return reward, terminated, truncated, info


class _NamesInAString(_Changed):
    def changed(self, reward: float, terminated: bool, truncated: bool, info: dict) -> Any:
        return reward, terminated, truncated, info | {"events": ",".join(info["events"])}


class _Undeclared(_Changed):
    def changed(self, reward: float, terminated: bool, truncated: bool, info: dict) -> Any:
        events = [name.replace("cut", "cuts") for name in info["events"]]
        return reward, terminated, truncated, info | {"events": events}


class _EarnsOnce(_Changed):
    def changed(self, reward: float, terminated: bool, truncated: bool, info: dict) -> Any:
        return min(reward, 0.5), terminated, truncated, info


class _GoesOnAfterDrop(_Changed):
    def changed(self, reward: float, terminated: bool, truncated: bool, info: dict) -> Any:
        return reward, False, truncated, info


class _EndsAtACut(_Changed):
    def changed(self, reward: float, terminated: bool, truncated: bool, info: dict) -> Any:
        return reward, terminated or "cut" in info["events"], truncated, info


class _EndsTwice(_Changed):
    def changed(self, reward: float, terminated: bool, truncated: bool, info: dict) -> Any:
        if terminated:
            return 2 * reward, terminated, truncated, info | {"events": 2 * info["events"]}
        return reward, terminated, truncated, info


class _BothEndings(_Changed):
    def changed(self, reward: float, terminated: bool, truncated: bool, info: dict) -> Any:
        return reward, terminated, truncated or terminated, info


class _SuccessAtRetrieval(_Changed):
    def changed(self, reward: float, terminated: bool, truncated: bool, info: dict) -> Any:
        return reward, terminated, truncated, info | {"success": "retrieved" in self._names}


class _SuccessInItsStepOnly(_Changed):
    def changed(self, reward: float, terminated: bool, truncated: bool, info: dict) -> Any:
        success = info["success"] and "cut" in info["events"] and self._names.count("cut") == 1
        return reward, terminated, truncated, info | {"success": success}


class _Chance(TapeWorld):
    """Its events depend on what was played before, its observations do not."""

    runs = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.runs += 1
        return super().reset(seed=seed)

    def _happening(self) -> list[str]:
        return ["retrieved"] if self._steps == self.runs else []


class _NoSuccess(_Changed):
    def changed(self, reward: float, terminated: bool, truncated: bool, info: dict) -> Any:
        del info["success"]
        return reward, terminated, truncated, info


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (_SilentWhereNothingHappens, r"step 1: info\['events'\] is None; give a list of names"),
        (_NamesInAString, r"step 1: info\['events'\] is ''; give a list of names"),
        (_Undeclared, r"step 8: info\['events'\]: event 'cuts' is not .*; did you mean 'cut'\?"),
        (_EarnsOnce, r"step 8: reward is 0.5, but its events \(cut\) are declared .* worth 1;"),
        (_EndsAtACut, r"step 8: terminated is True, but its events are: cut; a step with"),
        (_SuccessAtRetrieval, r"step 4: info\['success'\] is True, but .* \(retrieved\).* no succ"),
        (_SuccessInItsStepOnly, r"step 9: info\['success'\] is False, but .* be a success"),
        (_Chance, r"seed 0: the same actions brought about the events .*'retrieved'.*, then"),
        (_NoSuccess, r"step 1: info\['success'\] is None; give a bool in every step"),
    ],
)
def test_each_broken_promise_is_named(broken: type[TapeWorld], message: str) -> None:
    with pytest.raises(EnvironmentContractError, match=message):
        check_env(broken(), solution=CUTTING)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (_GoesOnAfterDrop, r"step 6: terminated is False, but its events are: dropped"),
        (_EndsTwice, r"step 6: the events dropped, dropped all end the episode; report the one"),
        (_BothEndings, r"step 6: both terminated and truncated; an event that ends the episode"),
    ],
)
def test_each_wrong_ending_is_named(broken: type[TapeWorld], message: str) -> None:
    with pytest.raises(EnvironmentContractError, match=message):
        check_env(broken(), solution=DROPPING)


def test_a_success_may_be_taken_back_by_a_drop() -> None:
    """`info["success"]` says whether the episode is a success if it is over now."""
    everything = ["retrieved", "cut"]
    assert TAPE_PROFILE.succeeded(everything)
    assert not TAPE_PROFILE.succeeded([*everything, "dropped"])


def test_the_recorder_keeps_steps_and_names() -> None:
    recorder = EventRecorder(TAPE_PROFILE)
    recorder.add(0, {"events": []}, "here")
    recorder.add(4, {"events": ["cut", "cut"]}, "here")
    recorder.add(6, {"events": ["dropped"]}, "here")
    assert recorder.metadata() == {"events": [[4, "cut"], [4, "cut"], [6, "dropped"]]}


def test_under_the_success_profile_nothing_is_recorded() -> None:
    recorder = EventRecorder(SUCCESS_PROFILE)
    assert recorder.add(0, {"events": ["whatever an older environment says"]}, "here") == []
    assert recorder.metadata() == {}


def test_success_may_end_the_episode() -> None:
    class Ending(TapeWorld):
        task_profile = TaskProfile(
            (TaskEvent("retrieved", 0.5), TaskEvent("cut", 1.0, "success")),
            measures=(Measure("success_rate"),),
        )

        def _happening(self) -> list[str]:
            return [name for name in super()._happening() if name != "dropped"]

        def step(self, action: np.ndarray) -> Any:
            observation, reward, _, truncated, info = super().step(action)
            over = "cut" in info["events"]
            return observation, reward, over, truncated and not over, info

    check_env(Ending(), solution=CUTTING)
