"""What an update and a decision on states cost, beside those of the measuring sticks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from benchmarks.measuring import Row, Section, loops_for, measure
from benchmarks.peers.method import MethodConfig, Sizes
from benchmarks.peers.replay import Batch
from benchmarks.peers.sticks.qc import QcConfig
from benchmarks.peers.sticks.qc_fql import QcFqlConfig
from benchmarks.synthetic import (
    ACTION_DIM,
    STATE_DIM,
    chunk_batch,
    leave_identity,
    model_inputs,
)
from softflow.models.action_selection import ChunkSelector, SelectionConfig
from softflow.models.value_distribution import ValueSupport
from softflow.training.config import TrainingConfig
from softflow.training.learner import Learner

Variants = dict[str, Callable[[], Any]]

PEER = "QC-FQL"
UPDATE, DECISION = "critic and actor", "decision"
AIM = "≤ 2"


def of_softflow(config: TrainingConfig) -> Variants:
    """The updates of RL and a decision; no row is cut short, all are imitated."""
    learner = Learner(config, model_inputs(config.model), ValueSupport(0.0, 1.0))
    leave_identity(learner.policy)
    stage = config.offline_rl
    batch = chunk_batch(stage.batch_size, config.model.chunk)
    rule = SelectionConfig(config.execution_candidates, config.sampling_std)
    select = ChunkSelector(learner.policy, learner.critic, rule)
    seen = {key: values[:1] for key, values in batch.observation.items()}

    def critic() -> None:
        learner.critic_update(batch, stage)

    def actor() -> None:
        learner.actor_update(batch, stage, stage.bc_coef)
        learner.editor_update(batch)

    def both() -> None:
        critic()
        actor()

    def decision() -> None:
        learner.policy.eval()
        learner.critic.eval()
        select(seen, batch.prefix_actions[:1])

    return {"critic": critic, "actor": actor, UPDATE: both, DECISION: decision}


def of_stick(config: MethodConfig) -> Variants:
    """An update of all its networks, and a decision."""
    method = config.make(Sizes(STATE_DIM, ACTION_DIM, config.chunk_length))
    rows, observations = config.batch_size, torch.randn(config.batch_size, STATE_DIM)
    batch = Batch(
        observations=observations,
        next_observations=observations,
        chunks=torch.rand(rows, config.chunk_length, ACTION_DIM) * 2 - 1,
        valid=torch.ones(rows, config.chunk_length),
        rewards=torch.zeros(rows),
        discounts=torch.ones(rows),
        success=torch.ones(rows),
    )
    generator = torch.Generator().manual_seed(0)
    return {
        UPDATE: lambda: method.update(batch),
        DECISION: lambda: method.act(observations[:1], generator, explore=False),
    }


def methods(
    presets: Mapping[str, TrainingConfig], hidden: tuple[int, ...]
) -> dict[str, tuple[str, Variants]]:
    """Name -> what a reader should know, and what is timed; candidates are those of the presets.

    Args:
        presets: of which chunks, batches and the number of candidates are the same.
        hidden: widths of the sticks' hidden layers.
    """
    first = next(iter(presets.values()))
    same = {
        "chunk_length": first.model.chunk.chunk_length,
        "batch_size": first.offline_rl.batch_size,
        "hidden": hidden,
    }
    num = first.execution_candidates
    result: dict[str, tuple[str, Variants]] = {}
    for name, config in presets.items():
        stage = replace(config.offline_rl, batch_size=same["batch_size"])
        note = f"a' the best of {stage.target_candidates}, the actor's of {stage.actor_candidates}"
        result[f"`{name}`"] = note, of_softflow(replace(config, offline_rl=stage))
    qc = QcConfig(**same, num_candidates=num)  # type: ignore[arg-type]
    result["QC"] = f"a' the best of {qc.target_candidates}", of_stick(qc)
    fql = QcFqlConfig(**same)  # type: ignore[arg-type]
    result[PEER] = "one chunk a decision", of_stick(fql)
    return result


def run(
    presets: Mapping[str, TrainingConfig], turns: int, hidden: tuple[int, ...] = (256,) * 3
) -> Section:
    """Every part of every method, in turn, on one thread as in a run of several seeds."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _run(presets, turns, hidden)
    finally:
        torch.set_num_threads(threads)


def _run(presets: Mapping[str, TrainingConfig], turns: int, hidden: tuple[int, ...]) -> Section:
    measured = methods(presets, hidden)
    variants = {
        f"{name}: {part}": function
        for name, (_, parts) in measured.items()
        for part, function in parts.items()
    }
    loops = {key: loops_for(function) for key, function in variants.items()}
    timings = measure(variants, turns, loops=loops)
    rows: list[Row] = []
    for name, (note, parts) in measured.items():
        for part in parts:
            key, peer = f"{name}: {part}", f"{PEER}: {part}"
            ratio = timings.ratio(key, peer) if peer in variants and key != peer else None
            aim = AIM if ratio and name.startswith("`") else ""
            rows.append(Row(key, timings.ms(key), ratio, aim, note if part == UPDATE else ""))
    config = next(iter(presets.values()))
    num, batch = config.execution_candidates, config.offline_rl.batch_size
    title = f"An update, batch {batch}, and a decision, N = {num}, beside other methods: one thread"
    return Section(title, f"this ÷ {PEER}", rows)
