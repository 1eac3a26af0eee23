"""An environment as a robot: a rehearsal, in real time, of what will run on a real one."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from softflow.envs.answers import (
    require_control_rate,
    require_neutral_action,
    require_time_limit,
    reset_answer,
    step_answer,
)
from softflow.envs.contract import RobotEnv, data_spec, declared_profile
from softflow.envs.profiles import EventRecorder, check_outcome
from softflow.errors import RobotStoppedError
from softflow.robot.protocol import Outcome, Sensed


class EnvironmentRobot:
    """Steps an environment by one control step whenever it is commanded.

    Between two commands the world stands still: at the control loop's rate it runs in real time.

    Args:
        env: any environment of the contract.
        env_id: what episodes say of where they come from.
        now_s: the clock of `Sensed.taken_at_s`.

    Raises:
        EnvironmentContractError: it lacks a neutral action, a time limit or a rate.
    """

    def __init__(
        self, env: RobotEnv, env_id: str, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        require_control_rate(env)
        require_neutral_action(env)
        require_time_limit(env)
        self.spec = data_spec(env, env_id)
        self.max_episode_steps = env.max_episode_steps
        self._env, self._now_s = env, now_s
        self._sensed: Sensed | None = None
        self._stopped = False
        self._begin()

    def _begin(self) -> None:
        self._events = EventRecorder(declared_profile(self._env))
        self._step = 0

    def reset(self, seed: int) -> None:
        """Begin an episode of the environment."""
        self._stopped = False
        self._begin()
        observation = reset_answer(self._env, self._env.reset(seed=seed), f"reset, seed {seed}")
        self._sensed = Sensed(observation, self._now_s())

    def observe(self) -> Sensed:
        """The observation of the last step.

        Raises:
            RobotStoppedError: it was never reset.
        """
        if self._sensed is None:
            raise RobotStoppedError("observe() before reset(): the environment shows nothing yet")
        return self._sensed

    def act(self, action: np.ndarray) -> Outcome:
        """One control step of the environment.

        Raises:
            RobotStoppedError: it was stopped.
            EnvironmentContractError: its answer is not what it declares.
        """
        if self._stopped:
            raise RobotStoppedError("the environment was stopped; it moves again after reset()")
        where = f"control step {self._step}"
        told = step_answer(self._env, self._env.step(action.copy()), where)
        names = self._events.add(self._step, told.info, where)
        check_outcome(told.outcome, self._events, names, where)
        self._step += 1
        self._sensed = Sensed(told.observation, self._now_s())
        return Outcome(
            told.outcome.reward,
            told.outcome.terminated,
            told.outcome.success,
            tuple(names) if self._events.profile.events else None,
        )

    def hold(self) -> np.ndarray:
        """The environment's neutral action."""
        return self._env.neutral_action

    def stop(self) -> None:
        """Refuse commands until the next reset."""
        self._stopped = True

    def close(self) -> None:
        """Close the environment."""
        self._env.close()
