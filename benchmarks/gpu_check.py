"""What a GPU does with this package: `python -m benchmarks.gpu_check`.

Update time and decision latency at the paper's size, the gap of bfloat16 to float32, and how often
an update waits for the GPU (0 is right). It needs a GPU, and no data.
"""

from __future__ import annotations

import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace

import torch

from benchmarks.action_selection import DecisionSize, Networks
from benchmarks.measuring import synchronize
from benchmarks.synthetic import chunk_batch, model_inputs
from benchmarks.update_time import updates
from softflow.models.value_distribution import ValueSupport
from softflow.presets import preset
from softflow.training.config import TrainingConfig
from softflow.training.hardware.devices import usable_device
from softflow.training.learner import Learner

TURNS = 10
BATCH = 64
CANDIDATES = (24, 64, 128)


def milliseconds(action: Callable[[], object], device: str) -> float:
    """Median of a few turns, after two to warm up."""
    times = []
    for turn in range(TURNS + 2):
        synchronize(device)
        start_s = time.perf_counter()
        action()
        synchronize(device)
        if turn >= 2:
            times.append(1e3 * (time.perf_counter() - start_s))
    return statistics.median(times)


def waits(update: Callable[[], object], device: str) -> list[str]:
    """Lines of an update that wait for the GPU, as PyTorch's own watch tells; none on a CPU."""
    if torch.device(device).type != "cuda":
        return []
    update()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            update()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return [f"{w.filename}:{w.lineno}" for w in found if "synchroniz" in str(w.message)]


def check_updates(config: TrainingConfig) -> int:
    """Print the time of every update; how often they wait in all."""
    total = 0
    for name, update in updates(config, BATCH).items():
        found = waits(update, config.device)
        total += len(found)
        took_ms = milliseconds(update, config.device)
        print(f"{config.precision}: {name}: {took_ms:.1f} ms, waits {len(found)} times")
        for place in sorted(set(found)):
            print(f"    {place}")
    return total


def imitation_losses(config: TrainingConfig) -> tuple[float, float]:
    """The negative log-likelihood of the same batch in float32 and in bfloat16."""
    losses = []
    for precision in ("float32", "bf16"):
        inputs = model_inputs(config.model)
        learner = Learner(replace(config, precision=precision), inputs, ValueSupport(0.0, 1.0))
        torch.manual_seed(0)
        batch = chunk_batch(BATCH, config.model.chunk).to(learner.device)
        losses.append(float(learner.imitation_update(batch)["nll"]))
    return losses[0], losses[1]


def check(config: TrainingConfig) -> int:
    """Print everything about the configured device; how often updates wait for it."""
    total = 0
    for precision in ("float32", "bf16"):
        total += check_updates(replace(config, precision=precision))
        if torch.device(config.device).type == "cuda":
            print(f"{precision}: peak memory {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")
            torch.cuda.reset_peak_memory_stats()
    exact, mixed = imitation_losses(config)
    print(f"imitation loss: float32 {exact:.4f}, bf16 {mixed:.4f} ({mixed - exact:+.4f} nats)")
    for candidates in CANDIDATES:
        size = DecisionSize(config.model, num_candidates=candidates)
        took_ms = milliseconds(Networks(size, config.device).decide, config.device)
        print(f"decision among {candidates}: {took_ms:.1f} ms")
    return total


def robot_from_state(device: str) -> TrainingConfig:
    """The paper's sizes on the robot, but from states: no data are needed."""
    robot, encoder = preset("scissors"), preset("robomimic-state").model.encoder
    return replace(robot, model=replace(robot.model, encoder=encoder), device=device)


def main() -> int:
    """Check the GPU; the exit status is 1 where an update waits, 2 where there is no GPU."""
    if not torch.cuda.is_available():
        print("no GPU that PyTorch can use: nothing to check")
        return 2
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    return int(check(robot_from_state(str(usable_device("auto")))) > 0)


if __name__ == "__main__":
    sys.exit(main())
