"""A policy, a critic and an encoder of one's own train by their names alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from colour_encoder import CAMERA, ColourConfig
from gaussian_policy import GaussianConfig, GaussianPolicy
from point_world import demonstration, point_spec, tiny_config
from pooled_critic import PooledConfig, PooledCritic
from training_processes import train

from softflow.data.data_spec import STATE_KEY
from softflow.data.episode_store import EpisodeStore
from softflow.models.action_selection import SelectionConfig
from softflow.training.config import TrainingConfig
from softflow.training.persistence import load_selector, read_run_facts
from softflow.training.run import Run
from softflow.training.stages import run_stages
from softflow.utils.metrics import read_metrics
from softflow.utils.progress import SilentProgress

RunMaker = Callable[..., Run]


def of_my_own() -> TrainingConfig:
    config = tiny_config()
    model = replace(config.model, policy=GaussianConfig(), critic=PooledConfig())
    return replace(config, model=model)


@pytest.mark.slow
def test_all_four_stages_with_another_policy_and_critic(make_run: RunMaker) -> None:
    run = make_run(of_my_own())
    run_stages(run)
    assert isinstance(run.learner.policy, GaussianPolicy)
    assert isinstance(run.learner.critic.members[0], PooledCritic)
    series = {(s.stage, s.name): s for s in read_metrics(run.folder)}
    cost = series["imitation", "gaussian_nll"].value
    assert cost[-1] < cost[0] - 1, "it learns"
    assert ("online_rl", "q_actor") in series
    diagnostics = json.loads((run.folder / "diagnostics/imitation.json").read_text())
    assert "candidate_diversity" in diagnostics
    assert "data_log_prob" not in diagnostics, "it does not claim a likelihood"
    selector, _ = load_selector(run.folder / "checkpoints/last", SelectionConfig(2))
    assert isinstance(selector.policy, GaussianPolicy)


@pytest.mark.slow
def test_the_command_trains_and_its_workers_act(demonstrations: Path, tmp_path: Path) -> None:
    """The kind is all that the worker processes are told."""
    kinds = ("--policy", "gaussian_policy:GaussianPolicy", "--critic=pooled_critic:PooledCritic")
    numbers = ("--model.policy.width", "8", "--stages", "imitation", "critic_warmup")
    small = ("--imitation.num-updates", "3", "--critic-warmup.num-updates", "2")
    size = ("--model.encoder.token-dim", "16", "--eval-episodes", "2")
    status, said = train(
        demonstrations, tmp_path / "run", *kinds, *numbers, *small, *size, preset_only=True
    )
    assert status == 0, said
    config, _, _ = read_run_facts(tmp_path / "run/checkpoints/last")
    assert config.model.policy == GaussianConfig(width=8)
    assert (tmp_path / "run/evaluations/critic_warmup.json").exists()


@pytest.mark.slow
def test_an_encoder_that_looks_through_a_camera_gets_its_frames(tmp_path: Path) -> None:
    """Batches hold what the encoder reads, and nothing is said of blindness."""
    spec = replace(point_spec(), observation_shapes={STATE_KEY: (4,), CAMERA: (8, 8, 3)})
    with EpisodeStore.create(tmp_path / "filmed", spec) as store:
        for seed in range(3):
            episode = demonstration(seed, towards_goal=True)
            shape = (episode.length + 1, 8, 8, 3)
            frames = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
            store.append(replace(episode, observations=episode.observations | {CAMERA: frames}))
    config = tiny_config(eval_episodes=0)
    model = replace(config.model, encoder=ColourConfig(token_dim=16))
    stages = replace(config, model=model)
    said: list[str] = []

    class Listening(SilentProgress):
        def say(self, line: str) -> None:
            said.append(line)

    run = Run(tmp_path / "run", stages, tmp_path / "filmed", None, Listening())
    batch = run.data.demonstrations.gather(np.arange(3))
    assert batch.observation[CAMERA].shape == (3, 2, 8, 8, 3)
    run_stages(run, ["imitation", "critic_warmup"])
    run.close()
    assert not any("blind" in line for line in said)
    nll = next(s for s in read_metrics(run.folder) if s.name == "nll")
    assert nll.value[-1] < nll.value[0]
