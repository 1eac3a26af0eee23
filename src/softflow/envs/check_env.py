"""The test kit that holds an environment to the contract and to the profile it declares."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from softflow.data.data_spec import IMAGE_PREFIX, OBSERVATION_PREFIX, STATE_KEY, is_image_key
from softflow.envs.answers import (
    broken,
    checked_picture,
    require_control_rate,
    require_neutral_action,
    require_time_limit,
    reset_answer,
    step_answer,
)
from softflow.envs.contract import action_box, declared_profile, dict_space
from softflow.envs.profiles import EventRecorder, StepOutcome, check_outcome
from softflow.envs.registry import IS_ROBOT


def check_env(
    env: gymnasium.Env[Any, Any],
    *,
    seed: int = 0,
    check_render: bool = True,
    solution: tuple[int, np.ndarray] | None = None,
) -> None:
    """Hold an environment to the contract; costs about two whole episodes.

    `solution` is a seed and the actions [T, A] that are known to succeed from it; with it the
    step that succeeds is checked too (of a task that declares no success: a step that is
    rewarded). A robot (`is_robot`) is only told to hold still, and need not be reproducible. Raises
    EnvironmentContractError at the first promise that is broken: what, where,
    the value and the fix.
    """
    declared_profile(env)
    _check_spaces(env)
    _check_attributes(env)
    _check_reset(env, seed)
    _check_time_limit(env, seed)
    if not _is_robot(env):
        _check_reproducible(env, seed)
    if solution is not None:
        _check_solution(env, *solution)
    if check_render:
        _check_render(env, seed)


def _check_spaces(env: gymnasium.Env[Any, Any]) -> None:
    for key, space in dict_space(env).items():
        _check_observation_space(key, space)
    box = action_box(env)
    if not (np.isfinite(box.low).all() and np.isfinite(box.high).all()):
        raise broken(f"action_space has infinite bounds ({box.low} to {box.high}); give real ones")
    if not (box.low < box.high).all():
        raise broken(f"action_space has low >= high ({box.low} to {box.high})")


def _check_observation_space(key: str, space: spaces.Space[Any]) -> None:
    if is_image_key(key) and key != IMAGE_PREFIX:
        if not (isinstance(space, spaces.Box) and space.dtype == np.uint8):
            raise broken(f"{key} has space {space!r}; make it a uint8 Box [H, W, 3]")
        if len(space.shape) != 3 or space.shape[-1] != 3:
            raise broken(f"{key} has shape {space.shape}; make it [H, W, 3], channels last")
    elif key.startswith(OBSERVATION_PREFIX) and key not in (OBSERVATION_PREFIX, IMAGE_PREFIX):
        if not (isinstance(space, spaces.Box) and space.dtype == np.float32):
            raise broken(f"{key} has space {space!r}; make it a float32 Box [D]")
        if len(space.shape) != 1:
            raise broken(f"{key} has shape {space.shape}; make it one-dimensional, [D]")
    else:
        raise broken(
            f"observation key {key!r} is not one a store knows; call it {STATE_KEY!r} (or another "
            f"name behind {OBSERVATION_PREFIX!r}), and cameras {IMAGE_PREFIX + '<camera>'!r}"
        )


def _attribute(env: gymnasium.Env[Any, Any], name: str, fix: str) -> Any:
    if not hasattr(env.unwrapped, name):
        raise broken(f"attribute {name!r} is missing; {fix}")
    return getattr(env.unwrapped, name)


def _check_attributes(env: gymnasium.Env[Any, Any]) -> None:
    _attribute(env, "control_hz", "set it to the control steps per second")
    require_control_rate(env)
    _attribute(env, "max_episode_steps", "set it to the time limit in control steps")
    require_time_limit(env)
    _attribute(env, "neutral_action", "set it to the action that holds still")
    require_neutral_action(env)


def _is_robot(env: gymnasium.Env[Any, Any]) -> bool:
    said = getattr(env.unwrapped, IS_ROBOT, False)
    if not isinstance(said, bool):
        raise broken(f"{IS_ROBOT} is {said!r}; make it True for a robot, or leave it out")
    return said


def _check_reset(env: gymnasium.Env[Any, Any], seed: int) -> None:
    result = env.reset(seed=seed)
    kept = reset_answer(env, result, f"reset(seed={seed})")
    still = np.asarray(getattr(env.unwrapped, "neutral_action"))  # noqa: B009
    env.step(still if _is_robot(env) else _random_actions(env, seed, 1)[0])
    for key, value in kept.items():
        if not np.array_equal(value, result[0][key]):
            raise broken(f"step changed the array that reset returned for {key}; return copies")


def _random_actions(env: gymnasium.Env[Any, Any], seed: int, steps: int) -> np.ndarray:
    """Uniform in the action space, float32 [steps, A]."""
    box = action_box(env)
    uniform = np.random.default_rng(seed).uniform(box.low, box.high, size=(steps, len(box.low)))
    return uniform.astype(np.float32)


class _Play:
    """Plays one episode of an environment and checks everything about its steps."""

    def __init__(self, env: gymnasium.Env[Any, Any], seed: int, name: str) -> None:
        self._env, self._name, self._number = env, name, 0
        self.events = EventRecorder(declared_profile(env))
        self.success = self.over = False
        self.first, _ = env.reset(seed=seed)

    @property
    def where(self) -> str:
        """The episode and its last step, as messages name them."""
        return f"{self._name}, step {self._number}"

    def step(self, action: np.ndarray) -> tuple[Any, StepOutcome]:
        """The observation and the outcome of one step."""
        self._number += 1
        given = action.copy()
        result = self._env.step(given)
        if not np.array_equal(given, action):
            raise broken(f"{self.where}: step changed the action it was given; copy it first")
        answer = step_answer(self._env, result, self.where)
        outcome = answer.outcome
        names = self.events.add(self._number - 1, answer.info, self.where)
        check_outcome(outcome, self.events, names, self.where)
        self.success, self.over = outcome.success, outcome.terminated or outcome.truncated
        return answer.observation, outcome


def _check_time_limit(env: gymnasium.Env[Any, Any], seed: int) -> None:
    limit = int(getattr(env.unwrapped, "max_episode_steps"))  # noqa: B009
    neutral = np.asarray(getattr(env.unwrapped, "neutral_action"))  # noqa: B009
    play = _Play(env, seed, f"episode with seed {seed}")
    for number in range(1, limit + 1):
        _, outcome = play.step(neutral)
        if outcome.terminated:
            return
        if outcome.truncated != (number == limit):
            raise broken(
                f"{play.where}: truncated is {outcome.truncated}, max_episode_steps is {limit}; "
                "count the time limit inside the environment and truncate exactly there"
            )


def _recorded(
    env: gymnasium.Env[Any, Any], seed: int, actions: np.ndarray
) -> tuple[list[dict[str, np.ndarray]], list[tuple[int, str]]]:
    """The observations of an episode with these actions, and its events (step, name)."""
    play = _Play(env, seed, f"seed {seed}")
    seen = [{key: value.copy() for key, value in play.first.items()}]
    for action in actions:
        observation, _ = play.step(action)
        seen.append({key: value.copy() for key, value in observation.items()})
        if play.over:
            break
    return seen, play.events.happened


def _check_reproducible(env: gymnasium.Env[Any, Any], seed: int, steps: int = 20) -> None:
    actions = _random_actions(env, seed, steps)
    first, happened = _recorded(env, seed, actions)
    _recorded(env, seed + 1, actions[::-1])
    second, again = _recorded(env, seed, actions)
    if len(first) != len(second):
        raise broken(
            f"seed {seed}: the same actions ended after {len(first) - 1} steps, then after "
            f"{len(second) - 1}; make reset(seed=…) set every random number and all state"
        )
    for number, (a, b) in enumerate(zip(first, second, strict=True)):
        for key in a:
            if not np.array_equal(a[key], b[key]):
                gap = np.abs(a[key].astype(np.float64) - b[key].astype(np.float64)).max()
                raise broken(
                    f"seed {seed}, step {number}: {key} differs by {gap:g} between two runs with "
                    "the same actions; make reset(seed=…) set every random number and all state "
                    "(leftovers of the episode before count)"
                )
    if happened != again:
        raise broken(
            f"seed {seed}: the same actions brought about the events {happened}, then {again} "
            "(control step, name); make reset(seed=…) set every random number and all state"
        )


def _check_solution(env: gymnasium.Env[Any, Any], seed: int, actions: np.ndarray) -> None:
    profile = declared_profile(env)
    wanted = "success" if profile.can_succeed else "an event with a reward"
    play, rewarded = _Play(env, seed, f"solution with seed {seed}"), False
    for action in actions:
        _, outcome = play.step(action)
        rewarded = rewarded or outcome.reward > 0
        if play.over:
            break
    if play.success if profile.can_succeed else rewarded:
        return
    raise broken(
        f"solution with seed {seed}: its {len(actions)} actions do not reach {wanted}; record them "
        "in this version of the environment"
    )


def _check_render(env: gymnasium.Env[Any, Any], seed: int) -> None:
    env.reset(seed=seed)
    checked_picture(env.render(), f"after reset(seed={seed})")
