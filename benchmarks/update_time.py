"""What one gradient update of each stage costs against its matrix products on their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.matrix_products import (
    ATTENTION,
    MATRIX_PRODUCT,
    OPTIMISER,
    PlainProducts,
    Product,
    record_products,
    total_flops,
)
from benchmarks.measuring import Row, Section, Spread, Timings, measure, synchronize
from benchmarks.synthetic import chunk_batch, leave_identity, model_inputs
from softflow.models.value_distribution import ValueSupport
from softflow.training.config import TrainingConfig
from softflow.training.learner import Learner

Update = Callable[[], object]


def updates(config: TrainingConfig, batch_size: int | None) -> dict[str, Update]:
    """One update of each kind, with its batch size in the name.

    Args:
        config: a preset.
        batch_size: instead of each stage's own.
    """
    learner = Learner(config, model_inputs(config.model), ValueSupport(0.0, 1.0))
    leave_identity(learner.policy)
    chunk = config.model.chunk
    imitation, warmup, rl = (
        chunk_batch(batch_size or stage.batch_size, chunk).to(learner.device)
        for stage in (config.imitation, config.critic_warmup, config.offline_rl)
    )
    return {
        f"imitation, batch {imitation.batch_size}": lambda: learner.imitation_update(imitation),
        f"critic in warm-up, batch {warmup.batch_size}": lambda: learner.critic_update(
            warmup, config.critic_warmup
        ),
        f"critic in RL, batch {rl.batch_size}": lambda: learner.critic_update(
            rl, config.offline_rl
        ),
        f"actor in RL, batch {rl.batch_size}": lambda: learner.actor_update(
            rl, config.offline_rl, config.offline_rl.bc_coef
        ),
    }


def run(
    name: str, config: TrainingConfig, aim: str, turns: int, batch_size: int | None, device: str
) -> Section:
    """For each update its time with ratios to two floors, and where the rest goes.

    The floors: the update's own matrix products, each of its own shape, and as many operations
    in large square products, the best this machine does.
    """
    rows: list[Row] = []
    for update_name, update in updates(replace(config, device=device), batch_size).items():
        update()
        products = record_products(update)
        timings, square_flops = _measure(update, PlainProducts(products, device), turns, device)
        flops = total_flops(products)
        rows += _rows(update_name, timings, flops / square_flops, flops, aim)
        rows.append(Row("  where it goes", note=shares(update, device)))
    return Section(f"One gradient update at `{name}` size", "this ÷ products", rows)


SQUARE = 1024


def _measure(update: Update, plain: PlainProducts, turns: int, device: str) -> tuple[Timings, int]:
    square = Product(1, SQUARE, SQUARE, SQUARE)
    variants = {"update": update, "own": plain, "square": PlainProducts({square: 1}, device)}
    return measure(variants, turns, device, loops={"square": 5}), square.flops


def _rows(name: str, timings: Timings, squares: float, flops: int, aim: str) -> list[Row]:
    own, square, ratio = timings.ms("own"), timings.ms("square"), timings.ratio("update", "square")
    against_square = Spread(ratio.median / squares, ratio.low / squares, ratio.high / squares)
    return [
        Row(
            name,
            timings.ms("update"),
            timings.ratio("update", "own"),
            aim,
            f"{flops / 1e9:.3g} GFLOP; its own products alone: {own.median:.3g} ms",
        ),
        Row(
            f"  against {SQUARE}² products",
            None,
            against_square,
            aim,
            f"as many FLOPs in large products: {square.median * squares:.3g} ms",
        ),
    ]


def shares(update: Update, device: str) -> str:
    """Where an update's time goes, by the profiler, in percent of the profiled time."""
    if torch.device(device).type == "cuda":
        return "not profiled on this device"
    update()
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as profiler:
        synchronize(device)
        start = time.perf_counter()
        update()
        synchronize(device)
        total_us = (time.perf_counter() - start) * 1e6
    events = profiler.key_averages()
    parts = _group([(event.key, event.self_cpu_time_total) for event in events])
    parts["Python and dispatch"] += max(0.0, total_us - sum(parts.values()))
    return ", ".join(f"{name} {100 * us / total_us:.0f} %" for name, us in parts.items())


def _group(events: Sequence[tuple[str, float]]) -> dict[str, float]:
    """Microseconds of the groups; autograd's own bookkeeping counts as dispatch."""
    names = ("products", "attention", "norms and elementwise", "optimiser", "Python and dispatch")
    parts: dict[str, float] = dict.fromkeys(names, 0.0)
    for key, us in events:
        if MATRIX_PRODUCT.match(key):
            parts["products"] += us
        elif ATTENTION.match(key):
            parts["attention"] += us
        elif OPTIMISER.match(key):
            parts["optimiser"] += us
        elif key.startswith("aten::"):
            parts["norms and elementwise"] += us
        else:
            parts["Python and dispatch"] += us
    return parts
