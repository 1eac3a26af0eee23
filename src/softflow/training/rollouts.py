"""Run episodes with a policy: one at a time, or many in parallel processes.

An episode is a pure function of (checkpoint, decision rule, seed): neither the number of workers
nor what they did before changes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces

from softflow.control.acting import ActingEpisode
from softflow.control.latency import NO_LATENCY, Latency
from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.task_profile import TaskProfile
from softflow.envs.answers import (
    StepAnswer,
    checked_picture,
    require_control_rate,
    require_neutral_action,
    require_time_limit,
    reset_answer,
    step_answer,
)
from softflow.envs.contract import RobotEnv, data_spec, declared_profile
from softflow.envs.profiles import EventRecorder, StepOutcome, check_outcome
from softflow.envs.registry import make_env, registrations, restore_registrations
from softflow.errors import (
    EnvironmentContractError,
    EnvironmentFaultError,
    EpisodeLostError,
    SoftflowError,
    brief,
    raised_at,
)
from softflow.models.action_selection import (
    ChunkSelector,
    EpisodeDecisions,
    SelectionConfig,
    Selector,
)
from softflow.training.persistence import load_selector
from softflow.utils.imports import do_trusting, with_my_trust
from softflow.utils.worker_pool import Item, Result, WorkerPool, at_end, raise_if_stopping


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
        latency: how long the world goes on while a decision is being taken.
        device: where the policy decides; the candidates are the same on each, but for rounding.
    """

    checkpoint: str
    selection: SelectionConfig
    env_id: str
    seed: int
    metadata: dict[str, Any]
    image_size: tuple[int, int] | None = None
    render_every: int = 0
    latency: Latency = NO_LATENCY
    device: str = "cpu"


@dataclass(frozen=True)
class RolloutResult:
    """An episode and, if asked for, its frames [T, H, W, 3] uint8."""

    episode: Episode
    frames: np.ndarray | None


def run_episode(
    env: RobotEnv,
    selector: Selector,
    chunk: ChunkSpec,
    seed: int,
    metadata: dict[str, Any],
    render_every: int = 0,
    latency: Latency = NO_LATENCY,
) -> RolloutResult:
    """One episode: decide every `execution_horizon` control steps, until it ends.

    The committed actions at the start are the environment's neutral action, executed while the
    first decision is being made. Decisions arrive without delay, or after `latency`, drawn anew for
    each; where that leaves nothing to execute the neutral action is. The metadata then say how
    often (`held_steps`).

    Raises:
        EnvironmentFaultError: the environment raised an error; says at which control step, and
            where in its code.
        EpisodeLostError: its physics gave way.
        StoppedWorkError: in a worker process that was told to stop.
        EnvironmentContractError: it answered something else than it declares (shapes, types, an
            observation that is not finite), reported an event that it does not declare, rewards
            or ends otherwise than declared, or goes on past its time limit.
        NumericalError: the policy produced an action that is not finite.
    """
    name = type(env.unwrapped).__name__
    which = f"the {metadata.get('source', '')} episode with seed {seed}".replace("  ", " ")
    require_neutral_action(env)
    require_time_limit(env)
    with _faults_told(name, f"on reset, before {which}"):
        answer = env.reset(seed=seed)
    observation = reset_answer(env, answer, f"reset before {which}")
    recording = _Recording(env, observation, seed, render_every)
    decide = _decisions(env, selector, seed)
    delay = latency.draws(env.control_hz, seed)
    acting = ActingEpisode(chunk, env.neutral_action, decide, delay, latency.stops_to_think)
    while not recording.is_over:
        raise_if_stopping()
        step, action = acting.control_step, acting.act(observation)
        with _faults_told(name, f"in control step {step} of {which}"):
            answer = env.step(action.copy())
        told = step_answer(env, answer, f"control step {step} of {which}")
        recording.add(action, told)
        observation = told.observation
    late = {"latency_ms": [latency.low_ms, latency.high_ms], "held_steps": acting.held_steps}
    return recording.result(metadata | (late if latency else {}))


def _decisions(env: RobotEnv, selector: Selector, seed: int) -> EpisodeDecisions:
    """A policy's decisions in one episode, inside the environment's action space."""
    space = cast("spaces.Box", env.action_space)
    generator = torch.Generator().manual_seed(seed)
    which = f"the episode with seed {seed}"
    return EpisodeDecisions(selector, generator, (space.low, space.high), which)


@contextmanager
def _faults_told(env: str, when: str) -> Iterator[None]:
    """Turn whatever an environment raises into one error that says when and where.

    Raises:
        EnvironmentFaultError: it raised something.
    """
    try:
        yield
    except SoftflowError:
        raise
    except (Exception, SystemExit) as error:
        raise EnvironmentFaultError(
            f"the environment {env} raised {brief(error)} {when} "
            f"({raised_at(error)}). It was closed, and nothing resets it again. "
            "Episodes that had ended are kept: mend the cause, then run the same command again."
        ) from error


class _Recording:
    """What happens in an episode, step by step, until it is one."""

    def __init__(
        self, env: RobotEnv, observation: dict[str, np.ndarray], seed: int, render_every: int
    ) -> None:
        self._env, self._seed, self._render_every = env, seed, render_every
        self._frames: list[np.ndarray] = []
        self._observations = [observation]
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []
        self._events = EventRecorder(declared_profile(env))
        self._outcome = StepOutcome(0.0, terminated=False, truncated=False, success=False)
        if render_every:
            self._add_frame()

    @property
    def is_over(self) -> bool:
        """Whether the episode has ended."""
        return self._outcome.terminated or self._outcome.truncated

    def add(self, action: np.ndarray, answer: StepAnswer) -> None:
        """One control step."""
        step, outcome = len(self._actions), answer.outcome
        self._observations.append(answer.observation)
        self._actions.append(action)
        self._rewards.append(outcome.reward)
        # Gymnasium's own time limit may say both; an episode ends one way. And declared events may
        # take a success back: everything was done, then the cube fell.
        truncated = outcome.truncated and not outcome.terminated
        self._outcome = replace(outcome, truncated=truncated)
        self._check(step, answer.info)
        if self._render_every and ((step + 1) % self._render_every == 0 or self.is_over):
            self._add_frame()

    def _add_frame(self) -> None:
        """A picture of now; all pictures of an episode are of one size."""
        where = f"after {len(self._actions)} control steps of the episode with seed {self._seed}"
        with _faults_told(type(self._env.unwrapped).__name__, f"in render(), {where}"):
            picture: Any = self._env.render()
        frame = checked_picture(picture, where)
        if self._frames and frame.shape != self._frames[0].shape:
            raise EnvironmentContractError(
                f"{where}: render() gave {frame.shape}, and {self._frames[0].shape} before; keep "
                "to one size"
            )
        self._frames.append(frame.copy())

    def _check(self, step: int, info: dict[str, Any]) -> None:
        """An episode that breaks the contract is no data, and one that does not end, no episode."""
        where = f"control step {step} of the episode with seed {self._seed}"
        names = self._events.add(step, info, where)
        check_outcome(self._outcome, self._events, names, where)
        if step + 1 >= self._env.max_episode_steps and not self.is_over:
            raise EnvironmentContractError(
                f"{where}: the episode goes on, but max_episode_steps is "
                f"{self._env.max_episode_steps}; truncate it exactly there"
            )

    def result(self, metadata: dict[str, Any]) -> RolloutResult:
        """The episode, and its frames if any were asked for."""
        observations = {
            key: np.stack([seen[key] for seen in self._observations])
            for key in self._observations[0]
        }
        episode = Episode(
            observations=observations,
            actions=np.stack(self._actions),
            rewards=np.asarray(self._rewards, dtype=np.float32),
            terminated=self._outcome.terminated,
            truncated=self._outcome.truncated,
            success=self._outcome.success,
            metadata=metadata | {"seed": self._seed} | self._events.metadata(),
        )
        return RolloutResult(episode, np.stack(self._frames) if self._frames else None)


class RolloutPool(WorkerPool):
    """Worker processes that keep their simulator and the current policy loaded.

    They know the environments that were registered (`register_env`) before the pool was made, and
    import what the user named (`softflow.utils.imports.trust`) until they are asked.

    Attributes:
        is_robot: what acts there is a robot, which does nothing that nobody asked for.
    """

    is_robot = False

    def __init__(self, num_workers: int) -> None:
        super().__init__(num_workers, _set_up_worker, (registrations(),))
        self._profiles: dict[tuple[str, tuple[int, int] | None], TaskProfile] = {}

    def run(self, tasks: Sequence[RolloutTask]) -> Iterator[RolloutResult]:
        """Results in the order of the tasks, as they come."""
        return self._ask(_run_task, tasks)

    def environment_spec(self, env_id: str, image_size: tuple[int, int] | None) -> DataSpec:
        """What episodes of an environment hold, asked of a worker."""
        return next(self._ask(_environment_spec, [(env_id, image_size)]))

    def try_out(self, env_id: str, image_size: tuple[int, int] | None) -> None:
        """One reset and one step of an environment, held to the contract; a robot is left alone.

        Raises:
            EnvironmentFaultError: it raised an error.
            EnvironmentContractError: it answered something else than it declares.
        """
        if not self.is_robot:
            next(self._ask(_try_out, [(env_id, image_size)]))

    def environment_profile(self, env_id: str, image_size: tuple[int, int] | None) -> TaskProfile:
        """What an environment rewards and evaluation shows of it, asked of a worker once."""
        place = (env_id, image_size)
        if place not in self._profiles:
            self._profiles[place] = next(self._ask(_environment_profile, [place]))
        return self._profiles[place]

    def pause(self, what: str) -> None:
        """Wait for whoever is beside what acts; nobody is beside a simulator."""

    def _ask(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        return self.map(do_trusting, with_my_trust(function, items))


def _set_up_worker(families: dict[str, str]) -> None:
    torch.set_num_threads(1)
    restore_registrations(families)


_worker_selector: dict[tuple[str, SelectionConfig, str], tuple[ChunkSelector, ChunkSpec]] = {}


_worker_environments: dict[tuple[str, tuple[int, int] | None], RobotEnv] = {}
MOST_LOST = 5
"""So many episodes in a row whose physics gives way stop the work: that is no accident."""


def _environment(env_id: str, image_size: tuple[int, int] | None) -> RobotEnv:
    """This process's simulator of a task; it is closed when the process ends, or before."""
    place = (env_id, image_size)
    if place not in _worker_environments:
        with _faults_told(f"'{env_id}'", "while it was made"):
            _worker_environments[place] = make_env(env_id, image_size=image_size)
        at_end(close_environments)
    return _worker_environments[place]


def run_task(
    env: RobotEnv, selector: Selector, chunk: ChunkSpec, task: RolloutTask
) -> RolloutResult:
    """The task's episode; where physics gives way, the next of as many seeds that follow from its.

    Its metadata keep the task's seed, and say which were lost (`lost_seeds`) and which was played
    (`played_seed`): nothing that was thrown away is without a trace.

    Raises:
        EpisodeLostError: physics gave way in all of them.
    """
    lost, given = list[int](), (task.metadata, task.render_every, task.latency)
    while True:
        seed = _seed_after(task.seed, len(lost))
        try:
            result = run_episode(env, selector, chunk, seed, *given)
        except EpisodeLostError:
            lost.append(seed)
            if len(lost) == MOST_LOST:
                raise
            continue
        if not lost:
            return result
        told = {"seed": task.seed, "played_seed": seed, "lost_seeds": lost}
        episode = replace(result.episode, metadata=result.episode.metadata | told)
        return replace(result, episode=episode)


def _seed_after(seed: int, lost: int) -> int:
    """The seed that is played after `lost` others gave way."""
    return int(np.random.SeedSequence([seed, lost]).generate_state(1)[0]) if lost else seed


def close_environments() -> None:
    """Close what this process has made."""
    while _worker_environments:
        _worker_environments.popitem()[1].close()


def _environment_spec(place: tuple[str, tuple[int, int] | None]) -> DataSpec:
    env = _environment(*place)
    require_control_rate(env)
    require_neutral_action(env)
    require_time_limit(env)
    return data_spec(env, place[0])


def _environment_profile(place: tuple[str, tuple[int, int] | None]) -> TaskProfile:
    return declared_profile(_environment(*place))


def _try_out(place: tuple[str, tuple[int, int] | None]) -> None:
    env, where = _environment(*place), "tried before anything is learned"
    name, action = type(env.unwrapped).__name__, np.array(env.neutral_action)
    with suppress(EpisodeLostError):  # which may happen; the next seed is played then
        with _faults_told(name, f"on reset, {where}"):
            answer = env.reset(seed=0)
        first = reset_answer(env, answer, f"reset, {where}")
        with _faults_told(name, f"in its first control step, {where}"):
            answer = env.step(action.copy())
        told = step_answer(env, answer, f"the first control step, {where}")
        _Recording(env, first, 0, 0).add(action, told)


def _run_task(task: RolloutTask) -> RolloutResult:
    env = _environment(task.env_id, task.image_size)
    key = (task.checkpoint, task.selection, task.device)
    if key not in _worker_selector:
        _worker_selector.clear()
        _worker_selector[key] = load_selector(Path(task.checkpoint), task.selection, task.device)
    try:
        selector, chunk = _worker_selector[key]
        return run_task(env, selector.exploring(task.seed), chunk, task)
    except EnvironmentFaultError:
        with suppress(Exception):  # it is broken already, and that is what must be told
            close_environments()
        raise
