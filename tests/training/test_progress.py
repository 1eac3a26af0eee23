"""Which rule a policy is deployed with: by critic once that has learned, never before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from point_world import tiny_config

from softflow.errors import ConfigError
from softflow.models.checkpoint import read_checkpoint, write_checkpoint
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.training.files.progress import Progress, read_progress
from softflow.training.persistence import PROGRESS
from softflow.training.run import Run

V0_1 = Path(__file__).parent / "fixtures/v0_1/run/checkpoints/last"


def test_the_rule_follows_the_critic_not_the_stage(
    make_run: Callable[..., Run], make_batch: Callable[..., ChunkBatch]
) -> None:
    """Who leaves the warm-up out must not collect by a critic of random weights."""
    run = make_run()
    run.position.enter("online_rl")
    assert run.selection("online_rl").rule == "likelihood"
    progress = read_progress(run.save())
    assert progress == Progress("online_rl", 0, critic_is_trained=False)
    with pytest.raises(ConfigError, match=r"the policy is of online_rl, update 0: its critic"):
        progress.require_critic("the policy")
    torch.manual_seed(0)
    run.learner.set_up(tiny_config().critic_warmup)
    run.learner.critic_update(make_batch(), tiny_config().critic_warmup)
    assert run.selection("online_rl").rule == "value"
    run.position.update_step = 1
    trained = run.save()
    assert read_progress(trained) == Progress("online_rl", 1, critic_is_trained=True)
    run.close()
    assert make_run().selection("online_rl").rule == "value", "also after it was restored"


def test_older_checkpoints_are_known_by_their_optimiser(
    make_run: Callable[..., Run], tmp_path: Path
) -> None:
    assert read_progress(V0_1) == Progress("offline_rl", 25, critic_is_trained=True)
    parts = read_checkpoint(make_run().save())
    del parts.documents[PROGRESS]
    fresh = write_checkpoint(tmp_path / "older", "0", parts)
    assert read_progress(fresh) == Progress("imitation", 0, critic_is_trained=False)
