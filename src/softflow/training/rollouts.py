"""Run episodes with a policy: one at a time, or many in parallel processes.

An episode is a pure function of (checkpoint, decision rule, seed): neither the number of workers
nor what they did before changes it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec, is_image_key
from softflow.data.episode import Episode, require_finite
from softflow.data.task_profile import TaskProfile
from softflow.envs.contract import RobotEnv, data_spec, declared_profile
from softflow.envs.profiles import EventRecorder
from softflow.envs.registry import make_env, registrations, restore_registrations
from softflow.errors import NumericalError
from softflow.models.action_selection import ChunkSelector, SelectionConfig
from softflow.training.persistence import load_selector
from softflow.utils.worker_pool import WorkerPool


@dataclass(frozen=True)
class RolloutTask:
    """What one episode depends on.

    Attributes:
        checkpoint: folder with the weights.
        selection: the decision rule.
        env_id: environment; seed: of its reset and of the candidates.
        metadata: kept with the episode.
        image_size: (height, width) of camera observations; None without cameras.
        render_every: keep a frame every so many control steps; 0 renders nothing.
    """

    checkpoint: str
    selection: SelectionConfig
    env_id: str
    seed: int
    metadata: dict[str, Any]
    image_size: tuple[int, int] | None = None
    render_every: int = 0


@dataclass(frozen=True)
class RolloutResult:
    """An episode and, if asked for, its frames [T, H, W, 3] uint8."""

    episode: Episode
    frames: np.ndarray | None


class _History:
    """The observations a decision sees, oldest first, the first one repeated at the start."""

    def __init__(self, length: int, first: dict[str, np.ndarray]) -> None:
        self._steps = deque([first] * length, maxlen=length)

    def add(self, observation: dict[str, np.ndarray]) -> None:
        self._steps.append(observation)

    def tensors(self) -> dict[str, torch.Tensor]:
        """key -> [1, history, ...]."""
        return {
            key: torch.from_numpy(np.stack([step[key] for step in self._steps]))[None]
            for key in self._steps[-1]
        }


def run_episode(
    env: RobotEnv,
    selector: ChunkSelector,
    chunk: ChunkSpec,
    seed: int,
    metadata: dict[str, Any],
    render_every: int = 0,
) -> RolloutResult:
    """One episode: decide every `execution_horizon` control steps, until it ends.

    The committed actions at the start are the environment's neutral action, executed while the
    first decision is being made (DESIGN: the decision process with chunks and prefix).

    Raises:
        DataError: the environment gave an observation that is not finite.
        EnvironmentContractError: it reported an event that it does not declare.
        NumericalError: the policy produced an action that is not finite.
    """
    generator = torch.Generator().manual_seed(seed)
    observation, _ = env.reset(seed=seed)
    _require_finite_observation(observation, seed, 0)
    history = _History(chunk.history_length, observation)
    neutral = np.asarray(env.neutral_action, dtype=np.float32)
    space = cast("spaces.Box", env.action_space)
    low, high = space.low, space.high
    committed = deque([neutral] * chunk.prefix_length)
    observations, actions, rewards = [observation], [], []
    frames = [_frame(env)] if render_every else []
    events = EventRecorder(declared_profile(env))
    terminated = truncated = success = False
    while not (terminated or truncated):
        if len(actions) % chunk.execution_horizon == 0:
            prefix = np.zeros((chunk.prefix_length, len(neutral)), dtype=np.float32)
            for index in range(chunk.prefix_length):
                prefix[index] = committed[index]
            planned = selector(history.tensors(), torch.from_numpy(prefix)[None], generator)
            planned = planned[0].numpy()
            if not np.isfinite(planned).all():
                raise NumericalError(
                    f"the policy chose a non-finite action at control step {len(actions)} of the "
                    f"episode with seed {seed}; the checkpoint is unusable, go back to an older one"
                )
            # The components of a decoded quaternion may leave the range of the data.
            committed = deque([*prefix, *np.clip(planned, low, high)])
        action = committed.popleft()
        observation, reward, terminated, truncated, info = env.step(action)
        _require_finite_observation(observation, seed, len(actions) + 1)
        history.add(observation)
        observations.append(observation)
        actions.append(action)
        rewards.append(reward)
        where = f"control step {len(actions) - 1} of the episode with seed {seed}"
        events.add(len(actions) - 1, info, where)
        # Declared events may take a success back: everything was done, then the cube fell.
        success = bool(info["success"]) or (success and not events.profile.events)
        if render_every and (len(actions) % render_every == 0 or terminated or truncated):
            frames.append(_frame(env))
    episode = Episode(
        observations={key: np.stack([o[key] for o in observations]) for key in observation},
        actions=np.stack(actions),
        rewards=np.asarray(rewards, dtype=np.float32),
        terminated=bool(terminated),
        truncated=bool(truncated and not terminated),
        success=success,
        metadata=metadata | {"seed": seed} | events.metadata(),
    )
    return RolloutResult(episode, np.stack(frames) if frames else None)


def _require_finite_observation(
    observation: dict[str, np.ndarray], seed: int, control_step: int
) -> None:
    where = f"the environment, in the episode with seed {seed}"
    for key, value in observation.items():
        if not is_image_key(key):  # bytes are always finite, and many
            require_finite(key, value[None], where, first_step=control_step)


def _frame(env: RobotEnv) -> np.ndarray:
    return np.asarray(env.render(), dtype=np.uint8)


class RolloutPool(WorkerPool):
    """Worker processes that keep their simulator and the current policy loaded.

    They know the environments that were registered (`register_env`) before the pool was made.
    """

    def __init__(self, num_workers: int) -> None:
        super().__init__(num_workers, _set_up_worker, (registrations(),))
        self._profiles: dict[tuple[str, tuple[int, int] | None], TaskProfile] = {}

    def run(self, tasks: Sequence[RolloutTask]) -> Iterator[RolloutResult]:
        """Results in the order of the tasks, as they come."""
        return self.map(_run_task, tasks)

    def environment_spec(self, env_id: str, image_size: tuple[int, int] | None) -> DataSpec:
        """What episodes of an environment hold, asked of a worker."""
        return next(self.map(_environment_spec, [(env_id, image_size)]))

    def environment_profile(self, env_id: str, image_size: tuple[int, int] | None) -> TaskProfile:
        """What an environment rewards and evaluation shows of it, asked of a worker once."""
        place = (env_id, image_size)
        if place not in self._profiles:
            self._profiles[place] = next(self.map(_environment_profile, [place]))
        return self._profiles[place]


def _set_up_worker(families: dict[str, str]) -> None:
    torch.set_num_threads(1)
    restore_registrations(families)


_worker_selector: dict[tuple[str, SelectionConfig], tuple[ChunkSelector, ChunkSpec]] = {}


@cache
def _environment(env_id: str, image_size: tuple[int, int] | None) -> RobotEnv:
    """This process's simulator of a task."""
    return make_env(env_id, image_size=image_size)


def _environment_spec(place: tuple[str, tuple[int, int] | None]) -> DataSpec:
    return data_spec(_environment(*place), place[0])


def _environment_profile(place: tuple[str, tuple[int, int] | None]) -> TaskProfile:
    return declared_profile(_environment(*place))


def _run_task(task: RolloutTask) -> RolloutResult:
    env = _environment(task.env_id, task.image_size)
    key = (task.checkpoint, task.selection)
    if key not in _worker_selector:
        _worker_selector.clear()
        _worker_selector[key] = load_selector(Path(task.checkpoint), task.selection)
    selector, chunk = _worker_selector[key]
    return run_episode(env, selector, chunk, task.seed, task.metadata, task.render_every)
