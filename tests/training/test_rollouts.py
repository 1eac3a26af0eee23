"""What one episode promises: which observation a decision saw, and what was then executed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from gymnasium import spaces
from point_world import ENV_ID, PointWorld
from torch import Tensor

from softflow.control.latency import Latency
from softflow.data.chunk_spec import ChunkSpec
from softflow.data.data_spec import STATE_KEY
from softflow.data.episode_store import EpisodeStore
from softflow.data.task_profile import TaskEvent, TaskProfile
from softflow.envs.contract import RobotEnv, data_spec
from softflow.errors import (
    EnvironmentContractError,
    EnvironmentFaultError,
    EpisodeLostError,
    NumericalError,
)
from softflow.models.action_selection import ChunkSelector, SelectionConfig
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.training import rollouts
from softflow.training.rollouts import MOST_LOST, RolloutResult, RolloutTask, run_episode, run_task

NEUTRAL = -1.0


class CountingWorld(RobotEnv):
    """The state is the number of control steps so far; it remembers the actions it was given."""

    control_hz = 10.0
    neutral_action = np.full(1, NEUTRAL, np.float32)
    observation_space = spaces.Dict({STATE_KEY: spaces.Box(0.0, 99.0, (1,), np.float32)})
    action_space = spaces.Box(-1000.0, 1000.0, (1,), np.float32)

    def __init__(self, succeeds_at: int = 0, limit: int = 9) -> None:
        self.max_episode_steps = limit
        self.succeeds_at, self.executed, self.seeds = succeeds_at, [], []

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:
        self.seeds.append(seed)
        self.executed = []
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        self.executed.append(float(action[0]))
        success = len(self.executed) == self.succeeds_at
        truncated = len(self.executed) == self.max_episode_steps and not success
        return self._observation(), float(success), success, truncated, {"success": success}

    def render(self) -> np.ndarray:
        return np.full((4, 4, 3), len(self.executed), np.uint8)

    def _observation(self) -> dict[str, np.ndarray]:
        return {STATE_KEY: np.array([len(self.executed)], np.float32)}


class Planner:
    """Plans 100 k, 100 k + 1, … at decision k (from 1 on) and remembers what it was shown."""

    def __init__(self, chunk_length: int) -> None:
        self.chunk_length = chunk_length
        self.seen: list[list[float]] = []
        self.prefixes: list[list[float]] = []
        self.seeds: list[int] = []

    def __call__(
        self, observation: dict[str, Tensor], prefix: Tensor, generator: torch.Generator
    ) -> Tensor:
        self.seen.append(observation[STATE_KEY][0, :, 0].tolist())
        self.prefixes.append(prefix[0, :, 0].tolist())
        self.seeds.append(generator.initial_seed())
        first = 100.0 * len(self.seen)
        return (first + torch.arange(self.chunk_length, dtype=torch.float32))[None, :, None]


def play(
    chunk: ChunkSpec, env: CountingWorld, seed: int = 7, render_every: int = 0
) -> tuple[Planner, RolloutResult]:
    planner = Planner(chunk.chunk_length)
    selector = cast("ChunkSelector", planner)
    return planner, run_episode(env, selector, chunk, seed, {"source": "test"}, render_every)


WITH_PREFIX = ChunkSpec(chunk_length=4, execution_horizon=3, prefix_length=2, history_length=3)


def test_decisions_with_prefix_and_history_step_by_step() -> None:
    env = CountingWorld(limit=9)
    planner, _ = play(WITH_PREFIX, env)
    # A decision every 3 steps sees the 3 last observations, the first one repeated at the start.
    assert planner.seen == [[0, 0, 0], [1, 2, 3], [4, 5, 6]]
    # Decision 1 is made while two neutral actions are executed; it acts from step 2 on.
    # At step 3 its plan's next two actions are committed: decision 2 acts from step 5 on.
    assert planner.prefixes == [[NEUTRAL, NEUTRAL], [101, 102], [201, 202]]
    assert env.executed == [NEUTRAL, NEUTRAL, 100, 101, 102, 200, 201, 202, 300]


def test_without_prefix_the_plan_starts_at_once() -> None:
    env = CountingWorld(limit=7)
    planner, _ = play(ChunkSpec(chunk_length=3, execution_horizon=3), env)
    assert planner.seen == [[0], [3], [6]]
    assert planner.prefixes == [[], [], []]
    assert env.executed == [100, 101, 102, 200, 201, 202, 300]


def test_a_horizon_below_the_chunk_length_drops_the_rest_of_the_plan() -> None:
    env = CountingWorld(limit=5)
    planner, _ = play(ChunkSpec(chunk_length=4, execution_horizon=2), env)
    assert planner.seen == [[0], [2], [4]]
    assert env.executed == [100, 101, 200, 201, 300]


def late(
    chunk: ChunkSpec, latency_ms: float, limit: int, stops: bool = False
) -> tuple[list[float], dict[str, Any]]:
    """What is executed with decisions that take so long, at 10 Hz; and the episode's metadata."""
    env, planner = CountingWorld(limit=limit), Planner(chunk.chunk_length)
    selector, latency = cast("ChunkSelector", planner), Latency(latency_ms, latency_ms, stops)
    result = run_episode(env, selector, chunk, 7, {"source": "test"}, latency=latency)
    return env.executed, result.episode.metadata


def test_a_latency_within_the_prefix_changes_nothing() -> None:
    executed, metadata = late(WITH_PREFIX, 200, 9)
    assert executed == [NEUTRAL, NEUTRAL, 100, 101, 102, 200, 201, 202, 300]
    assert metadata["latency_ms"] == [200, 200]
    assert metadata["held_steps"] == 0


def test_a_longer_latency_skips_what_has_gone_by_but_not_while_standing_still() -> None:
    executed, metadata = late(ChunkSpec(4, 2), 200, 9)
    # Nothing is skipped of the first plan; of the others, which replace a plan, two actions are.
    assert executed == [NEUTRAL, NEUTRAL, 100, 101, 102, 103, 202, 203, 302]
    assert metadata["held_steps"] == 2


def test_a_robot_that_stops_to_think_skips_nothing_and_stands_still_meanwhile() -> None:
    for chunk, stops in ((ChunkSpec(2, 2), False), (ChunkSpec(4, 2), True)):
        executed, metadata = late(chunk, 200, 9, stops)
        assert executed == [NEUTRAL, NEUTRAL, 100, 101, NEUTRAL, NEUTRAL, 200, 201, NEUTRAL]
        assert metadata["held_steps"] == 5


def test_late_actions_stay_relative_to_the_observation_they_were_decided_on() -> None:
    """Decoded once: a chunk that starts late is not shifted to the state at its arrival."""

    def relative(observation: dict[str, Tensor], prefix: Tensor, _: torch.Generator) -> Tensor:
        ahead = torch.arange(4, dtype=torch.float32)
        return observation[STATE_KEY][:, -1:, :] + 10 * ahead[None, :, None]

    env = CountingWorld(limit=9)
    selector, latency = cast("ChunkSelector", relative), Latency(200, 200)
    run_episode(env, selector, ChunkSpec(4, 2), 7, {}, latency=latency)
    assert env.executed == [NEUTRAL, NEUTRAL, 0, 10, 20, 30, 24, 34, 26]


def test_a_random_latency_is_a_function_of_the_seed_and_zero_is_none() -> None:
    some = Latency(0, 900)
    episodes = [
        run_episode(
            CountingWorld(limit=30),
            cast("ChunkSelector", Planner(4)),
            WITH_PREFIX,
            seed,
            {},
            latency=latency,
        ).episode
        for seed, latency in [(1, some), (1, some), (2, some), (1, Latency())]
    ]
    first, again, other, none = [episode.actions[:, 0].tolist() for episode in episodes]
    assert first == again != other
    assert first != none
    assert "held_steps" not in episodes[-1].metadata


@pytest.mark.parametrize(
    "chunk",
    [
        WITH_PREFIX,
        ChunkSpec(4, 4, 3, 1),
        ChunkSpec(3, 1, 2, 2),
        ChunkSpec(5, 3, 0, 4),
        ChunkSpec(1, 1, 1, 1),
    ],
)
def test_the_recording_is_what_happened(tmp_path: Path, chunk: ChunkSpec) -> None:
    """The batch at a decision step holds what that decision saw and what it led to."""
    env = CountingWorld(limit=11)
    planner, result = play(chunk, env)
    episode = result.episode
    assert episode.actions[:, 0].tolist() == env.executed
    assert episode.observations[STATE_KEY][:, 0].tolist() == list(range(12))
    with EpisodeStore.create(tmp_path, data_spec(env, "counting")) as store:
        store.append(episode)
        dataset = ChunkDataset(store, chunk, offline=False)
    decisions = np.arange(0, 11, chunk.execution_horizon)
    batch = dataset.gather(decisions)
    assert batch.observation[STATE_KEY][:, :, 0].tolist() == planner.seen
    for number, step in enumerate(decisions):
        committed = planner.prefixes[number]
        prefix = batch.prefix_actions[number, :, 0].tolist()
        inside = max(0, min(chunk.prefix_length, 11 - step))
        assert env.executed[step : step + inside] == committed[:inside]
        assert prefix[:inside] == committed[:inside]
        planned = [100.0 * (number + 1) + i for i in range(chunk.execution_horizon)]
        done = env.executed[step + chunk.prefix_length :][: chunk.execution_horizon]
        assert done == planned[: len(done)]
        assert batch.actions[number, : len(done), 0].tolist() == done


def test_success_ends_the_episode_in_the_middle_of_a_plan() -> None:
    _, result = play(WITH_PREFIX, CountingWorld(succeeds_at=4))
    episode = result.episode
    assert (episode.length, episode.success) == (4, True)
    assert (episode.terminated, episode.truncated) == (True, False)
    assert episode.rewards.tolist() == [0, 0, 0, 1]
    assert episode.metadata == {"source": "test", "seed": 7}


def test_success_in_the_last_moment_is_a_termination() -> None:
    """Gymnasium's own time limit says both; an episode ends one way."""

    class Both(CountingWorld):
        def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
            observation, reward, success, truncated, info = super().step(action)
            return observation, reward, success, truncated or success, info

    _, result = play(WITH_PREFIX, Both(succeeds_at=5, limit=5))
    assert (result.episode.terminated, result.episode.truncated) == (True, False)


def test_the_time_limit_truncates() -> None:
    _, result = play(WITH_PREFIX, CountingWorld(limit=5))
    episode = result.episode
    assert (episode.length, episode.success) == (5, False)
    assert (episode.terminated, episode.truncated) == (False, True)
    episode.validate(data_spec(CountingWorld(), "counting"))


class Endless(CountingWorld):
    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        observation, reward, _, _, info = super().step(action)
        return observation, reward, False, False, info


class Generous(CountingWorld):
    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        observation, _, terminated, truncated, info = super().step(action)
        return observation, 0.5, terminated, truncated, info


class DropsAndGoesOn(CountingWorld):
    task_profile = TaskProfile((TaskEvent("dropped", 0.0, "failure"),))

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        observation, _, _, truncated, _ = super().step(action)
        dropped = ["dropped"] * (len(self.executed) == 2)
        return observation, 0.0, False, truncated, {"success": False, "events": dropped}


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (Endless(limit=5), "step 4 of the episode with seed 7: the episode goes on, but max_epi"),
        (Generous(limit=5), "step 0 of the episode with seed 7: reward is 0.5 but info"),
        (DropsAndGoesOn(limit=5), "step 1 of .*: terminated is False, but its events are: dropped"),
    ],
)
def test_a_step_that_breaks_the_contract_ends_the_episode_in_words(
    env: CountingWorld, message: str
) -> None:
    """Random actions, which are all that `check_env` has, may never bring it about."""
    with pytest.raises(EnvironmentContractError, match=message):
        play(ChunkSpec(3, 3), env)


def test_environment_and_candidates_are_seeded() -> None:
    env = CountingWorld()
    planner, _ = play(WITH_PREFIX, env, seed=12345)
    assert env.seeds == [12345]
    assert set(planner.seeds) == {12345}


def test_frames_show_start_and_end() -> None:
    _, result = play(WITH_PREFIX, CountingWorld(limit=7), render_every=3)
    assert result.frames is not None
    assert result.frames.shape == (4, 4, 4, 3)
    assert result.frames[:, 0, 0, 0].tolist() == [0, 3, 6, 7]
    _, silent = play(WITH_PREFIX, CountingWorld())
    assert silent.frames is None


def sensor(change: Callable[[np.ndarray], object]) -> Callable[..., Any]:
    """What a sensor does to an observation, as a change of what reset or step returned."""
    return lambda answer: ({STATE_KEY: change(answer[0][STATE_KEY])}, *answer[1:])


def with_part(place: int, value: object) -> Callable[..., Any]:
    """A step whose answer has another part."""
    return lambda answer: (*answer[:place], value, *answer[place + 1 :])


SENSORS = {
    "nan": (sensor(lambda state: state * math.nan), r"observation.state\[0\] is nan"),
    "inf": (sensor(lambda state: state + math.inf), r"observation.state\[0\] is inf"),
    "float64": (
        sensor(lambda state: state.astype(float)),
        r"is float64 \(1,\), the space says float32",
    ),
    "shape": (sensor(lambda state: np.append(state, state)), r"is float32 \(2,\), the space says"),
    "list": (sensor(list), "observation.state is a list; make it a numpy array"),
    "tensor": (sensor(torch.from_numpy), "observation.state is a Tensor; make it a numpy array"),
    "no key": (lambda answer: ({}, *answer[1:]), r"the observation has the keys \[\]"),
    "more keys": (lambda answer: (answer[0] | {"more": 1}, *answer[1:]), "has the keys .*'more'"),
    "no dictionary": (
        lambda answer: (answer[0][STATE_KEY], *answer[1:]),
        "is a ndarray, the space",
    ),
    "nothing": (lambda answer: None, r"returned a NoneType; return \(observation"),
    "a part less": (lambda answer: answer[:-1], r"returned a tuple of \d; return \(observation"),
}
STEPS = {
    "no reward": (with_part(1, None), "reward is None; give a number"),
    "reward is text": (with_part(1, "good"), "reward is 'good'; give a number"),
    "rewards": (with_part(1, np.ones(2)), r"reward is array\(\[1., 1.\]\); give a number"),
    "reward nan": (with_part(1, math.nan), "reward is nan; give a finite number"),
    "reward beyond float32": (with_part(1, 1e300), r"reward is 1e\+300; give a finite number"),
    "terminated is none": (with_part(2, None), "terminated is None; give a bool"),
    "truncated is a list": (with_part(3, [False]), r"truncated is \[False\]; give a bool"),
    "no info": (with_part(4, None), "returned a tuple of 5; .* info a dictionary"),
    "no success": (with_part(4, {}), r"info\['success'\] is None; give a bool"),
    "success is text": (with_part(4, {"success": "False"}), r"info\['success'\] is 'False'"),
}


@pytest.mark.parametrize(
    ("kind", "step"), [(kind, 0) for kind in SENSORS] + [(kind, 3) for kind in SENSORS | STEPS]
)
def test_an_answer_that_is_not_the_declared_one_names_its_step(kind: str, step: int) -> None:
    change, told = (SENSORS | STEPS)[kind]

    class Odd(CountingWorld):
        def reset(self, **options: Any) -> Any:
            answer = super().reset(**options)
            return change(answer) if step == 0 else answer

        def step(self, action: np.ndarray) -> Any:
            answer = super().step(action)
            return change(answer) if len(self.executed) == step else answer

    where = "control step 2 of the test" if step else "reset before the test"
    with pytest.raises(EnvironmentContractError, match=f"{where} episode with seed 7: .*{told}"):
        play(WITH_PREFIX, Odd())


def broken_display() -> np.ndarray:
    raise RuntimeError("no display")


@pytest.mark.parametrize(
    ("pictures", "kind", "told"),
    [
        ([broken_display], EnvironmentFaultError, "RuntimeError: no display in render"),
        ([lambda: None], EnvironmentContractError, "gave a NoneType; give a uint8 array"),
        ([lambda: np.zeros((4, 4, 3))], EnvironmentContractError, "gave float64; give a uint8"),
        ([lambda: np.zeros((3, 4, 4), np.uint8)], EnvironmentContractError, "channels last"),
        (
            [lambda: np.zeros((4, 4, 3), np.uint8), lambda: np.zeros((4, 5, 3), np.uint8)],
            EnvironmentContractError,
            r"gave \(4, 5, 3\), and \(4, 4, 3\) before",
        ),
    ],
)
def test_what_is_no_picture_is_told(
    pictures: list[Callable[[], Any]], kind: type[Exception], told: str
) -> None:
    class Camera(CountingWorld):
        def render(self) -> Any:
            return pictures[min(len(self.executed), len(pictures) - 1)]()

    with pytest.raises(kind, match=told):
        play(WITH_PREFIX, Camera(), render_every=1)


@pytest.mark.parametrize("name", ["control_hz", "neutral_action", "max_episode_steps"])
@pytest.mark.parametrize("value", [None, "x", math.nan, np.zeros(3)], ids=str)
def test_an_attribute_that_is_none_is_told_before_anything_moves(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object
) -> None:
    monkeypatch.setattr(PointWorld, name, value)
    monkeypatch.setattr(rollouts, "_worker_environments", {})
    with pytest.raises(EnvironmentContractError, match=f"{name} is "):
        rollouts._environment_spec((ENV_ID, None))


def test_an_error_that_cannot_say_what_it_is() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError("no words")

    class Mutes(CountingWorld):
        def step(self, action: np.ndarray) -> Any:
            raise MuteError

    with pytest.raises(EnvironmentFaultError, match="raised MuteError in control step 0"):
        play(WITH_PREFIX, Mutes())


def test_arrays_that_an_environment_goes_on_using_are_copied() -> None:
    """One buffer for all observations, and an action that is changed in place."""

    class Frugal(CountingWorld):
        buffer = np.zeros(1, np.float32)

        def _observation(self) -> dict[str, np.ndarray]:
            self.buffer[:] = super()._observation()[STATE_KEY]
            return {STATE_KEY: self.buffer}

        def step(self, action: np.ndarray) -> Any:
            answer = super().step(action)
            action[:] = -99
            return answer

    planner, result = play(WITH_PREFIX, Frugal(limit=6))
    expected_planner, expected = play(WITH_PREFIX, CountingWorld(limit=6))
    assert planner.seen == expected_planner.seen
    assert np.array_equal(
        result.episode.observations[STATE_KEY], expected.episode.observations[STATE_KEY]
    )
    assert np.array_equal(result.episode.actions, expected.episode.actions)


def test_an_action_that_is_not_finite_stops_the_episode_and_says_where() -> None:
    chunk = ChunkSpec(chunk_length=2, execution_horizon=2)

    def selector(observation: dict[str, Tensor], prefix: Tensor, generator: object) -> Tensor:
        step = observation[STATE_KEY].item()
        return torch.full((1, 2, 1), math.nan if step == 4 else 0.0)

    env = CountingWorld()
    with pytest.raises(NumericalError, match=r"control step 4 .*seed 9"):
        run_episode(env, cast("ChunkSelector", selector), chunk, 9, {})
    assert len(env.executed) == 4


class GivingWay(CountingWorld):
    """Its physics gives way in the fourth control step of the first so many episodes."""

    def __init__(self, episodes: int) -> None:
        super().__init__(limit=6)
        self.episodes = episodes

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        if len(self.executed) == 3 and len(self.seeds) <= self.episodes:
            raise EpisodeLostError("the hand's physics blew up")
        return super().step(action)


def _task(seed: int) -> RolloutTask:
    rule = SelectionConfig(1, 0.0, "likelihood")
    return RolloutTask("no checkpoint", rule, "giving-way", seed, {"source": "test"})


def test_an_episode_whose_physics_gives_way_is_played_with_the_next_seed_and_told() -> None:
    chunk = ChunkSpec(chunk_length=3, execution_horizon=3)
    world, planner = GivingWay(2), Planner(3)
    episode = run_task(world, planner, chunk, _task(7)).episode
    assert len(episode.actions) == 6
    assert world.seeds[0] == 7
    assert len(set(world.seeds)) == 3
    assert episode.metadata["seed"] == 7, "the place in the run is the task's"
    assert episode.metadata["lost_seeds"] == world.seeds[:2]
    assert episode.metadata["played_seed"] == world.seeds[2] == planner.seeds[-1]
    again = GivingWay(2)
    run_task(again, Planner(3), chunk, _task(7))
    assert again.seeds == world.seeds, "which are played follows from the task"


def test_what_never_gives_way_says_nothing_and_what_always_does_stops() -> None:
    chunk = ChunkSpec(chunk_length=3, execution_horizon=3)
    sound = run_task(GivingWay(0), Planner(3), chunk, _task(7)).episode
    assert not {"lost_seeds", "played_seed"} & set(sound.metadata)
    world = GivingWay(100)
    with pytest.raises(EpisodeLostError, match="blew up"):
        run_task(world, Planner(3), chunk, _task(7))
    assert len(world.seeds) == MOST_LOST
