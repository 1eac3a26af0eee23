"""What every softflow environment promises, and the test kit that holds it to that.

The promise (`check_env` verifies it):

* observations are a Dict with the keys they get on disk: `observation.state` float32 [D] and/or
  `observation.images.<camera>` uint8 [H, W, 3];
* actions are a float32 Box [A] with finite bounds, in the environment's own units;
* the reward is sparse: 1 in the step that reaches success, else 0; that step is `terminated`;
* the time limit is counted inside the environment: step number `max_episode_steps` is
  `truncated`, unless it is the step that succeeds;
* `info["success"]` is a bool in every step;
* `reset(seed=s)` and the same actions give the same bits, whatever ran before and in any process;
* `control_hz`, `max_episode_steps` and `neutral_action` (hold still) are attributes;
* `render()` gives a uint8 picture [H, W, 3].
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from softflow.data.data_spec import IMAGE_PREFIX, STATE_KEY, DataSpec
from softflow.errors import EnvironmentContractError

Observation = dict[str, np.ndarray]


class RobotEnv(gymnasium.Env[Any, np.ndarray]):
    """A gymnasium environment with the three attributes the contract adds."""

    control_hz: float
    """Control steps per second."""
    max_episode_steps: int
    """The time limit in control steps; the step with this number is truncated."""
    neutral_action: np.ndarray
    """The action that holds still, float32 [A]."""


def data_spec(env: gymnasium.Env[Any, Any], env_id: str) -> DataSpec:
    """What an episode store for this environment holds (shapes, bounds in env units, rate)."""
    observation_space = _dict_space(env)
    action_space = _action_box(env)
    return DataSpec(
        observation_shapes={
            key: tuple(int(n) for n in box.shape or ()) for key, box in observation_space.items()
        },
        action_dim=int(action_space.shape[0]),
        action_low=tuple(float(x) for x in action_space.low),
        action_high=tuple(float(x) for x in action_space.high),
        control_hz=float(getattr(env.unwrapped, "control_hz")),  # noqa: B009
        env_id=env_id,
    )


def check_env(
    env: gymnasium.Env[Any, Any],
    *,
    seed: int = 0,
    check_render: bool = True,
    solution: tuple[int, np.ndarray] | None = None,
) -> None:
    """Hold an environment to the contract; costs about two whole episodes.

    `solution` is a seed and the actions [T, A] that are known to succeed from it; with it the
    step that succeeds is checked too. Raises EnvironmentContractError at the first promise that
    is broken: what, where, the value and the fix.
    """
    _check_spaces(env)
    _check_attributes(env)
    _check_reset(env, seed)
    _check_time_limit(env, seed)
    _check_reproducible(env, seed)
    if solution is not None:
        _check_solution(env, *solution)
    if check_render:
        _check_render(env, seed)


def _broken(message: str) -> EnvironmentContractError:
    return EnvironmentContractError(message)


def _dict_space(env: gymnasium.Env[Any, Any]) -> spaces.Dict:
    space = env.observation_space
    if not isinstance(space, spaces.Dict) or not space.spaces:
        raise _broken(
            f"observation_space is {space!r}; make it a non-empty gymnasium.spaces.Dict with keys "
            f"such as {STATE_KEY!r}"
        )
    return space


def _action_box(env: gymnasium.Env[Any, Any]) -> spaces.Box:
    space = env.action_space
    if not isinstance(space, spaces.Box) or space.dtype != np.float32 or len(space.shape) != 1:
        raise _broken(f"action_space is {space!r}; make it a float32 Box of shape (A,)")
    return space


def _check_spaces(env: gymnasium.Env[Any, Any]) -> None:
    for key, space in _dict_space(env).items():
        _check_observation_space(key, space)
    box = _action_box(env)
    if not (np.isfinite(box.low).all() and np.isfinite(box.high).all()):
        raise _broken(f"action_space has infinite bounds ({box.low} to {box.high}); give real ones")
    if not (box.low < box.high).all():
        raise _broken(f"action_space has low >= high ({box.low} to {box.high})")


def _check_observation_space(key: str, space: spaces.Space[Any]) -> None:
    if key == STATE_KEY:
        if not (isinstance(space, spaces.Box) and space.dtype == np.float32):
            raise _broken(f"{key} has space {space!r}; make it a float32 Box [D]")
        if len(space.shape) != 1:
            raise _broken(f"{key} has shape {space.shape}; make it one-dimensional, [D]")
    elif key.startswith(IMAGE_PREFIX) and len(key) > len(IMAGE_PREFIX):
        if not (isinstance(space, spaces.Box) and space.dtype == np.uint8):
            raise _broken(f"{key} has space {space!r}; make it a uint8 Box [H, W, 3]")
        if len(space.shape) != 3 or space.shape[-1] != 3:
            raise _broken(f"{key} has shape {space.shape}; make it [H, W, 3], channels last")
    else:
        raise _broken(
            f"observation key {key!r} is not one a store knows; call it {STATE_KEY!r} or "
            f"{IMAGE_PREFIX + '<camera>'!r}"
        )


def _attribute(env: gymnasium.Env[Any, Any], name: str, fix: str) -> Any:
    if not hasattr(env.unwrapped, name):
        raise _broken(f"attribute {name!r} is missing; {fix}")
    return getattr(env.unwrapped, name)


def _check_attributes(env: gymnasium.Env[Any, Any]) -> None:
    rate = _attribute(env, "control_hz", "set it to the control steps per second")
    if not isinstance(rate, float) or not np.isfinite(rate) or rate <= 0:
        raise _broken(f"control_hz is {rate!r}; make it a positive float")
    limit = _attribute(env, "max_episode_steps", "set it to the time limit in control steps")
    if not isinstance(limit, int) or limit < 1:
        raise _broken(f"max_episode_steps is {limit!r}; make it a positive int")
    neutral = _attribute(env, "neutral_action", "set it to the action that holds still")
    box = _action_box(env)
    if not isinstance(neutral, np.ndarray) or not box.contains(neutral):
        raise _broken(f"neutral_action is {neutral!r}; make it a member of {box!r}, float32")


def _check_observation(env: gymnasium.Env[Any, Any], observation: Any, where: str) -> None:
    expected = _dict_space(env)
    if not isinstance(observation, dict) or set(observation) != set(expected):
        keys = sorted(observation) if isinstance(observation, dict) else type(observation).__name__
        raise _broken(f"{where}: observation has keys {keys}, the space says {sorted(expected)}")
    for key, space in expected.items():
        value = observation[key]
        if not isinstance(value, np.ndarray):
            raise _broken(f"{where}: {key} is a {type(value).__name__}; make it a numpy array")
        if value.dtype != space.dtype or value.shape != space.shape:
            raise _broken(
                f"{where}: {key} is {value.dtype} {value.shape}, the space says "
                f"{space.dtype} {space.shape}"
            )
        if value.dtype == np.float32 and not np.isfinite(value).all():
            bad = int(np.flatnonzero(~np.isfinite(value))[0])
            raise _broken(f"{where}: {key}[{bad}] is {value.flat[bad]}; observations are finite")


def _check_reset(env: gymnasium.Env[Any, Any], seed: int) -> None:
    result = env.reset(seed=seed)
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
        raise _broken(f"reset returned {type(result).__name__}; return (observation, info)")
    _check_observation(env, result[0], f"reset(seed={seed})")
    kept = {key: value.copy() for key, value in result[0].items()}
    env.step(_random_actions(env, seed, 1)[0])
    for key, value in kept.items():
        if not np.array_equal(value, result[0][key]):
            raise _broken(f"step changed the array that reset returned for {key}; return copies")


def _random_actions(env: gymnasium.Env[Any, Any], seed: int, steps: int) -> np.ndarray:
    """Uniform in the action space, float32 [steps, A]."""
    box = _action_box(env)
    uniform = np.random.default_rng(seed).uniform(box.low, box.high, size=(steps, len(box.low)))
    return uniform.astype(np.float32)


def _step(env: gymnasium.Env[Any, Any], action: np.ndarray, where: str) -> tuple[Any, bool, bool]:
    """One step with everything about it checked; returns (observation, terminated, truncated)."""
    given = action.copy()
    observation, reward, terminated, truncated, info = env.step(given)
    if not np.array_equal(given, action):
        raise _broken(f"{where}: step changed the action it was given; copy it first")
    _check_observation(env, observation, where)
    success = info.get("success")
    if not isinstance(success, bool):
        raise _broken(f"{where}: info['success'] is {success!r}; give a bool in every step")
    if not isinstance(terminated, bool) or not isinstance(truncated, bool):
        raise _broken(
            f"{where}: terminated, truncated are {terminated!r}, {truncated!r}; give bools"
        )
    if float(reward) != float(success):
        raise _broken(
            f"{where}: reward is {reward} but info['success'] is {success}; the reward is 1 in the "
            "step that reaches success, else 0"
        )
    if terminated != success:
        raise _broken(
            f"{where}: terminated is {terminated} but info['success'] is {success}; the step that "
            "reaches success, and no other, terminates the episode"
        )
    if terminated and truncated:
        raise _broken(f"{where}: both terminated and truncated; success wins over the time limit")
    return observation, terminated, truncated


def _check_time_limit(env: gymnasium.Env[Any, Any], seed: int) -> None:
    limit = int(getattr(env.unwrapped, "max_episode_steps"))  # noqa: B009
    neutral = np.asarray(getattr(env.unwrapped, "neutral_action"))  # noqa: B009
    env.reset(seed=seed)
    for number in range(1, limit + 1):
        where = f"episode with seed {seed}, step {number}"
        _, terminated, truncated = _step(env, neutral, where)
        if terminated:
            return
        if truncated != (number == limit):
            raise _broken(
                f"{where}: truncated is {truncated}, max_episode_steps is {limit}; count the time "
                "limit inside the environment and truncate exactly there"
            )


def _observations(env: gymnasium.Env[Any, Any], seed: int, actions: np.ndarray) -> list[Any]:
    observation, _ = env.reset(seed=seed)
    seen = [{key: value.copy() for key, value in observation.items()}]
    for number, action in enumerate(actions, start=1):
        observation, terminated, truncated = _step(env, action, f"seed {seed}, step {number}")
        seen.append({key: value.copy() for key, value in observation.items()})
        if terminated or truncated:
            break
    return seen


def _check_reproducible(env: gymnasium.Env[Any, Any], seed: int, steps: int = 20) -> None:
    actions = _random_actions(env, seed, steps)
    first = _observations(env, seed, actions)
    _observations(env, seed + 1, actions[::-1])
    second = _observations(env, seed, actions)
    if len(first) != len(second):
        raise _broken(
            f"seed {seed}: the same actions ended after {len(first) - 1} steps, then after "
            f"{len(second) - 1}; make reset(seed=…) set every random number and all state"
        )
    for number, (a, b) in enumerate(zip(first, second, strict=True)):
        for key in a:
            if not np.array_equal(a[key], b[key]):
                gap = np.abs(a[key].astype(np.float64) - b[key].astype(np.float64)).max()
                raise _broken(
                    f"seed {seed}, step {number}: {key} differs by {gap:g} between two runs with "
                    "the same actions; make reset(seed=…) set every random number and all state "
                    "(leftovers of the episode before count)"
                )


def _check_solution(env: gymnasium.Env[Any, Any], seed: int, actions: np.ndarray) -> None:
    env.reset(seed=seed)
    for number, action in enumerate(actions, start=1):
        _, terminated, truncated = _step(env, action, f"solution with seed {seed}, step {number}")
        if terminated:
            return
        if truncated:
            break
    raise _broken(
        f"solution with seed {seed}: its {len(actions)} actions do not reach success; record them "
        "in this version of the environment"
    )


def _check_render(env: gymnasium.Env[Any, Any], seed: int) -> None:
    env.reset(seed=seed)
    picture: Any = env.render()
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.ndim != 3:
        raise _broken(f"render() gave {type(picture).__name__}; give a uint8 array [H, W, 3]")
    if picture.shape[-1] != 3:
        raise _broken(f"render() gave shape {picture.shape}; give [H, W, 3], channels last")
