"""A plain gymnasium environment, as softflow expects one: keys, types, one reward for success."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import gymnasium
import numpy as np
from gymnasium import spaces

from softflow.data.data_spec import IMAGE_PREFIX, OBSERVATION_PREFIX, STATE_KEY
from softflow.data.task_profile import Measure, TaskEvent, TaskProfile
from softflow.envs.answers import broken
from softflow.envs.contract import Observation, RobotEnv
from softflow.errors import ConfigError

Success = Callable[[Any, float, bool, dict[str, Any]], bool]
"""Called with a step's (observation, reward, terminated, info), as the environment gave them."""

_BLACK = np.zeros((64, 64, 3), np.uint8)


class GymnasiumEnv(RobotEnv):
    """Observations become a Dict of float32 and pictures, actions float32; reward 1 is success.

    An episode ends as a success in the step that reaches it, also where the environment would go
    on; one that the environment ends otherwise is a failure. Its own rewards only tell `success`.
    Without `render_mode="rgb_array"` films are black.

    Args:
        env: with observations of one Box, or a Dict of Boxes, and actions of a Box [A].
        control_hz: control steps per second.
        success: whether a step succeeds: a function, or the name of a value in `info`.
        max_episode_steps: the time limit; None: the one it was registered with.
        neutral_action: the action that holds still, [A]; None: zeros, or the bounds nearest to it.
        keys: name of an observation there ("" for a Box) -> its key here; what is not named is
            left out. None takes all: `observation.state` of a Box, `observation.NAME` and
            `observation.images.NAME` of a Dict.

    Raises:
        ConfigError: an argument does not fit the environment.
        EnvironmentContractError: its observations or actions are of another kind.
    """

    task_profile = TaskProfile(
        events=(TaskEvent("succeeded", 1.0, "success"), TaskEvent("failed", 0.0, "failure")),
        measures=(Measure("success_rate"),),
    )

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        control_hz: float,
        success: Success | str,
        max_episode_steps: int | None = None,
        neutral_action: np.ndarray | None = None,
        keys: Mapping[str, str] | None = None,
    ) -> None:
        self._env, self._success, self._steps = env, success, 0
        self.control_hz = control_hz
        self.max_episode_steps = _time_limit(env, max_episode_steps)
        self._keys = _keys(env.observation_space, keys)
        self.observation_space = spaces.Dict(
            {key: _as_stored(box, key) for key, box in self._boxes().items()}
        )
        self.action_space = _actions(env.action_space)
        low, high = self.action_space.low, self.action_space.high
        still = np.clip(0.0, low, high) if neutral_action is None else neutral_action
        self.neutral_action = np.asarray(still, np.float32)

    def _boxes(self) -> dict[str, spaces.Space[Any]]:
        space = self._env.observation_space
        return {key: space[name] if name else space for name, key in self._keys.items()}  # type: ignore[index]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """A new episode."""
        super().reset(seed=seed)
        self._steps = 0
        observation, info = self._env.reset(seed=seed, options=options)
        return self._stored(observation), info

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One control step."""
        self._steps += 1
        theirs = np.array(action, self._env.action_space.dtype)
        observation, reward, ended, cut, info = self._env.step(theirs)
        success = self._succeeds(observation, float(reward), bool(ended), info)
        terminated = success or bool(ended)
        truncated = not terminated and (bool(cut) or self._steps >= self.max_episode_steps)
        events = ["succeeded" if success else "failed"] * terminated
        told = {**info, "success": success, "events": events}
        return self._stored(observation), float(success), terminated, truncated, told

    def render(self) -> np.ndarray:
        """Its picture, uint8 [H, W, 3]; a black one where it draws none."""
        return np.asarray(self._env.render()) if self._env.render_mode == "rgb_array" else _BLACK

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _succeeds(self, *step: Any) -> bool:
        if not isinstance(self._success, str):
            return bool(self._success(*step))
        info = step[-1]
        if self._success not in info:
            raise broken(
                f"step {self._steps}: info has no {self._success!r}, which was to tell success; it "
                f"has {sorted(map(str, info)) or 'nothing'}; name one of these, or give a function"
            )
        return bool(info[self._success])

    def _stored(self, observation: Any) -> Observation:
        boxes = cast("spaces.Dict", self.observation_space).spaces
        return {
            key: np.array(observation[name] if name else observation, boxes[key].dtype).reshape(
                boxes[key].shape
            )
            for name, key in self._keys.items()
        }


def _time_limit(env: gymnasium.Env[Any, Any], given: int | None) -> int:
    registered = env.spec.max_episode_steps if env.spec is not None else None
    limit = registered if given is None else given
    if limit is None:
        raise ConfigError(
            "max_episode_steps: this environment was registered with no time limit; give one"
        )
    if registered is not None and limit > registered:
        raise ConfigError(
            f"max_episode_steps is {limit}, but the environment ends its episodes after "
            f"{registered}; give less, or gymnasium.make(…, max_episode_steps={limit})"
        )
    return limit


def _keys(space: spaces.Space[Any], given: Mapping[str, str] | None) -> dict[str, str]:
    """Name of an observation there -> key here."""
    there = dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}
    if given is None:
        return {name: _called(name, box) for name, box in there.items()}
    if unknown := sorted(given.keys() - there.keys()):
        raise ConfigError(f"keys names {unknown[0]!r}; the environment has {sorted(there)}")
    return dict(given)


def _called(name: str, space: spaces.Space[Any]) -> str:
    if name.startswith(OBSERVATION_PREFIX):
        return name
    if _is_picture(space):
        return IMAGE_PREFIX + (name or "camera")
    return OBSERVATION_PREFIX + name if name else STATE_KEY


def _is_picture(space: spaces.Space[Any]) -> bool:
    return space.dtype == np.uint8 and space.shape is not None and len(space.shape) == 3


def _as_stored(space: spaces.Space[Any], key: str) -> spaces.Box:
    """The space of an observation as stores hold it: float32 [D], or a picture as it is."""
    if not isinstance(space, spaces.Box):
        raise broken(
            f"{key} has space {space!r}; only a Box, or a Dict of Boxes, can be stored "
            "(gymnasium.wrappers.FlattenObservation makes one Box of everything; keys= leaves it "
            "out)"
        )
    if _is_picture(space):
        return space
    low, high = (end.astype(np.float32).ravel() for end in (space.low, space.high))
    return spaces.Box(low, high, dtype=np.float32)


def _actions(space: spaces.Space[Any]) -> spaces.Box:
    if not isinstance(space, spaces.Box) or len(space.shape) != 1:
        raise broken(f"action_space is {space!r}; softflow commands a Box of shape (A,)")
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise broken(
            f"action_space has infinite bounds ({space!r}); give real ones: "
            "gymnasium.wrappers.RescaleAction, or a wrapper of yours"
        )
    return spaces.Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)
