"""Success rates: the interval, every episode on disk, continuing, and the same seeds again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from point_world import ENV_ID, LocalPool, demonstration, point_spec, tiny_config

from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import Label
from softflow.errors import DataError
from softflow.models.action_selection import SelectionConfig
from softflow.sampling.chunk_sampler import ChunkSampler
from softflow.training.evaluation import EvaluationPlan, EvaluationResult, episode_seed, evaluate
from softflow.training.rollouts import RolloutPool, RolloutResult, RolloutTask
from softflow.training.run import Run
from softflow.utils.progress import SilentProgress

RunMaker = Callable[..., Run]
NUM_EPISODES = 8


class SwitchedError(Exception):
    """The power goes off."""


class FailingPool(LocalPool):
    """The power goes off before episode number `limit`."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def run(self, tasks: Sequence[RolloutTask]) -> Iterator[RolloutResult]:
        yield from super().run(tasks[: self.limit])
        raise SwitchedError


@pytest.fixture(scope="module")
def checkpoint(demonstrations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A policy after 40 updates of imitation: it reaches the goal now and then."""
    run = Run(
        tmp_path_factory.mktemp("policy"), tiny_config(), demonstrations, None, SilentProgress()
    )
    sampler = ChunkSampler(run.data.demonstrations, batch_size=32, seed=0, stream="test")
    run.learner.set_up(replace(run.config.imitation, learning_rate=0.01, dropout=0.0))
    for update in range(40):
        run.learner.imitation_update(sampler.batch(update))
    path = run.save()
    run.close()
    return path


def measure(
    folder: Path, checkpoint: Path, pool: RolloutPool | None = None, **changes: Any
) -> EvaluationResult:
    settings: dict[str, Any] = {
        "label": "imitation",
        "stage": "imitation",
        "checkpoint": checkpoint,
        "selection": SelectionConfig(4, 0.7, "likelihood"),
        "spec": point_spec(),
        "num_episodes": NUM_EPISODES,
        "seed": 0,
        "update_step": 40,
        "online_episodes": 0,
        "robot_steps": 0,
    }
    plan = EvaluationPlan(**(settings | changes))
    return evaluate(pool or LocalPool(), folder, plan, SilentProgress())


@pytest.fixture(scope="module")
def measured(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished evaluation."""
    folder = tmp_path_factory.mktemp("evaluations")
    measure(folder, checkpoint)
    return folder


def written(folder: Path, label: str = "imitation") -> dict[str, Any]:
    """The JSON of an evaluation, without the time it took."""
    result = json.loads((folder / f"{label}.json").read_text())
    assert result.pop("wall_time_s") > 0
    return result


def wilson(successes: int, number: int) -> tuple[float, float]:
    """The interval's ends solve (rate - p)^2 = z^2 p (1 - p) / n: found here by bisection."""
    rate, z = successes / number, 1.959963984540054

    def inside(p: float) -> bool:
        return (rate - p) ** 2 <= z**2 * p * (1 - p) / number + 1e-15

    def edge(good: float, bad: float) -> float:
        for _ in range(60):
            middle = (good + bad) / 2
            good, bad = (middle, bad) if inside(middle) else (good, middle)
        return good

    return edge(rate, 0.0), edge(rate, 1.0)


@pytest.mark.slow
def test_the_numbers_on_disk(measured: Path) -> None:
    result = written(measured)
    episodes = result["episodes"]
    successes = sum(episode["success"] for episode in episodes)
    assert 0 < successes < NUM_EPISODES, "this policy should succeed now and then"
    assert result["num_episodes"] == len(episodes) == NUM_EPISODES
    assert result["success_rate"] == successes / NUM_EPISODES
    low, high = wilson(successes, NUM_EPISODES)
    assert result["interval_low"] == pytest.approx(low, abs=1e-6)
    assert result["interval_high"] == pytest.approx(high, abs=1e-6)
    expected = {"label": "imitation", "stage": "imitation", "rule": "likelihood"}
    assert result["sampling_std"] == 0.7
    assert result.items() >= (expected | {"num_candidates": 4, "update_step": 40}).items()


def test_every_episode_is_kept_and_agrees_with_the_numbers(measured: Path) -> None:
    store = EpisodeStore.open(measured / "imitation")
    assert len(store) == NUM_EPISODES
    for summary, fact in zip(store.summaries(), written(measured)["episodes"], strict=True):
        assert fact == {
            "seed": summary.metadata["seed"],
            "success": summary.success,
            "length": summary.length,
            "return": summary.return_,
        }
        assert summary.return_ == float(summary.success)
        assert summary.metadata["label"] == "imitation"


@pytest.mark.slow
def test_the_same_seed_gives_the_same_result(
    measured: Path, checkpoint: Path, tmp_path: Path
) -> None:
    measure(tmp_path, checkpoint)
    assert written(tmp_path) == written(measured)


@pytest.mark.slow
def test_another_seed_gives_other_episodes(
    measured: Path, checkpoint: Path, tmp_path: Path
) -> None:
    measure(tmp_path, checkpoint, seed=1)
    ours, theirs = (
        {episode["seed"] for episode in written(folder)["episodes"]}
        for folder in (tmp_path, measured)
    )
    assert not ours & theirs


@pytest.mark.slow
def test_an_interrupted_evaluation_continues(
    measured: Path, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(SwitchedError):
        measure(tmp_path, checkpoint, FailingPool(limit=3))
    assert len(EpisodeStore.open(tmp_path / "imitation")) == 3
    assert not (tmp_path / "imitation.json").exists()
    pool = LocalPool()
    measure(tmp_path, checkpoint, pool)
    assert len(pool.tasks) == NUM_EPISODES - 3
    assert written(tmp_path) == written(measured)


@pytest.mark.slow
def test_an_evaluation_does_not_mix_policies_of_another_spread(
    checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(SwitchedError):
        measure(tmp_path, checkpoint, FailingPool(limit=3))
    pool = LocalPool()
    measure(tmp_path, checkpoint, pool, selection=SelectionConfig(4, 0.1, "likelihood"))
    assert len(pool.tasks) == NUM_EPISODES


@pytest.mark.slow
def test_more_episodes_begin_with_the_same_ones(
    measured: Path, checkpoint: Path, tmp_path: Path
) -> None:
    measure(tmp_path, checkpoint, num_episodes=4)
    assert written(tmp_path)["episodes"] == written(measured)["episodes"][:4]


def test_seeds_of_purposes_and_runs_do_not_meet() -> None:
    seeds = {
        episode_seed(seed, purpose, index)
        for seed in range(4)
        for purpose in ("evaluation", "online")
        for index in range(100)
    }
    assert len(seeds) == 800


@pytest.mark.slow
def test_every_stage_meets_the_same_initial_states(make_run: RunMaker) -> None:
    run = make_run(tiny_config(eval_episodes=2))
    run.evaluate("imitation", "imitation", 2)
    run.position.enter("critic_warmup")
    run.evaluate("critic_warmup", "critic_warmup", 2)
    first, second = (
        [EpisodeStore.open(run.folder / "evaluations" / label).episode(i) for i in range(2)]
        for label in ("imitation", "critic_warmup")
    )
    for ours, theirs in zip(first, second, strict=True):
        key = "observation.state"
        assert ours.observations[key][0].tobytes() == theirs.observations[key][0].tobytes()


def test_a_result_on_disk_is_not_measured_again(make_run: RunMaker) -> None:
    run = make_run(tiny_config())
    run.evaluate("imitation", "imitation", 2)
    assert isinstance(run.pool, LocalPool)
    played = len(run.pool.tasks)
    run.evaluate("imitation", "imitation", 2)
    assert len(run.pool.tasks) == played == 2


def test_workers_are_given_the_environment_of_the_data(
    measured: Path, checkpoint: Path, tmp_path: Path
) -> None:
    pool = LocalPool()
    measure(tmp_path, checkpoint, pool, num_episodes=1)
    (task,) = pool.tasks
    assert (task.env_id, task.checkpoint) == (ENV_ID, str(checkpoint.resolve()))


@pytest.mark.slow
def test_an_episode_set_aside_is_played_again_with_its_own_seed(
    checkpoint: Path, measured: Path, tmp_path: Path
) -> None:
    """An interrupted evaluation of which the first episode was found damaged."""
    kept = EpisodeStore.open(measured / "imitation")
    with EpisodeStore.create(tmp_path / "imitation", point_spec()) as store:
        for index in (1, 2):
            store.append(kept.episode(index))
    pool = LocalPool()
    measure(tmp_path, checkpoint, pool)
    assert written(tmp_path)["episodes"] == written(measured)["episodes"]
    assert len(pool.tasks) == NUM_EPISODES - 2


def labelled(store: EpisodeStore) -> None:
    store.label(1, Label("anna", ()))


def one_twice(store: EpisodeStore) -> None:
    with EpisodeStore.open(store.path, writable=True) as writer:
        writer.append(store.episode(0))


def of_another_origin(store: EpisodeStore) -> None:
    with EpisodeStore.open(store.path, writable=True) as writer:
        writer.append(demonstration(1, towards_goal=True))


@pytest.mark.slow
@pytest.mark.parametrize("change", [labelled, one_twice, of_another_origin])
def test_an_evaluation_does_not_go_on_with_other_episodes_nor_deletes_them(
    checkpoint: Path, tmp_path: Path, change: Callable[[EpisodeStore], None]
) -> None:
    with pytest.raises(SwitchedError):
        measure(tmp_path, checkpoint, FailingPool(3))
    [path] = [entry for entry in tmp_path.iterdir() if entry.is_dir()]
    change(EpisodeStore.open(path))
    number = len(EpisodeStore.open(path))
    with pytest.raises(DataError, match="is not as an evaluation left it"):
        measure(tmp_path, checkpoint)
    assert len(EpisodeStore.open(path)) == number
