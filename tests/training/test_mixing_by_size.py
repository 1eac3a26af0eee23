"""The online stage with batches mixed by size: what its rows are, and that it resumes exactly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from point_world import tiny_config

from softflow.sampling.chunk_dataset import ChunkDataset
from softflow.sampling.mixing import BySize
from softflow.training.config import TrainingConfig
from softflow.training.learner import Learner
from softflow.training.run import Run
from softflow.training.stages import online_rl

RunMaker = Callable[..., Run]


def by_size(**changes: Any) -> TrainingConfig:
    """Three rounds of four updates, nothing measured."""
    config = tiny_config(eval_episodes=0, round_eval_episodes=0)
    online = replace(
        config.online_rl, mixing="by_size", num_updates=4, num_rounds=3, episodes_per_round=2
    )
    return replace(config, online_rl=replace(online, **changes))


def followed(
    monkeypatch: pytest.MonkeyPatch, interrupted_at: tuple[int, ...] = ()
) -> list[tuple[int, int]]:
    """(offline rows, online rows) of every actor update; Ctrl-C at the updates of these numbers."""
    rows: list[tuple[int, int]] = []
    original, waiting = Learner.actor_update, list(interrupted_at)

    def update(learner: Learner, batch: Any, *rest: Any) -> Any:
        if waiting and len(rows) == waiting[0]:
            waiting.pop(0)
            raise KeyboardInterrupt
        offline = int(batch.is_offline.sum())
        rows.append((offline, batch.batch_size - offline))
        return original(learner, batch, *rest)

    monkeypatch.setattr(Learner, "actor_update", update)
    return rows


@pytest.mark.slow
def test_rows_follow_the_sizes_from_round_to_round(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = followed(monkeypatch)
    run = make_run(by_size(batch_size=200))
    online_rl(run)
    assert len(rows) == 12
    for number, episodes in enumerate((2, 4, 6)):
        online = ChunkDataset(run.online.store, run.config.model.chunk, episodes=range(episodes))
        share = BySize(0.5).share(run.data.offline.num_windows, online.num_windows)
        seen = rows[4 * number : 4 * number + 4]
        offline, total = sum(row[0] for row in seen), 4 * 200
        assert abs(offline - total * share) <= 5 * (total * share * (1 - share)) ** 0.5
        assert 0.3 < share < 1, "a share that says something"


@pytest.mark.slow
def test_interrupted_in_every_round_it_ends_the_same(
    make_run: RunMaker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        rows = followed(patch)
        whole = make_run(by_size(), "whole")
        online_rl(whole)
    with monkeypatch.context() as patch:
        seen = followed(patch, (1, 6, 11))
        for _ in range(3):
            run = make_run(by_size(), "stopped")
            run.config = replace(run.config, checkpoint_interval_s=0.0)
            with pytest.raises(KeyboardInterrupt):
                online_rl(run)
            run.close()
        last = make_run(by_size(), "stopped")
        online_rl(last)
    assert len({offline for offline, _ in rows}) > 1
    assert len(seen) >= 12
    for name, weight in whole.learner.policy.state_dict().items():
        assert torch.equal(last.learner.policy.state_dict()[name], weight), name
    for name, weight in whole.learner.critic.state_dict().items():
        assert torch.equal(last.learner.critic.state_dict()[name], weight), name
