"""A correction of the actions: what whole episodes tell of it, and that a run applies it once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from learner_updates import CONFIG, BatchMaker, LearnerMaker
from point_world import tiny_config

from softflow.data.exploration import EXPLORATION_KEY
from softflow.errors import ConfigError
from softflow.models.action_selection import ChunkSelector, SelectionConfig
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.training import calibration
from softflow.training.calibration import correction
from softflow.training.config import StageName, TrainingConfig
from softflow.training.learner import Learner
from softflow.training.run import Run
from softflow.training.stages import run_stages

STD = 0.05
STAGES_HERE: tuple[StageName, ...] = ("imitation", "online_rl")
RunMaker = Callable[..., Run]


def test_the_correction_by_hand() -> None:
    """Four episodes, one action: returns go with the offset exactly, so the correlation is 1."""
    offsets = np.array([[-STD], [STD], [-STD], [STD]])
    found = correction(offsets, np.array([1.0, 3.0, 1.0, 3.0]), STD)
    # 1 dimension, 4 episodes: a quarter of what was found is what chance alone would show.
    assert found == pytest.approx([4 * STD * (1 - 1 / 4)])
    assert correction(offsets, np.array([3.0, 1.0, 3.0, 1.0]), STD) == pytest.approx(-found)


@given(st.floats(-5, 5), st.floats(0.1, 100))
def test_units_of_the_return_do_not_matter(shift: float, scale: float) -> None:
    rng = np.random.default_rng(0)
    offsets, returns = STD * rng.normal(size=(30, 3)), rng.normal(size=30)
    found = correction(offsets, returns + 5 * offsets[:, 0] / STD, STD)
    again = correction(offsets, shift + scale * (returns + 5 * offsets[:, 0] / STD), STD)
    assert again == pytest.approx(found, rel=1e-6)


def test_it_climbs_where_offsets_matter_and_stands_still_where_not() -> None:
    """A hand of 17 joints whose returns fall with the distance to a correction nobody knows."""
    rng = np.random.default_rng(1)
    best = 0.15 * rng.normal(size=17)
    at, far = np.zeros(17), [float(np.linalg.norm(best))]
    for _ in range(12):
        offsets = STD * rng.normal(size=(60, 17))
        distance = np.linalg.norm(at + offsets - best, axis=1)
        at = at + correction(offsets, -distance + 0.05 * rng.normal(size=60), STD)
        far.append(float(np.linalg.norm(at - best)))
    assert far[-1] < far[0] / 3
    luck = [
        np.linalg.norm(correction(STD * rng.normal(size=(60, 17)), rng.normal(size=60), STD))
        for _ in range(200)
    ]
    assert np.median(luck) < 0.6 * STD


@pytest.mark.parametrize(
    ("offsets", "returns"),
    [(STD * np.ones((5, 2)), np.zeros(5)), (np.zeros((5, 2)), np.arange(5.0))],
)
def test_nothing_to_compare_corrects_nothing(offsets: np.ndarray, returns: np.ndarray) -> None:
    assert not correction(offsets, returns, STD).any()


def exploring(rounds: int = 3) -> TrainingConfig:
    """A policy that succeeds at times; whether it does depends on the offset, too."""
    config = tiny_config(eval_episodes=0, round_eval_episodes=0, checkpoint_interval_s=1e-6)
    online = replace(
        config.online_rl,
        num_updates=2,
        num_rounds=rounds,
        episodes_per_round=6,
        exploration_std=0.3,
    )
    return replace(config, online_rl=online)


def test_a_run_that_is_stopped_corrects_as_one_that_is_not(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before and after a round's first update; each round's correction comes once."""

    def mean(offsets: np.ndarray, returns: np.ndarray, std: float) -> np.ndarray:
        return offsets.mean(axis=0)  # which never is nothing, as six episodes here may tell

    monkeypatch.setattr(calibration, "correction", mean)
    whole = make_run(exploring(), "whole")
    run_stages(whole, STAGES_HERE)
    told = [summary.metadata for summary in whole.online.store.summaries()]
    assert all(facts[EXPLORATION_KEY] == 0.3 for facts in told)
    expected = whole.learner.policy.correction.clone()
    assert bool(expected.any())

    def stopped(run: Run, after: int) -> None:
        done = 0
        original = run.learner.critic_update

        def update(*given: object) -> object:
            nonlocal done
            if done == after:
                raise KeyboardInterrupt
            done += 1
            return original(*given)  # type: ignore[arg-type]

        run.learner.critic_update = update  # type: ignore[assignment]
        with pytest.raises(KeyboardInterrupt):
            run_stages(run, STAGES_HERE)
        run.close()

    part = make_run(exploring(), "part")
    for after in (0, 1, 3):
        stopped(part, after)
        part = make_run(exploring(), "part")
    run_stages(part, STAGES_HERE)
    assert part.learner.policy.correction.equal(expected)


def test_online_rows_are_seen_without_the_correction(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    """A hand that adds c to all it does, and a learner that knows, learn as if there were no c."""
    batch = make_batch(num_online=12)
    added = torch.tensor([0.04, -0.03])
    plain, knowing = make_learner(CONFIG), make_learner(CONFIG)
    normalizer = knowing.policy.action_normalizer
    half = (normalizer.maximum - normalizer.minimum) / 2
    moved = (added.to(half) / normalizer.action_scale * half).to(batch.actions)
    knowing.policy.correction += added

    def there(actions: torch.Tensor) -> torch.Tensor:
        return actions + moved

    shifted = replace(
        batch,
        actions=there(batch.actions),
        prefix_actions=there(batch.prefix_actions),
        next_prefix_actions=there(batch.next_prefix_actions),
    )
    stage = CONFIG.online_rl

    def told(learner: Learner, rows: ChunkBatch) -> dict[str, float]:
        learner.set_up(stage)
        torch.manual_seed(0)
        metrics = learner.critic_update(rows, stage) | learner.actor_update(rows, stage, 0.1)
        return {name: float(value) for name, value in metrics.items()}

    assert told(plain, batch) == pytest.approx(told(knowing, shifted), rel=1e-3)
    offline = make_batch(num_online=0)
    assert told(plain, offline) == pytest.approx(told(knowing, offline), rel=1e-2)
    assert told(plain, batch) != pytest.approx(told(knowing, batch), rel=1e-2)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"exploration_std": 1.5}, "must lie in"),
        ({"exploration_std": 0.1, "imitates": "successes"}, "--online-rl.imitates demonstrations"),
        ({"exploration_std": 0.1, "num_updates": 0}, "--online-rl.num-updates 1"),
    ],
)
def test_exploration_that_makes_no_sense_is_refused(
    changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(CONFIG.online_rl, **changes)  # type: ignore[arg-type]


def test_small_rounds_wait_for_each_other(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two actions want four episodes: rounds of three correct every second time, of six of them."""
    counts: list[int] = []

    def counted(offsets: np.ndarray, returns: np.ndarray, std: float) -> np.ndarray:
        counts.append(len(offsets))
        return offsets.mean(axis=0)

    monkeypatch.setattr(calibration, "correction", counted)
    config = exploring(rounds=5)
    online = replace(config.online_rl, episodes_per_round=3, num_updates=1)
    run_stages(make_run(replace(config, online_rl=online)), ["online_rl"])
    assert counts == [6, 6]


def test_what_never_changed_in_the_data_is_not_tried(
    make_learner: LearnerMaker, make_batch: BatchMaker
) -> None:
    learner, batch = make_learner(CONFIG), make_batch()
    normalizer = learner.policy.action_normalizer
    normalizer.maximum[1] = normalizer.minimum[1]
    rule = SelectionConfig(1, 0.1, "likelihood", 0.1)
    offset = ChunkSelector(learner.policy, None, rule).exploring(0).offset
    assert offset is not None
    assert offset[0] != 0
    assert offset[1] == 0
    assert batch.actions.shape[-1] == 2
