"""What an environment answers to `reset` and `step`, held to the contract before it is used.

Observations are copied: an environment may go on using its arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np

from softflow.envs.contract import Observation, action_box, dict_space
from softflow.envs.profiles import StepOutcome
from softflow.errors import EnvironmentContractError

_MOST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class StepAnswer:
    """What one step led to.

    Args:
        observation: a copy of the one it returned.
        outcome: reward, endings and success.
        info: as it came.
    """

    observation: Observation
    outcome: StepOutcome
    info: dict[str, Any]


def broken(message: str) -> EnvironmentContractError:
    """The error for a promise that is not kept."""
    return EnvironmentContractError(message)


def reset_answer(env: gymnasium.Env[Any, Any], answer: Any, where: str) -> Observation:
    """The first observation of an episode.

    Raises:
        EnvironmentContractError: the answer is no (observation, info) of the declared shapes.
    """
    if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], dict)):
        raise broken(f"{where}: reset returned {_kind(answer)}; return (observation, info)")
    return checked_observation(env, answer[0], where)


def step_answer(env: gymnasium.Env[Any, Any], answer: Any, where: str) -> StepAnswer:
    """What one step led to.

    Raises:
        EnvironmentContractError: a part is missing, or of another type or shape than declared.
    """
    if not (isinstance(answer, tuple) and len(answer) == 5 and isinstance(answer[4], dict)):
        raise broken(
            f"{where}: step returned {_kind(answer)}; return (observation, reward, terminated, "
            "truncated, info), info a dictionary"
        )
    observation, reward, terminated, truncated, info = answer
    outcome = StepOutcome(
        _number(reward, where),
        _bool(terminated, "terminated", where),
        _bool(truncated, "truncated", where),
        _bool(info.get("success"), "info['success']", where),
    )
    return StepAnswer(checked_observation(env, observation, where), outcome, info)


def checked_observation(env: gymnasium.Env[Any, Any], observation: Any, where: str) -> Observation:
    """A copy of an observation that is what the space declares, and finite.

    Raises:
        EnvironmentContractError: it is not; names the key and both shapes.
    """
    expected = dict_space(env)
    if not isinstance(observation, dict) or set(observation) != set(expected):
        keys = sorted(map(str, observation)) if isinstance(observation, dict) else None
        has = f"has the keys {keys}" if keys is not None else f"is {_kind(observation)}"
        raise broken(f"{where}: the observation {has}, the space says {sorted(expected)}")
    for key, space in expected.items():
        value = observation[key]
        if not isinstance(value, np.ndarray):
            raise broken(f"{where}: {key} is {_kind(value)}; make it a numpy array")
        if value.dtype != space.dtype or value.shape != space.shape:
            raise broken(
                f"{where}: {key} is {value.dtype} {value.shape}, the space says "
                f"{space.dtype} {space.shape}"
            )
        # Bytes are always finite, and many.
        if value.dtype != np.uint8 and not np.isfinite(value).all():
            bad = int(np.flatnonzero(~np.isfinite(value))[0])
            raise broken(
                f"{where}: {key}[{bad}] is {value.flat[bad]}; observations are finite, repair the "
                "sensor or end the episode: a policy cannot be trained on NaN or infinity"
            )
    return {key: observation[key].copy() for key in expected}


def checked_picture(picture: Any, where: str) -> np.ndarray:
    """What `render` gave, if it is a picture.

    Raises:
        EnvironmentContractError: it is not.
    """
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8:
        kind = picture.dtype if isinstance(picture, np.ndarray) else _kind(picture)
        raise broken(f"{where}: render() gave {kind}; give a uint8 array [H, W, 3]")
    if picture.ndim != 3 or picture.shape[-1] != 3 or min(picture.shape) < 2:
        raise broken(f"{where}: render() gave shape {picture.shape}; give [H, W, 3], channels last")
    return picture


def require_neutral_action(env: gymnasium.Env[Any, Any]) -> None:
    """Raise unless the action that holds still is one.

    Raises:
        EnvironmentContractError: it is no float32 member of the action space.
    """
    neutral, box = getattr(env.unwrapped, "neutral_action", None), action_box(env)
    if not isinstance(neutral, np.ndarray) or not box.contains(neutral):
        raise broken(f"neutral_action is {neutral!r}; make it a member of {box!r}, float32")


def require_time_limit(env: gymnasium.Env[Any, Any]) -> None:
    """Raise unless the time limit is a positive int.

    Raises:
        EnvironmentContractError: it is not.
    """
    limit = getattr(env.unwrapped, "max_episode_steps", None)
    if not isinstance(limit, int) or limit < 1:
        raise broken(f"max_episode_steps is {limit!r}; make it a positive int")


def require_control_rate(env: gymnasium.Env[Any, Any]) -> None:
    """Raise unless the control rate is a number.

    Raises:
        EnvironmentContractError: it is not.
    """
    rate = getattr(env.unwrapped, "control_hz", None)
    if not isinstance(rate, int | float | np.number) or not 0 < rate < np.inf:
        raise broken(f"control_hz is {rate!r}; make it a positive float")


def _number(value: Any, where: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise broken(f"{where}: reward is {value!r:.80}; give a number") from None
    if isinstance(value, str) or not abs(number) <= _MOST:
        raise broken(f"{where}: reward is {value!r:.80}; give a finite number, a float32")
    return number


def _bool(value: Any, name: str, where: str) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise broken(f"{where}: {name} is {value!r:.80}; give a bool in every step")
    return bool(value)


def _kind(value: Any) -> str:
    size = f" of {len(value)}" if isinstance(value, tuple) else ""
    return f"a {type(value).__name__}{size}"
