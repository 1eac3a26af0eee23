"""The numbers a success rate does not show, each against a second computation."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from learner_updates import flow_of
from point_world import demonstration, point_spec, tiny_config

from softflow.data.episode_store import EpisodeStore
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.training.diagnostics import diagnose, measure
from softflow.training.run import Run
from softflow.training.stages import run_stages

RunMaker = Callable[..., Run]
BatchMaker = Callable[..., ChunkBatch]


def test_q_values_meet_the_returns_that_followed(
    make_run: RunMaker, make_batch: BatchMaker
) -> None:
    """One pair per decision: every E = 3 steps; a success k steps ahead is worth 0.997^k.

    Nothing is said of episodes that the time limit cut off.
    """
    run = make_run(tiny_config())
    run.position.enter("critic_warmup")
    run.learner.critic_update(make_batch(), run.config.critic_warmup)  # else it decides nothing
    run.evaluate("critic_warmup", "critic_warmup", 40)
    result = measure(run, "critic_warmup")
    store = EpisodeStore.open(run.folder / "evaluations/critic_warmup")
    expected = []
    assert {summary.success for summary in store.summaries()} == {True, False}
    for summary in store.summaries():
        for step in range(0, summary.length * summary.success, 3):
            expected.append(0.997 ** (summary.length - 1 - step))
    assert result["realised_returns"] == pytest.approx(expected)
    assert len(result["q_values"]) == len(expected)
    support = run.learner.critic.output.support
    assert all(support.low <= value <= support.high for value in result["q_values"])


def test_bits_per_dimension_of_a_known_density(make_run: RunMaker) -> None:
    """A fresh flow is tanh of a standard normal: its density can be written down."""
    config = tiny_config(noise_std=0.0)
    run = make_run(config)
    held_out = run.data.held_out
    batch = held_out.gather(np.arange(held_out.num_windows))
    whole = batch.actions[batch.step_valid.all(dim=1)].double()
    data = run.data.inputs.statistics.action
    low, high = torch.from_numpy(data.minimum), torch.from_numpy(data.maximum)
    normalised = 0.9 * (2 * (whole - low) / (high - low) - 1)
    latents = torch.atanh(normalised)
    log_prob = -0.5 * latents**2 - 0.5 * math.log(2 * math.pi) - torch.log(1 - normalised**2)
    bits = -log_prob.sum(dim=(1, 2)).mean().item() / math.log(2) / (4 * 2)
    result = measure(run, "imitation")
    assert result["held_out_bits_per_dim"] == pytest.approx(bits, rel=1e-4)
    assert 0 <= result["invertibility_error"] < 1e-4
    assert result["candidate_diversity"] > 0.1


def test_what_was_measured_is_kept(make_run: RunMaker) -> None:
    run = make_run(tiny_config(eval_episodes=0))
    diagnose(run, "imitation")
    file = run.folder / "diagnostics/imitation.json"
    first = file.read_text()
    with torch.no_grad():
        next(flow_of(run.learner).parameters()).add_(1.0)
    diagnose(run, "imitation")
    assert file.read_text() == first
    assert not (run.folder / "videos").exists(), "without episodes there is no video"


@pytest.mark.slow
def test_demonstrations_shorter_than_a_chunk_are_enough(make_run: RunMaker, tmp_path: Path) -> None:
    """Nothing can be said of whole chunks then, but training must not stop for it."""
    with EpisodeStore.create(tmp_path / "short", point_spec()) as store:
        for seed in range(3):
            whole = demonstration(seed, towards_goal=True)
            last_three = {key: value[-4:] for key, value in whole.observations.items()}
            store.append(
                replace(
                    whole,
                    observations=last_three,
                    actions=whole.actions[-3:],
                    rewards=whole.rewards[-3:],
                )
            )
    run = make_run(tiny_config(eval_episodes=0), dataset=tmp_path / "short")
    run_stages(run, ["imitation"])
    facts = json.loads((run.folder / "diagnostics/imitation.json").read_text())
    assert all(value is None or math.isfinite(value) for value in facts.values())
