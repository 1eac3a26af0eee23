"""What a person did in place of the policy: which rows it makes, and how much they count."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from learner_updates import CONFIG, BatchMaker, LearnerMaker
from point_world import LocalPool, demonstration, point_spec, tiny_config

from softflow.data.chunk_spec import ChunkSpec
from softflow.data.episode_store import EpisodeStore
from softflow.data.taken_over import TAKEN_OVER_KEY
from softflow.errors import ConfigError, DataError
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.training.collecting import CollectionOrder, ExperienceSource
from softflow.training.losses import imitation_loss
from softflow.training.run import Run
from softflow.training.stages import run_stages
from softflow.training.training_data import TrainingData
from softflow.training.updates.imitated_rows import imitated_rows
from softflow.utils.progress import ProgressReporter, SilentProgress

STAGE = CONFIG.offline_rl


def marked_store(path: Path, *times: list[list[int]]) -> Path:
    """An episode that failed for each, with what a person took over of it; one success last."""
    with EpisodeStore.create(path, point_spec()) as store:
        for seed, said in enumerate(times):
            failed = demonstration(seed, towards_goal=False)
            store.append(replace(failed, metadata=failed.metadata | {TAKEN_OVER_KEY: said}))
        store.append(demonstration(99, towards_goal=True))
    return path


def test_windows_know_how_many_actions_of_their_chunk_are_a_persons(tmp_path: Path) -> None:
    store = EpisodeStore.open(marked_store(tmp_path / "data", [[2, 4], [7, 8]]))
    data = ChunkDataset(store, ChunkSpec(3, 3, prefix_length=1), episodes=[0])
    batch = data.gather(np.arange(data.num_windows))
    # Windows at steps -1, 0, 1, …, 8: their chunks begin at 0, 1, 2, …, 9.
    assert batch.person_steps.tolist() == [0, 0, 3, 2, 1, 0, 0, 2, 1, 0]
    assert data.subset([0]).gather(np.arange(4)).person_steps.tolist() == [0, 0, 3, 2]
    grown = ChunkDataset(store, ChunkSpec(3, 3), episodes=[], offline=False)
    assert not grown.taken_over
    grown.add_episodes([0])
    assert grown.gather(np.arange(4)).person_steps.tolist() == [0, 0, 3, 2]


@pytest.fixture
def batch(make_batch: BatchMaker) -> ChunkBatch:
    """Six rows: of a demonstration, of failures; a person begins those of rows 1, 2 and 4."""
    return replace(
        make_batch(rows=6),
        episode_success=torch.tensor([True, True, False, False, False, True]),
        is_offline=torch.tensor([True, True, True, True, False, False]),
        has_action=torch.ones(6, dtype=torch.bool),
        person_steps=torch.tensor([0, 2, 4, 0, 1, 0]),
    )


@pytest.mark.parametrize(
    ("changes", "rows", "weight"),
    [
        ({}, [0, 1], [1, 1]),
        ({"imitates": "successes"}, [0, 1, 5], [1, 1, 1]),
        ({"imitates": "everything"}, [0, 1, 2, 3, 4, 5], [1, 1, 1, 1, 1, 1]),
        ({"take_over_weight": 3.0}, [0, 1, 2, 4], [1, 3, 3, 3]),
        (
            {"take_over_weight": 0.5, "imitates": "successes"},
            [0, 1, 2, 4, 5],
            [1, 0.5, 0.5, 0.5, 1],
        ),
        ({"take_over_weight": 0.0}, [0], [1]),
    ],
)
def test_rows_and_weights_by_hand(
    batch: ChunkBatch, changes: dict[str, object], rows: list[int], weight: list[float]
) -> None:
    found = imitated_rows(batch, replace(STAGE, **changes))  # type: ignore[arg-type]
    assert found.rows.tolist() == rows
    assert found.weight.tolist() == weight


def test_a_chunk_is_imitated_up_to_where_the_person_gives_the_robot_back(batch: ChunkBatch) -> None:
    found = imitated_rows(batch, replace(STAGE, take_over_weight=1.0))
    assert found.steps.sum(dim=1).tolist() == [4, 2, 4, 1]
    assert found.steps[1].tolist() == [True, True, False, False]
    assert bool(imitated_rows(batch, STAGE).steps.all())


def test_the_loss_by_hand() -> None:
    """A demonstration of cost 2, a person's chunk of cost 5 that counts three times."""
    loss, metrics = imitation_loss(torch.tensor([2.0, 5.0]), torch.tensor([1.0, 3.0]))
    assert loss.item() == metrics["nll"].item() == (2 + 3 * 5) / 4


def test_an_update_is_that_of_the_rows_weighted_by_hand(
    make_learner: LearnerMaker, batch: ChunkBatch
) -> None:
    stage = replace(STAGE, take_over_weight=3.0, value_coef=0.0, dropout=0.0)
    learner = make_learner(replace(CONFIG, noise_std=0.0))
    learner.set_up(stage)
    policy = learner.policy
    prefix = policy.normalize_actions(batch.prefix_actions, batch.observation)
    actions = policy.normalize_actions(batch.actions, batch.observation)
    with torch.no_grad():
        condition = policy.condition(batch.observation, prefix)
        steps = batch.step_valid.clone()
        for row, count in ((1, 2), (2, 4), (4, 1)):
            steps[row, count:] = False
        cost = policy.imitation_cost(condition, actions, steps, 0.0)
        expected = (cost[0] + 3 * (cost[1] + cost[2] + cost[4])) / 10
    metrics = learner.actor_update(batch, stage, bc_coef=1.0)
    assert metrics["nll"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_imitation_weighs_rows_likewise(make_learner: LearnerMaker, batch: ChunkBatch) -> None:
    learner = make_learner(replace(CONFIG, noise_std=0.0))
    learner.set_up(replace(CONFIG.imitation, dropout=0.0))
    policy = learner.policy
    prefix = policy.normalize_actions(batch.prefix_actions, batch.observation)
    actions = policy.normalize_actions(batch.actions, batch.observation)
    with torch.no_grad():
        condition = policy.condition(batch.observation, prefix)
        steps = batch.step_valid.clone()
        for row, count in ((1, 2), (2, 4), (4, 1)):
            steps[row, count:] = False
        cost = policy.imitation_cost(condition, actions, steps, 0.0)
        expected = (cost[0] + 3 * (cost[1] + cost[2] + cost[4]) + cost[5]) / 11
    metrics = learner.imitation_update(batch, replace(CONFIG.imitation, take_over_weight=3.0))
    assert metrics["nll"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_batch_without_anything_to_imitate_moves_nothing(
    make_learner: LearnerMaker, batch: ChunkBatch
) -> None:
    learner = make_learner(CONFIG)
    learner.set_up(CONFIG.imitation)
    learner.imitation_update(batch)  # moments go on moving weights that have no gradient
    before = [weight.clone() for weight in learner.policy.parameters()]
    failures = replace(batch, episode_success=torch.zeros(6, dtype=torch.bool))
    learner.imitation_update(failures, replace(CONFIG.imitation, take_over_weight=0.0))
    assert all(map(torch.equal, before, learner.policy.parameters()))


def test_imitation_draws_from_failed_episodes_where_a_person_took_over(tmp_path: Path) -> None:
    path = marked_store(tmp_path / "data", [[2, 4]], [])

    def imitated(**settings: Any) -> tuple[int, ...]:
        config = tiny_config()
        config = replace(config, imitation=replace(config.imitation, **settings))
        return TrainingData(path, config).imitated.episode_indices

    assert imitated() == imitated(take_over_weight=0.0) == (2,)
    assert imitated(take_over_weight=0.5) == (0, 2)
    assert imitated(imitates="everything") == (0, 1, 2)


def test_imitation_of_everything_weighs_failures_as_successes(
    make_learner: LearnerMaker, batch: ChunkBatch
) -> None:
    everything = replace(CONFIG.imitation, dropout=0.0, imitates="everything", take_over_weight=1.0)
    costs = []
    for success in (batch.episode_success, torch.ones_like(batch.episode_success)):
        learner = make_learner(replace(CONFIG, noise_std=0.0))
        learner.set_up(everything)
        costs.append(learner.imitation_update(replace(batch, episode_success=success), everything))
    assert costs[0]["nll"] == costs[1]["nll"]


def test_imitation_learns_from_take_overs_alone_where_nothing_succeeded(tmp_path: Path) -> None:
    with EpisodeStore.create(tmp_path / "data", point_spec()) as store:
        failed = demonstration(0, towards_goal=False)
        store.append(replace(failed, metadata={TAKEN_OVER_KEY: [[0, 2]]}))
    imitation = replace(tiny_config().imitation, num_updates=2, take_over_weight=1.0)
    config = tiny_config(imitation=imitation, eval_episodes=0)
    run = Run(
        tmp_path / "run", config, tmp_path / "data", None, SilentProgress(), None, ("imitation",)
    )
    try:
        run_stages(run, ["imitation"])
        assert run.position.is_past("imitation") or run.position.update_step == 2
    finally:
        run.close()


class FromRobots(ExperienceSource):
    """A source in whose episodes people may take over; nobody asks it here."""

    def collect(self, order: CollectionOrder, progress: ProgressReporter) -> None:
        raise AssertionError("no run gets that far")


@pytest.mark.parametrize("stage", ["imitation", "offline_rl", "online_rl"])
def test_a_weight_for_what_nobody_took_over_is_refused(
    stage: str, tmp_path: Path, demonstrations: Path
) -> None:
    config = tiny_config()
    config = replace(config, **{stage: replace(getattr(config, stage), take_over_weight=1.0)})

    def opened(data: Path, source: ExperienceSource | None = None) -> None:
        stages = ("imitation", "offline_rl", "online_rl")
        progress = SilentProgress()
        Run(tmp_path / "run", config, data, LocalPool(), progress, source, stages).close()  # type: ignore[arg-type]

    with pytest.raises(DataError, match=f"{stage}.take_over_weight is 1.0, and no episode"):
        opened(demonstrations)
    assert not (tmp_path / "run").exists()
    if stage != "online_rl":
        with pytest.raises(DataError, match="--take-over"):
            opened(demonstrations, FromRobots())
    else:
        opened(demonstrations, FromRobots())
        (tmp_path / "run").rename(tmp_path / "first")
    opened(marked_store(tmp_path / "marked", [[2, 4]]))


@pytest.mark.parametrize("weight", [-0.1, float("inf"), float("nan")])
def test_what_is_no_weight_is_refused(weight: float) -> None:
    for stage in (STAGE, CONFIG.imitation):
        with pytest.raises(ConfigError, match="take_over_weight is"):
            replace(stage, take_over_weight=weight)  # type: ignore[type-var]
