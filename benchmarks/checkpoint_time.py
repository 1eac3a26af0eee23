"""How long training stands still for a checkpoint: written by itself, and beside it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measuring import Row, Section, Timings, synchronize
from benchmarks.synthetic import chunk_batch, model_inputs, state_spec
from softflow.models.checkpoint import write_checkpoint
from softflow.models.checkpoint_writer import CheckpointWriter
from softflow.models.value_distribution import ValueSupport
from softflow.training.config import TrainingConfig
from softflow.training.learner import Learner
from softflow.training.persistence import learner_parts

TICK_S = 0.001
WAITS, COPIES, PAUSE = "training waits for the disk", "training waits for a copy", "pause"


def run(name: str, config: TrainingConfig, turns: int, device: str) -> Section:
    """Rows for both ways, and the longest pause of Python while the thread writes."""
    learner = _trained(replace(config, device=device))
    times: dict[str, list[float]] = {WAITS: [], COPIES: [], PAUSE: []}
    with tempfile.TemporaryDirectory() as folder:
        writer = CheckpointWriter()
        write = partial(write_checkpoint, Path(folder), "0")
        position = {"stage": "critic_warmup", "update_step": 1}
        parts = partial(learner_parts, learner, state_spec(), position)
        first_ms = 1e3 * _seconds(lambda: writer.start(parts(), write), device)
        writer.wait()
        for _ in range(turns):
            times[WAITS].append(_seconds(lambda: write(parts()), device))
            times[COPIES].append(_seconds(lambda: writer.start(parts(), write), device))
            times[PAUSE].append(_longest_pause(writer))
            writer.wait()
        writer.close()
        sizes = [path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()]
    timings = Timings({key: np.array(values) * 1e3 for key, values in times.items()})
    first = f"the first of a run, into fresh memory: {first_ms:,.0f} ms"
    megabytes = f"{sum(sizes) / 1e6:,.0f} MB"
    rows = [
        Row(WAITS, timings.ms(WAITS), note=f"{megabytes}: checksums, fsync and rename"),
        Row(COPIES, timings.ms(COPIES), timings.ratio(COPIES, WAITS), "≤ 0.1", first),
        Row("longest pause meanwhile", timings.ms(PAUSE), note="of a thread that runs Python"),
    ]
    return Section(f"One checkpoint at `{name}` size", "this ÷ waiting", rows)


def _trained(config: TrainingConfig) -> Learner:
    """A learner whose optimisers have their moments."""
    learner = Learner(config, model_inputs(config.model), ValueSupport(0.0, 1.0))
    batch = chunk_batch(2, config.model.chunk)
    learner.imitation_update(batch)
    learner.critic_update(batch, config.critic_warmup)
    return learner


def _seconds(action: Callable[[], object], device: str) -> float:
    synchronize(device)
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def _longest_pause(writer: CheckpointWriter) -> float:
    """Seconds beyond a tick that this thread had to wait while the other one wrote."""
    longest, before = 0.0, time.perf_counter()
    while writer.busy:
        time.sleep(TICK_S)
        now = time.perf_counter()
        longest, before = max(longest, now - before - TICK_S), now
    return longest
