"""What a GPU does with this package, in under 4 minutes: `python -m benchmarks.gpu_check`.

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
from benchmarks.synthetic import chunk_batch, model_inputs
from benchmarks.update_time import updates
from softflow.models.value_distribution import ValueSupport
from softflow.presets import preset
from softflow.training.config import TrainingConfig
from softflow.training.hardware.devices import usable_device
from softflow.training.learner import Learner

TURNS = 10
BATCH = 64


def milliseconds(action: Callable[[], object]) -> float:
    """Median of a few turns, after two to warm up."""
    times = []
    for turn in range(TURNS + 2):
        torch.cuda.synchronize()
        start_s = time.perf_counter()
        action()
        torch.cuda.synchronize()
        if turn >= 2:
            times.append(1e3 * (time.perf_counter() - start_s))
    return statistics.median(times)


def waits(update: Callable[[], object]) -> list[str]:
    """What of an update waits for the GPU, as PyTorch's own watch tells."""
    update()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            update()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return [f"{w.filename}:{w.lineno}" for w in found if "synchroniz" in str(w.message)]


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


def robot_from_state() -> TrainingConfig:
    """The paper's sizes on the robot, but from states: no data are needed."""
    robot, encoder = preset("scissors"), preset("robomimic-state").model.encoder
    return replace(robot, model=replace(robot.model, encoder=encoder))


def main() -> int:
    """Print all of it; the exit status is 1 where an update waits, 2 where there is no GPU."""
    if not torch.cuda.is_available():
        print("no GPU that PyTorch can use: nothing to check")
        return 2
    device = str(usable_device("auto"))
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}")
    config, waiting = replace(robot_from_state(), device=device), False
    for precision in ("float32", "bf16"):
        for name, update in updates(replace(config, precision=precision), BATCH).items():
            found = waits(update)
            waiting |= bool(found)
            print(f"{precision}: {name}: {milliseconds(update):.1f} ms, waits {len(found)} times")
            for place in sorted(set(found)):
                print(f"    {place}")
        print(f"{precision}: peak memory {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")
        torch.cuda.reset_peak_memory_stats()
    exact, mixed = imitation_losses(config)
    print(f"imitation loss: float32 {exact:.4f}, bf16 {mixed:.4f} ({mixed - exact:+.4f} nats)")
    for candidates in (24, 64, 128):
        networks = Networks(DecisionSize(config.model, num_candidates=candidates), device)
        print(f"decision among {candidates}: {milliseconds(networks.decide):.1f} ms")
    return int(waiting)


if __name__ == "__main__":
    sys.exit(main())
