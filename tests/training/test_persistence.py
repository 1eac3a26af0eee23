"""A learner to the disk and back, and checkpoints that do not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from point_world import PointWorld, point_spec, tiny_config, write_demonstrations
from torch import Tensor

from softflow.data.data_spec import STATE_KEY
from softflow.errors import CheckpointError
from softflow.models.action_selection import ChunkSelector, SelectionConfig
from softflow.models.checkpoint import read_checkpoint, write_checkpoint
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.training.config import TrainingConfig
from softflow.training.learner import Learner
from softflow.training.persistence import (
    config_from_json,
    config_to_json,
    load_selector,
    read_run_facts,
    restore_learner,
)
from softflow.training.run import Run
from softflow.utils.progress import SilentProgress

LearnerMaker = Callable[..., Learner]
BatchMaker = Callable[..., ChunkBatch]
RunMaker = Callable[..., Run]
CONFIG = tiny_config()


def train_a_little(learner: Learner, batch: ChunkBatch, first: int, stop: int) -> None:
    learner.set_up(CONFIG.offline_rl)
    for update in range(first, stop):
        torch.manual_seed(update)
        learner.critic_update(batch, CONFIG.offline_rl)
        learner.actor_update(batch, CONFIG.offline_rl, 0.1)


def everything(learner: Learner) -> dict[str, Any]:
    return {
        "policy": dict(learner.policy.state_dict()),
        "critic": dict(learner.critic.state_dict()),
        "target": dict(learner.target_critic.state_dict()),
        "policy moments": learner.policy_optimizer.state_dict()["state"],
        "critic moments": learner.critic_optimizer.state_dict()["state"],
    }


def same_bits(ours: Learner, theirs: Learner) -> None:
    torch.testing.assert_close(everything(ours), everything(theirs), rtol=0, atol=0)


@pytest.mark.slow
def test_a_restored_learner_goes_on_as_if_nothing_happened(
    make_run: RunMaker, make_batch: BatchMaker
) -> None:
    batch, run = make_batch(), make_run(CONFIG)
    train_a_little(run.learner, batch, 0, 3)
    run.position.enter("offline_rl")
    run.position.update_step = 3
    path = run.save()
    run.close()
    restored = make_run(CONFIG)
    assert (restored.position.stage, restored.position.update_step) == ("offline_rl", 3)
    same_bits(restored.learner, run.learner)
    train_a_little(run.learner, batch, 3, 5)
    train_a_little(restored.learner, batch, 3, 5)
    same_bits(restored.learner, run.learner)
    fresh = make_run(replace(CONFIG, seed=9), "other")
    restore_learner(fresh.learner, read_checkpoint(path), str(path))
    train_a_little(fresh.learner, batch, 3, 5)
    same_bits(fresh.learner, run.learner)


def test_facts_of_a_checkpoint(make_run: RunMaker) -> None:
    config, spec, position = read_run_facts(make_run(CONFIG).save())
    assert config == CONFIG
    assert spec == point_spec()
    assert position.items() >= {"stage": "imitation", "update_step": 0, "seed": 0}.items()


@pytest.mark.parametrize("rule", ["value", "likelihood"])
def test_a_loaded_selector_decides_as_the_learner_would(make_run: RunMaker, rule: Any) -> None:
    run = make_run(CONFIG)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in (run.learner.policy, run.learner.critic):
            for parameter in module.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    selection = SelectionConfig(5, 0.7, rule)
    loaded, chunk = load_selector(run.save(), selection)
    assert chunk == CONFIG.model.chunk
    assert not any(p.requires_grad for p in loaded.policy.parameters())
    assert not loaded.policy.training
    run.learner.policy.eval()
    run.learner.critic.eval()
    ours = ChunkSelector(run.learner.policy, run.learner.critic, selection)
    state, _ = PointWorld().reset(seed=1)
    observation = {STATE_KEY: torch.from_numpy(np.stack([state[STATE_KEY]] * 2))[None]}
    prefix = torch.zeros(1, 1, 2)

    def decide(selector: ChunkSelector) -> Tensor:
        return selector(observation, prefix, torch.Generator().manual_seed(4))

    assert torch.equal(decide(loaded), decide(ours))
    assert decide(loaded).shape == (1, 4, 2)


# ---- checkpoints that do not fit ----------------------------------------------------------------


def rewritten(checkpoint: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The same checkpoint with another configuration, checksums and all."""
    parts = read_checkpoint(checkpoint)
    change(parts.documents["pretrained_model/config"])
    return write_checkpoint(checkpoint.parent, "rewritten", parts)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda config: config.update(entropy_coef=1.0), "entropy_coef"),
        (lambda config: config["model"]["policy"].update(depth=3), "depth"),
        (lambda config: config.pop("online_rl"), "online_rl"),
        (lambda config: config.update(discount="high"), "discount"),
        (lambda config: config.update(tau=2.0), "tau is 2.0"),
    ],
)
def test_a_configuration_of_another_version_is_refused(
    make_run: RunMaker, change: Callable[[dict[str, Any]], None], named: str
) -> None:
    checkpoint = rewritten(make_run(CONFIG).save(), change)
    with pytest.raises(CheckpointError, match=named):
        load_selector(checkpoint, SelectionConfig(1))
    with pytest.raises(CheckpointError, match=named):
        read_run_facts(checkpoint)


@pytest.mark.parametrize(
    ("part", "changes", "named"),
    [
        ("policy", {"dim": 32}, "shape"),
        ("policy", {"num_layers": 3}, "missing"),
        ("critic", {"num_critics": 1}, "unknown"),
        ("chunk", {"chunk_length": 5}, "shape"),
        ("chunk", {"history_length": 1}, "shape"),
        ("chunk", {"prefix_length": 0}, "shape|unknown"),
    ],
)
def test_a_run_of_other_dimensions_is_refused(
    make_run: RunMaker, part: str, changes: dict[str, int], named: str
) -> None:
    run = make_run(CONFIG)
    run.save()
    run.close()
    changed = replace(getattr(CONFIG.model, part), **changes)
    other = replace(CONFIG, model=replace(CONFIG.model, **{part: changed}))
    with pytest.raises(CheckpointError, match=f"other dimensions.*({named})"):
        make_run(other)


def test_a_damaged_checkpoint_is_refused_and_the_one_before_it_found(make_run: RunMaker) -> None:
    run = make_run(CONFIG)
    earlier = run.save()
    run.position.update_step = 7
    checkpoint = run.save()
    run.close()
    weights = checkpoint / "algorithm/critic.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged: algorithm/critic.safetensors.*Delete"):
        make_run(CONFIG)
    for file in sorted(checkpoint.rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    checkpoint.rmdir()
    (checkpoint.parent / "last").unlink()
    again = make_run(CONFIG)
    assert again.position.update_step == 0
    assert earlier.exists()


def test_configurations_survive_json() -> None:
    value = json.loads(json.dumps(config_to_json(CONFIG)))
    assert config_from_json(TrainingConfig, value, "here") == CONFIG


def test_a_second_learner_on_a_run_is_refused(make_run: RunMaker, tmp_path: Path) -> None:
    make_run(CONFIG)
    with pytest.raises(Exception, match="already has a writer"):
        make_run(CONFIG)
    dataset = write_demonstrations(tmp_path / "demos", [True])
    Run(tmp_path / "elsewhere", CONFIG, dataset, None, SilentProgress()).close()
