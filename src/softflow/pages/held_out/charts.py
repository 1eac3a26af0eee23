"""Charts of held-out demonstrations: likelihood and errors over updates, chunks over recordings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from softflow.pages.held_out.record import (
    Component,
    HeldOutCurve,
    Line,
    Overlay,
    StageOverlays,
    component_name,
)
from softflow.pages.run_charts import Figure
from softflow.pages.svg import Chart, Frame, Scale, compact, scale_of

UNITS = {
    "m": "m",
    "mm": "mm",
    "rad": "rad",
    "deg": "°",
    "s": "s",
    "ms": "ms",
    "n": "N",
    "nm": "N·m",
}
"""Endings of names that say a unit, such as `x_m` or `elbow_rad`."""
_STAGE = "imitation"


def unit_of(name: str) -> str:
    """The unit that the name of a component ends with; "" where it says none."""
    stem, _, ending = name.rpartition("_")
    return UNITS.get(ending.lower(), "") if stem else ""


def held_out_sentence(curve: HeldOutCurve) -> str:
    """Likelihood at the best and at the last update, in words."""
    line = curve.nats_per_dim
    if line is None:
        return "Errors on held-out demonstrations are shown below, in the data's own units."
    said = f"Held-out log-likelihood: {_digits(float(line.value[-1]))} nats per dimension"
    best = line.at(curve.best_update)
    if curve.best_update is not None and best is not None:
        said += f"; at best {_digits(best)}, after update {curve.best_update:,} of imitation"
    return said + "."


def likelihood_figure(curve: HeldOutCurve) -> Figure | None:
    """Log-likelihood over updates, the best one marked."""
    line = curve.nats_per_dim
    if line is None:
        return None
    chart = _over_updates([line])
    chart.line(line.update.tolist(), line.value.tolist(), _STAGE)
    _dots(chart, line)
    title, note = "Held-out log-likelihood", "nats per dimension; higher is better"
    best = line.at(curve.best_update)
    if curve.best_update is not None and best is not None:
        chart.dot(curve.best_update, best, "success", radius=4.5, title=f"best: {best:.4g}")
        note += f". Best after update {curve.best_update:,}: {_digits(best)}"
    return Figure(title, note, chart.svg(f"{title} over updates: {_ends(line)}"))


def error_figure(curve: HeldOutCurve, component: Component) -> Figure:
    """|a - â| of one component over updates: the median, and thin the 95 % quantile."""
    median, most = component.median, component.most
    chart = _over_updates([median, most], from_zero=True)
    chart.line(most.update.tolist(), most.value.tolist(), f"{_STAGE} thin")
    chart.line(median.update.tolist(), median.value.tolist(), _STAGE)
    _dots(chart, median)
    if curve.best_update is not None and (at := median.at(curve.best_update)) is not None:
        chart.dot(curve.best_update, at, "success", radius=4.5, title=f"best: {at:.3g}")
    last = f"median {_short(median.value[-1])}, 95 % {_short(most.value[-1])}"
    unit = unit_of(component.name)
    note = f"{last}{f' {unit}' if unit else ''} at the end"
    return Figure(component.name, note, chart.svg(f"Error of {component.name}: {last}"))


def overlay_figures(overlays: StageOverlays, episode: Overlay) -> list[Figure]:
    """Small multiples: each component of a recorded episode, with the chunks predicted along it."""
    return [
        _overlay(overlays, episode, number, component_name(overlays.names, number))
        for number in range(episode.actions.shape[1])
    ]


def _overlay(overlays: StageOverlays, episode: Overlay, number: int, name: str) -> Figure:
    hz, recorded = overlays.control_hz, episode.actions[:, number]
    parts = [(chunk.start, chunk.actions[:, number]) for chunk in episode.chunks]
    values = np.concatenate([recorded, *(values for _, values in parts)])
    end_s = max(len(recorded), 2) / hz
    chart = Chart(Scale(0, end_s), _whole(values), Frame(330, 130))
    chart.axis_y(chart.y.ticks(3))
    chart.axis_x(unit=lambda second: f"{compact(second)} s")
    chart.line((np.arange(len(recorded)) / hz).tolist(), recorded.tolist(), "recorded")
    for start, predicted in parts:
        times = (start + np.arange(len(predicted))) / hz
        chart.line(times.tolist(), predicted.tolist(), overlays.stage)
        chart.dot(float(times[0]), float(predicted[0]), overlays.stage, radius=1.8)
    text = f"{name}: {len(recorded)} recorded steps, {len(parts)} predicted chunks"
    return Figure(name, unit_of(name), chart.svg(text))


def _over_updates(lines: Sequence[Line], *, from_zero: bool = False) -> Chart:
    updates = np.concatenate([line.update for line in lines])
    values = np.concatenate([line.value for line in lines])
    scale = scale_of(values)
    if from_zero:
        scale = Scale(0.0, 1.06 * float(values.max()) or 1.0)
    chart = Chart(Scale(0, max(1.0, float(updates.max()))), scale, Frame())
    chart.axis_y()
    chart.axis_x()
    return chart


def _dots(chart: Chart, line: Line) -> None:
    """A few points are seen as points."""
    if len(line.update) < 3:
        for x, y in zip(line.update.tolist(), line.value.tolist(), strict=True):
            chart.dot(x, y, _STAGE, radius=3)


def _whole(values: np.ndarray) -> Scale:
    """A scale that shows every value."""
    low, high = float(values.min()), float(values.max())
    air = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return Scale(low - air, high + air)


def _ends(line: Line) -> str:
    return f"{line.value[0]:.4g} first, {line.value[-1]:.4g} last, {line.value.max():.4g} at best"


def _digits(value: float) -> str:
    return compact(float(f"{value:.4g}"))


def _short(value: float) -> str:
    return compact(float(f"{value:.2g}"))
