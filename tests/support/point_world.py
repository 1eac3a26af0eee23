"""A world small enough to train in within a second: a point that must reach a goal.

Its environment id names this module, so worker processes find it where the tests did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.envs.contract import RobotEnv, data_spec
from softflow.envs.registry import make_env
from softflow.models.critics.transformer_critic import TransformerCriticConfig
from softflow.models.encoders.state_mlp import StateMlpConfig
from softflow.models.policies.coupling import FlowConfig
from softflow.training.config import (
    ImitationConfig,
    ModelConfig,
    OnlineConfig,
    RLConfig,
    TrainingConfig,
    WarmupConfig,
)
from softflow.training.persistence import load_selector
from softflow.training.rollouts import RolloutPool, RolloutResult, RolloutTask, run_episode
from softflow.utils.imports import trust

ENV_ID = "point_world:PointWorld"
trust(ENV_ID)  # as its own user would
STEP_M = 0.15
REACHED_M = 0.3
SOURCES = ("teleop", "policy")


class PointWorld(RobotEnv):
    """State: position and goal in the plane; the action moves the point by at most `STEP_M`."""

    control_hz = 10.0
    max_episode_steps = 14
    neutral_action = np.zeros(2, np.float32)
    observation_space = spaces.Dict({STATE_KEY: spaces.Box(-9.0, 9.0, (4,), np.float32)})
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        self._goal = self.np_random.uniform(-0.5, 0.5, 2)
        angle = self.np_random.uniform(0, 2 * np.pi)
        away = self.np_random.uniform(1.2, 1.8) * np.array([np.cos(angle), np.sin(angle)])
        self._position = self._goal + away
        return self._observation(), {}

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        self._steps += 1
        self._position = self._position + STEP_M * np.clip(action, -1.0, 1.0)
        success = bool(np.linalg.norm(self._position - self._goal) < REACHED_M)
        truncated = self._steps == self.max_episode_steps and not success
        return self._observation(), float(success), success, truncated, {"success": success}

    def render(self) -> np.ndarray:
        picture = np.zeros((32, 32, 3), np.uint8)
        for channel, point in enumerate((self._position, self._goal)):
            row, column = np.clip((point + 2) * 8, 0, 31).astype(int)
            picture[row, column, channel] = 255
        return picture

    def _observation(self) -> dict[str, np.ndarray]:
        return {STATE_KEY: np.concatenate([self._position, self._goal]).astype(np.float32)}


class PointWorldRenamed(PointWorld):
    """The same under another name."""


def point_spec() -> DataSpec:
    """What a store of the point world holds."""
    return data_spec(PointWorld(), ENV_ID)


def demonstration(seed: int, towards_goal: bool) -> Episode:
    """A noisy walk to the goal, or one away from it that the operator stops after 3 to 10 steps."""
    env, rng = PointWorld(), np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    observations, actions, rewards = [observation[STATE_KEY]], [], []
    terminated = truncated = False
    limit = env.max_episode_steps if towards_goal else int(rng.integers(3, 11))
    while not (terminated or truncated):
        position, goal = np.split(observation[STATE_KEY], 2)
        wanted = (goal - position if towards_goal else position - goal) / (4 * STEP_M)
        action = np.clip(wanted + rng.normal(0, 0.2, 2), -1, 1).astype(np.float32)
        observation, reward, terminated, truncated, _ = env.step(action)
        observations.append(observation[STATE_KEY])
        actions.append(action)
        rewards.append(reward)
        truncated = truncated or (len(actions) == limit and not terminated)
    return Episode(
        {STATE_KEY: np.stack(observations)},
        np.stack(actions),
        np.asarray(rewards, np.float32),
        terminated,
        truncated,
        success=terminated,
        metadata={"seed": seed, "operator": "walker", "source": SOURCES[seed % 2]},
    )


def write_demonstrations(path: Path, outcomes: Sequence[bool]) -> Path:
    """A store with one demonstration per entry, successful where the entry is true."""
    with EpisodeStore.create(path, point_spec()) as store:
        for seed, towards_goal in enumerate(outcomes):
            store.append(demonstration(seed, towards_goal))
    return path


def tiny_config(**changes: Any) -> TrainingConfig:
    """Every part of the method, in a size that takes milliseconds an update."""
    config = TrainingConfig(
        model=ModelConfig(
            chunk=ChunkSpec(chunk_length=4, execution_horizon=3, prefix_length=1, history_length=2),
            policy=FlowConfig(num_layers=2, dim=16, num_heads=2, mlp_dim=16, head_hidden_dim=16),
            encoder=StateMlpConfig(token_dim=16, hidden_dim=16, state_tokens=2),
            critic=TransformerCriticConfig(dim=16, num_heads=2, num_layers=2, mlp_dim=16),
        ),
        imitation=ImitationConfig(
            num_updates=60, batch_size=16, learning_rate=3e-3, dropout=0.2, learning_rate_decay=0.5
        ),
        critic_warmup=WarmupConfig(num_updates=30, batch_size=8, learning_rate=1e-3, dropout=0.1),
        offline_rl=RLConfig(
            num_updates=30,
            batch_size=8,
            learning_rate=1e-3,
            dropout=0.1,
            target_candidates=2,
            bc_coef=0.1,
            actor_candidates=3,
        ),
        online_rl=OnlineConfig(
            num_updates=15,
            batch_size=8,
            learning_rate=1e-3,
            dropout=0.1,
            target_candidates=2,
            bc_coef=0.1,
            actor_candidates=3,
            num_rounds=2,
            episodes_per_round=3,
            bc_decay=0.5,
        ),
        execution_candidates=4,
        eval_episodes=3,
        round_eval_episodes=2,
        num_workers=1,
    )
    return replace(config, **changes)


class LocalPool(RolloutPool):
    """Runs episodes in this process, one after the other, and remembers the tasks.

    Tests of what a stage does need no worker processes; `test_reproducibility.py` shows that real
    workers give the same episodes.
    """

    def __init__(self) -> None:
        self.tasks: list[RolloutTask] = []
        self._profiles = {}
        self._load = lru_cache(maxsize=1)(load_selector)

    def __exit__(self, *error: object) -> None:
        pass

    def map(self, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        return map(function, items)

    def run(self, tasks: Sequence[RolloutTask]) -> Iterator[RolloutResult]:
        for task in tasks:
            self.tasks.append(task)
            selector, chunk = self._load(Path(task.checkpoint), task.selection)
            selector = selector.exploring(task.seed)
            env = make_env(task.env_id, image_size=task.image_size)
            yield run_episode(
                env, selector, chunk, task.seed, task.metadata, task.render_every, task.latency
            )
