"""Two tasks with events, small enough to train in: cutting a tape twice, turning a cube.

Both have the spaces of the point world; their ids name this module, so workers find them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from point_world import REACHED_M, STEP_M, PointWorld

from softflow.data.data_spec import STATE_KEY
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.task_profile import Measure, TaskEvent, TaskProfile
from softflow.envs.contract import data_spec
from softflow.envs.profiles import EventRecorder
from softflow.utils.imports import trust

TAPE_ID = "event_worlds:TapeWorld"
TURNING_ID = "event_worlds:TurningWorld"
trust(TAPE_ID, TURNING_ID)
DROPPED_M = 2.4
MAX_CUTS = 2

TAPE_PROFILE = TaskProfile(
    events=(
        TaskEvent("retrieved", 0.5),
        TaskEvent("cut", 1.0),
        TaskEvent("dropped", -0.25, "failure"),
    ),
    success_when=("retrieved", "cut"),
    measures=(
        Measure("success_rate"),
        Measure("event_rate", "retrieved"),
        Measure("count", "cut", "cuts", "cuts"),
        Measure("event_rate", "dropped"),
    ),
)
TURNING_PROFILE = TaskProfile(
    events=(TaskEvent("turned", 1.0), TaskEvent("dropped", 0.0, "failure")),
    measures=(
        Measure("per_minute", "turned", "turns_per_minute", "turns/min", per_event=0.25),
        Measure("before_failure", "turned", "turns_before_drop", "turns", per_event=0.25),
        Measure("count", "turned", "quarter_turns", "quarter turns"),
    ),
)

Step = tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]


class TapeWorld(PointWorld):
    """Near the goal the scissors are retrieved, at the goal the tape is cut, twice at most.

    Far from the goal they are dropped; otherwise an episode goes on to its time limit.
    """

    task_profile = TAPE_PROFILE

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self._names: list[str] = []
        return super().reset(seed=seed)

    def step(self, action: np.ndarray) -> Step:
        observation, *_ = super().step(action)
        events = self._happening()
        self._names += events
        over = "dropped" in events
        truncated = self._steps == self.max_episode_steps and not over
        info = {"success": self.task_profile.succeeded(self._names), "events": events}
        return observation, self.task_profile.reward(events), over, truncated, info

    def _happening(self) -> list[str]:
        gap = float(np.linalg.norm(self._position - self._goal))
        if gap > DROPPED_M:
            return ["dropped"]
        events = []
        if gap < 3 * REACHED_M and "retrieved" not in self._names:
            events.append("retrieved")
        if gap < REACHED_M and self._names.count("cut") < MAX_CUTS:
            events.append("cut")
        return events


class TurningWorld(PointWorld):
    """The first component of the action turns a cube, up to 45° a step; the second lets it slip.

    State: cosine and sine of its angle, how far it slipped, and 0. At 1 it is dropped.
    """

    max_episode_steps = 24
    task_profile = TURNING_PROFILE
    _angle = _slipped = 0.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        _, info = super().reset(seed=seed)
        self._angle, self._slipped = float(self.np_random.uniform(0, 0.5)), 0.0
        self._quarters = 0
        return self._observation(), info

    def step(self, action: np.ndarray) -> Step:
        self._steps += 1
        turn, slip = (float(component) for component in np.clip(action, -1.0, 1.0))
        self._angle += max(0.0, turn) * np.pi / 4
        self._slipped += 0.2 * abs(slip)
        events = ["turned"] if self._angle // (np.pi / 2) > self._quarters else []
        self._quarters += len(events)
        over = self._slipped >= 1.0
        events += ["dropped"] * over
        truncated = self._steps == self.max_episode_steps and not over
        reward = self.task_profile.reward(events)
        return self._observation(), reward, over, truncated, {"success": False, "events": events}

    def _observation(self) -> dict[str, np.ndarray]:
        state = [np.cos(self._angle), np.sin(self._angle), self._slipped, 0.0]
        return {STATE_KEY: np.array(state, np.float32)}


def tape_demonstration(seed: int, towards_goal: bool) -> Episode:
    """A noisy walk to the tape, cutting it twice, or one away from it until it drops."""
    env, rng = TapeWorld(), np.random.default_rng(seed)
    recorder = EventRecorder(env.task_profile)
    observation, _ = env.reset(seed=seed)
    observations, actions, rewards = [observation[STATE_KEY]], [], []
    terminated = truncated = success = False
    while not (terminated or truncated):
        position, goal = np.split(observation[STATE_KEY], 2)
        wanted = (goal - position if towards_goal else position - goal) / (2 * STEP_M)
        action = np.clip(wanted + rng.normal(0, 0.2, 2), -1, 1).astype(np.float32)
        observation, reward, terminated, truncated, info = env.step(action)
        recorder.add(len(actions), info, f"demonstration {seed}")
        observations.append(observation[STATE_KEY])
        actions.append(action)
        rewards.append(reward)
        success = info["success"]
    return Episode(
        {STATE_KEY: np.stack(observations)},
        np.stack(actions),
        np.asarray(rewards, np.float32),
        terminated,
        truncated,
        success,
        {"seed": seed, "operator": "walker"} | recorder.metadata(),
    )


def write_tape_demonstrations(path: Path, outcomes: Sequence[bool]) -> Path:
    """A store with one demonstration per entry, towards the tape where the entry is true."""
    with EpisodeStore.create(path, data_spec(TapeWorld(), TAPE_ID)) as store:
        for seed, towards_goal in enumerate(outcomes):
            store.append(tape_demonstration(seed, towards_goal))
    return path


def make_turning(family: str, task: int | None, image_size: tuple[int, int] | None) -> TurningWorld:
    """The turning task as a family."""
    return TurningWorld()
