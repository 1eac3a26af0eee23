"""Shapes are checked in tests, at every call, and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from jaxtyping import TypeCheckError

from softflow.models.normalizers import ActionNormalizer
from softflow.models.policy import take_candidate
from softflow.models.value_distribution import HLGauss, ValueSupport
from softflow.sampling.chunk_batch import ChunkBatch
from softflow.training.losses import imitation_loss
from softflow.training.returns import td_target


def batch() -> ChunkBatch:
    """Two rows, P = 1, H = 3, A = 2, E = 3."""
    state = {"observation.state": torch.zeros(2, 1, 4)}
    rows = torch.zeros(2, dtype=torch.bool)
    return ChunkBatch(
        observation=state,
        prefix_actions=torch.zeros(2, 1, 2),
        actions=torch.zeros(2, 3, 2),
        step_valid=torch.ones(2, 3, dtype=torch.bool),
        rewards=torch.zeros(2, 3),
        num_steps=torch.full((2,), 3),
        next_observation=state,
        next_prefix_actions=torch.zeros(2, 1, 2),
        bootstrap_mask=torch.ones(2),
        is_offline=rows,
        episode_success=rows,
        has_action=~rows,
        person_steps=torch.zeros(2, dtype=torch.int64),
        window=torch.arange(2),
    )


def test_a_batch_of_other_shapes_is_refused() -> None:
    good = batch()
    assert good.batch_size == 2
    for name, wrong in (
        ("actions", torch.zeros(2, 3, 5)),
        ("rewards", torch.zeros(3, 3)),
        ("step_valid", torch.ones(2, 3)),
        ("num_steps", torch.ones(2)),
    ):
        with pytest.raises(TypeCheckError, match=name):
            replace(good, **{name: wrong})


def test_functions_of_models_and_training_are_held_to_their_letters() -> None:
    with pytest.raises(TypeCheckError, match="weight"):
        imitation_loss(torch.zeros(3), torch.ones(4))
    with pytest.raises(TypeCheckError, match="next_value"):
        td_target(torch.zeros(2, 3), torch.ones(2).long(), torch.ones(2), torch.zeros(2, 1), 0.9)
    with pytest.raises(TypeCheckError, match="index"):
        take_candidate(torch.zeros(2, 3), torch.zeros(3).long())
    with pytest.raises(TypeCheckError, match="values"):
        HLGauss(ValueSupport(0.0, 1.0)).probabilities(torch.ones(2, dtype=torch.int64))


def test_other_types_too() -> None:
    with pytest.raises(TypeCheckError, match="statistics"):
        ActionNormalizer({"mean": 0.0})  # type: ignore[arg-type]


@pytest.mark.slow
def test_outside_tests_nothing_is_checked() -> None:
    script = (
        "import sys, torch\n"
        "from softflow.training.losses import imitation_loss\n"
        "assert 'beartype' not in sys.modules\n"
        "print(imitation_loss(torch.zeros(3), torch.ones(1))[0].item())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.strip() == "0.0", done.stderr
