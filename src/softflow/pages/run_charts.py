"""The charts of the report, drawn from a run's record; a stage has one colour throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from softflow.data.measures import METRIC_PREFIX
from softflow.pages.evaluations.stages import STAGES
from softflow.pages.held_out.record import PREFIX as HELD_OUT
from softflow.pages.run_record import Diagnostics, RunRecord
from softflow.pages.svg import (
    Binned,
    Chart,
    Frame,
    Scale,
    binned,
    compact,
    scale_of,
    scale_of_bands,
)
from softflow.utils.metrics import MetricSeries

_CALIBRATION_BINS = 5
_THIN_SPACE = "\u202f"  # never broken at the end of a line

METRIC_NOTES: dict[str, tuple[str, str]] = {
    "nll": ("Negative log-likelihood", "of the data's chunks, nats; lower is better"),
    "q_actor": ("Q of the policy", "value of the policy's own chunks; higher is better"),
    "critic_loss": ("Critic loss", "cross-entropy to the target; lower is better"),
    "q_data": ("Q of the data", "value of the chunks that were executed"),
    "q_target": ("Q target", "what the critic is trained towards"),
    "td_error": ("TD error", "mean distance of Q from its target; lower is better"),
    "actor_loss": ("Actor loss", "−Q + λ · NLL; lower is better"),
    "correction": (
        "Correction",
        "how far a round corrected all actions, normalised; 0: nothing beyond chance",
    ),
    "explored_return": ("Return while exploring", "mean of what a correction is computed from"),
    "q_edited": ("Q of edited chunks", "value of what the editor makes of the policy's chunks"),
    "edit_weight": ("Weight of that entropy", "in units of return; learned"),
    "edit_entropy": (
        "Entropy of edits",
        "nats of a chunk's changes; more of them are tried while it is high",
    ),
    "candidate_value_spread": ("Candidate spread", "how far Q tells candidates apart (std)"),
    "target_clipped_fraction": ("Clipped targets", "outside the critic's support; should be 0"),
    "policy_grad_norm": ("Policy gradient norm", "before the optimiser's step"),
    "critic_grad_norm": ("Critic gradient norm", "before the optimiser's step"),
}
"""Headings and explanations of the metrics that softflow logs, in the order of the report."""

ROBOT_METRICS = ("q_actor", "td_error", "nll")
"""What tells best whether robot steps help: the policy's value, its truth, and what is kept."""

DIAGNOSTIC_NOTES: dict[str, tuple[str, str]] = {
    "held_out_bits_per_dim": ("Held-out bits per dimension", "unseen episodes; lower fits better"),
    "data_log_prob": ("Log-prob of the data", "nats per chunk; falls as RL moves away"),
    "candidate_diversity": ("Candidate diversity", "spread of sampled chunks, normalised"),
    "invertibility_error": ("Invertibility error", "largest |to_actions(to_latents(a)) − a|"),
}
"""Headings and explanations of the diagnostics shown as charts, in their order."""

MEASURED_ONCE = frozenset({"success_rate", "interval_low", "interval_high", *DIAGNOSTIC_NOTES})
"""Metrics logged when a stage or round is measured: shown with the stages, not as curves."""
SHOWN_ELSEWHERE = (METRIC_PREFIX, HELD_OUT)
"""What metrics begin with that have a section of their own."""


@dataclass(frozen=True)
class Figure:
    """A chart with its heading and the sentence under it."""

    title: str
    note: str
    svg: str


def percent(rate: float) -> str:
    """A rate as a whole percentage: 0.923 → 92 %."""
    return f"{100 * rate:.0f}{_THIN_SPACE}%"


def learning_curves(record: RunRecord) -> list[Figure]:
    """One chart per metric over the updates of all stages, which are laid end to end."""
    by_name: dict[str, list[MetricSeries]] = {}
    for series in record.metrics:
        if series.name in MEASURED_ONCE or series.name.startswith(SHOWN_ELSEWHERE):
            continue
        by_name.setdefault(series.name, []).append(series)
    known = [name for name in METRIC_NOTES if name in by_name]
    others = [name for name in by_name if name not in METRIC_NOTES]
    offsets = stage_offsets(record.metrics)
    return [_curve(name, _over_updates(by_name[name], offsets)) for name in known + others]


def robot_curves(record: RunRecord) -> list[Figure]:
    """`ROBOT_METRICS` of online RL against control steps on the robot; none before the first."""
    online = {s.name: s for s in record.metrics if s.stage == "online_rl" and s.robot_steps.any()}
    lines = {name: binned(s.robot_steps, s.value) for name, s in online.items()}
    return [
        _curve(name, [("online_rl", lines[name])], "against robot steps")
        for name in ROBOT_METRICS
        if name in lines
    ]


def _over_updates(
    parts: Sequence[MetricSeries], offsets: dict[str, float]
) -> list[tuple[str, Binned]]:
    return [(p.stage, binned(p.update_step + offsets.get(p.stage, 0.0), p.value)) for p in parts]


def stage_offsets(metrics: Sequence[MetricSeries]) -> dict[str, float]:
    """What to add to a stage's update steps so that the stages follow each other."""
    offsets: dict[str, float] = {}
    end = 0.0
    for stage in STAGES:
        steps = [series.update_step for series in metrics if series.stage == stage]
        if not steps:
            continue
        first, last = min(s.min() for s in steps), max(s.max() for s in steps)
        offsets[stage] = end if first < end else 0.0
        end = offsets[stage] + last
    return offsets


def _curve(
    name: str, lines: Sequence[tuple[str, Binned]], against: str = "over training"
) -> Figure:
    xs = np.concatenate([line.x for _, line in lines])
    scale = scale_of_bands(line for _, line in lines)
    chart = Chart(Scale(0, max([1.0, *xs.tolist()])), scale, Frame())
    chart.axis_y()
    chart.axis_x()
    for stage, line in lines:
        chart.band(line.x.tolist(), line.low.tolist(), line.high.tolist(), stage)
        chart.line(line.x.tolist(), line.mean.tolist(), stage)
        if len(line.x) < 3:
            for x, y in zip(line.x.tolist(), line.mean.tolist(), strict=True):
                chart.dot(x, y, stage, radius=3)
    title, note = METRIC_NOTES.get(name, (name.replace("_", " "), ""))
    return Figure(title, note, chart.svg(f"{title} {against}"))


def q_against_returns(record: RunRecord) -> Figure | None:
    """Predicted values against what the episodes then returned, for the latest checkpoint."""
    found = next((d for d in reversed(record.diagnostics) if _value_pairs(d) is not None), None)
    pairs = _value_pairs(found) if found else None
    if found is None or pairs is None:
        return None
    q, returns = pairs
    both = np.concatenate(pairs)
    scale = Scale(*_padded(float(both.min()), float(both.max())))
    chart = Chart(scale, scale, Frame(430, 320, left=48, bottom=30))
    chart.axis_y()
    chart.axis_x()
    chart.reference((scale.low, scale.high), (scale.low, scale.high))
    for x, y in zip(q.tolist(), returns.tolist(), strict=True):
        chart.dot(x, y, f"{found.stage} faint", radius=2.5)
    groups = np.array_split(np.argsort(q, kind="stable"), min(_CALIBRATION_BINS, len(q)))
    centres = [(float(q[g].mean()), float(returns[g].mean())) for g in groups]
    chart.line([x for x, _ in centres], [y for _, y in centres], found.stage)
    for x, y in centres:
        chart.dot(x, y, found.stage, radius=5, title=f"mean Q {x:.3f}, mean return {y:.3f}")
    note = _calibration_note(q, returns)
    return Figure(f"Q against realised returns, {found.title}", note, chart.svg(note))


def _value_pairs(diagnostics: Diagnostics) -> tuple[np.ndarray, np.ndarray] | None:
    q = diagnostics.arrays.get("q_values", np.zeros(0))
    returns = diagnostics.arrays.get("realised_returns", np.zeros(0))
    if len(q) != len(returns) or len(q) < 2:
        return None
    finite = np.isfinite(q) & np.isfinite(returns)
    return (q[finite], returns[finite]) if finite.sum() >= 2 else None


def _padded(low: float, high: float) -> tuple[float, float]:
    air = 0.05 * (high - low) or 0.5
    return low - air, high + air


def _calibration_note(q: np.ndarray, returns: np.ndarray) -> str:
    bias = float((q - returns).mean())
    side = "above" if bias >= 0 else "below"
    note = f"{len(q)} decisions. On average Q lies {abs(bias):.3f} {side} the return"
    if q.std() > 0 and returns.std() > 0:
        note += f"; correlation {np.corrcoef(q, returns)[0, 1]:.2f}"
    note += ". Episodes that the time limit cut off are left out"
    return note + ". Large dots: means of five groups of equal size; dashed: perfect calibration."


def diagnostic_trends(record: RunRecord) -> list[Figure]:
    """How each diagnostic went from checkpoint to checkpoint; of a single one there is no chart."""
    figures: list[Figure] = []
    for name, (title, note) in DIAGNOSTIC_NOTES.items():
        points = [(d, d.numbers[name]) for d in record.diagnostics if name in d.numbers]
        points = [(d, value) for d, value in points if np.isfinite(value)]
        if len(points) > 1:
            figures.append(Figure(title, note, _trend(title, points)))
    return figures


def _trend(title: str, points: Sequence[tuple[Diagnostics, float]]) -> str:
    values = [value for _, value in points]
    wide = min(values) > 0 and max(values) / min(values) > 30
    frame = Frame(270, 120, left=52, right=56, bottom=12)
    chart = Chart(Scale(-0.5, len(points) - 0.5), scale_of(values, log=wide, margin=0.2), frame)
    chart.axis_y(chart.y.ticks(3))
    chart.line(list(range(len(points))), values, "joined")
    for x, (diagnostics, value) in enumerate(points):
        chart.dot(x, value, diagnostics.stage, title=f"{diagnostics.title}: {value:.4g}")
    chart.label(len(points) - 1, values[-1], compact(float(f"{values[-1]:.3g}")), shift=(9, 0))
    return chart.svg(f"{title}: " + ", ".join(f"{d.title} {v:.4g}" for d, v in points))
