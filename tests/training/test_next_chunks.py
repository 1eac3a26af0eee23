"""Chunks drawn ahead are the policy's own, the same in every process, and none too many."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from point_world import tiny_config

from softflow.sampling.chunk_sampler import ChunkSampler
from softflow.training.learner import Learner
from softflow.training.run import Run
from softflow.training.updates.next_chunks import CHUNKS_A_WINDOW, NextChunks
from softflow.utils.progress import SilentProgress

RunMaker = Callable[..., Run]


def drawn(run: Run, num_draws: int = 10**6, seed: int = 0) -> NextChunks:
    policy, std = run.learner.policy, run.config.sampling_std
    return NextChunks(policy, run.data.offline, num_draws, std, seed, SilentProgress())


def test_they_are_drawn_from_the_policy(make_run: RunMaker) -> None:
    """All chunks of a window, against as many of the policy itself: same mean and spread."""
    run = make_run(tiny_config())
    windows = torch.full((4000,), 5)
    chunks = drawn(run).of(windows)
    assert chunks is not None
    assert len(torch.unique(chunks, dim=0)) == CHUNKS_A_WINDOW
    everywhere = drawn(run).of(torch.arange(run.data.offline.num_windows).repeat(20))
    policy, batch = run.learner.policy, run.data.offline.gather(torch.arange(60).numpy())
    prefix = policy.normalize_actions(batch.next_prefix_actions, batch.next_observation)
    condition = policy.condition(batch.next_observation, prefix)
    own = policy.sample(200, run.config.sampling_std, condition, 60)
    assert everywhere is not None
    assert everywhere.mean().item() == pytest.approx(own.mean().item(), abs=0.03)
    assert everywhere.std().item() == pytest.approx(own.std().item(), rel=0.05)


def test_the_same_policy_and_seed_give_the_same(make_run: RunMaker) -> None:
    run = make_run(tiny_config())
    windows = torch.arange(50)
    found = []
    for seed in (0, 0, 1):
        torch.manual_seed(7)
        found.append(drawn(run, seed=seed).of(windows))
        torch.rand(3)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_none_are_drawn_that_nobody_will_ask_for(make_run: RunMaker) -> None:
    run = make_run(tiny_config())
    windows = run.data.offline.num_windows
    assert [drawn(run, n * windows).num for n in (1, 2, 5, 100)] == [0, 1, 2, CHUNKS_A_WINDOW]
    assert drawn(run, windows).of(torch.arange(3)) is None


def test_best_of_many_cannot_be_drawn_ahead(make_run: RunMaker) -> None:
    run = make_run(tiny_config())
    stage = run.config.critic_warmup
    assert run.next_chunks(run.data.offline, stage) is not None
    assert run.next_chunks(run.data.offline, replace(stage, target_candidates=2)) is None


def test_an_update_takes_them(make_run: RunMaker, demonstrations: Path) -> None:
    """The target is the value of the chunk drawn ahead, to the bit."""
    run = make_run(tiny_config())
    learner: Learner = run.learner
    batch = ChunkSampler(run.data.offline, 8, 0, "test").batch(0)
    ahead = drawn(run)
    torch.manual_seed(3)
    value = learner._next_value(batch, 1, ahead)
    torch.manual_seed(3)
    chunks = ahead.of(batch.window)
    assert chunks is not None
    prefix = learner.policy.normalize_actions(batch.next_prefix_actions, batch.next_observation)
    tokens = learner.target_critic.encoder(batch.next_observation, prefix)
    assert torch.equal(value, learner.target_critic.value(tokens, chunks[:, None])[:, 0])
