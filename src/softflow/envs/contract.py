"""What every softflow environment promises. The test kit `check_env` holds it to that.

Every environment:

* observations are a Dict with the keys they get on disk: `observation.state` (or any other
  `observation.<name>`) float32 [D] and/or `observation.images.<camera>` uint8 [H, W, 3];
* actions are a float32 Box [A] with finite bounds, in the environment's own units;
* the time limit is counted inside the environment: step number `max_episode_steps` is
  `truncated`, unless it is a step that terminates;
* `info["success"]` is a bool in every step: whether the episode is a success if it is over now;
* `reset(seed=s)` and the same actions give the same bits, whatever ran before and in any process;
* `control_hz`, `max_episode_steps` and `neutral_action` (hold still) are attributes;
* `render()` gives a uint8 picture [H, W, 3].

What it rewards and how its episodes end is its profile (`softflow.data.task_profile`). One that
declares nothing has the success profile:

* the reward is sparse: 1 in the step that reaches success, else 0; that step is `terminated`.

One that declares events in `task_profile`:

* `info["events"]` lists the names of what happened in the step, twice what happened twice;
* the reward is the sum of their declared values;
* the step with an event of kind "success" or "failure", and no other, is `terminated`;
* `info["success"]` is what the profile makes of the events so far (`TaskProfile.succeeded`).

One that there is only once, such as a robot, says `is_robot = True`, and so does what makes it:
name its class, or set the attribute of the function. Nobody else holds it meanwhile, it stays in
the process in front, `close()` brings it to rest, and it need not repeat itself to the bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.task_profile import SUCCESS_PROFILE, TaskProfile
from softflow.errors import EnvironmentContractError

Observation = dict[str, np.ndarray]


class RobotEnv(gymnasium.Env[Any, np.ndarray]):
    """A gymnasium environment with the attributes the contract adds."""

    control_hz: float
    """Control steps per second."""
    max_episode_steps: int
    """The time limit in control steps; the step with this number is truncated."""
    neutral_action: np.ndarray
    """The action that holds still, float32 [A]."""
    task_profile: TaskProfile = SUCCESS_PROFILE
    """What is rewarded, how episodes end, what evaluation shows."""
    is_robot: bool = False
    """Whether there is only one of it, that must be held by one process and closed at every end."""
    component_names: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """Key of the observation -> what its components are called, as `DataSpec.names`."""

    @property
    def rendering(self) -> Mapping[str, str]:
        """How the cameras' pictures are drawn, as `DataSpec.rendering`; empty where unknown."""
        return {}


def data_spec(env: gymnasium.Env[Any, Any], env_id: str) -> DataSpec:
    """What an episode store for this environment holds (shapes, bounds in env units, rate)."""
    observation_space = dict_space(env)
    action_space = action_box(env)
    spec = DataSpec(
        observation_shapes={
            key: tuple(int(n) for n in box.shape or ()) for key, box in observation_space.items()
        },
        action_dim=int(action_space.shape[0]),
        action_low=tuple(float(x) for x in action_space.low),
        action_high=tuple(float(x) for x in action_space.high),
        control_hz=float(getattr(env.unwrapped, "control_hz")),  # noqa: B009
        env_id=env_id,
        names=dict(getattr(env.unwrapped, "component_names", {})),
        rendering=dict(getattr(env.unwrapped, "rendering", {})),
    )
    neutral = tuple(float(x) for x in getattr(env.unwrapped, "neutral_action"))  # noqa: B009
    return spec if neutral == spec.held_still else replace(spec, neutral_action=neutral)


def declared_profile(env: gymnasium.Env[Any, Any]) -> TaskProfile:
    """The profile an environment declares; the success profile if it declares none.

    Raises:
        EnvironmentContractError: what it declares is no TaskProfile.
    """
    profile = getattr(env.unwrapped, "task_profile", SUCCESS_PROFILE)
    if not isinstance(profile, TaskProfile):
        raise EnvironmentContractError(
            f"task_profile is {profile!r}; make it a softflow.data.task_profile.TaskProfile, or "
            "leave it out where reward 1 means success and ends the episode"
        )
    return profile


def dict_space(env: gymnasium.Env[Any, Any]) -> spaces.Dict:
    """The observation space.

    Raises:
        EnvironmentContractError: it is no Dict, or empty.
    """
    space = env.observation_space
    if not isinstance(space, spaces.Dict) or not space.spaces:
        raise EnvironmentContractError(
            f"observation_space is {space!r}; make it a non-empty gymnasium.spaces.Dict with keys "
            f"such as {STATE_KEY!r}"
        )
    return space


def action_box(env: gymnasium.Env[Any, Any]) -> spaces.Box:
    """The action space.

    Raises:
        EnvironmentContractError: it is no float32 Box [A].
    """
    space = env.action_space
    if not isinstance(space, spaces.Box) or space.dtype != np.float32 or len(space.shape) != 1:
        raise EnvironmentContractError(
            f"action_space is {space!r}; make it a float32 Box of shape (A,)"
        )
    return space
