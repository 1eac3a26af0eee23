"""The charts of a comparison: a group of runs has one colour throughout."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from softflow.data.task_profile import Measure
from softflow.pages.comparing.groups import RunGroup
from softflow.pages.comparing.pooling import Pooled, pooled_course, pooled_finals
from softflow.pages.evaluations.stages import STAGES
from softflow.pages.measure_charts import interval_text, value_text
from softflow.pages.run_charts import METRIC_NOTES, Figure, percent, stage_offsets
from softflow.pages.svg import Chart, Frame, Scale, binned, scale_of_bands, time_ticks

_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
_ROW, _GAP = 24.0, 0.6
_LAST_BEFORE_THE_ROBOT = ("offline_rl", "critic_warmup", "imitation")


def after_stages(groups: Sequence[RunGroup], measure: Measure) -> Figure | None:
    """Every stage, and in it every group as a dot with its 95 % interval; dashes are the seeds."""
    found = [(group, {p.stage: p for p in pooled_finals(group, measure)}) for group in groups]
    rows = [(s, [(g, p[s]) for g, p in found if s in p]) for s in STAGES]
    rows = [(stage, points) for stage, points in rows if points]
    if not rows:
        return None
    height = sum(len(points) + _GAP for _, points in rows)
    scale = _scale(measure, [point for _, points in rows for _, point in points])
    frame = Frame(500, _ROW * height + 34, left=122, right=122, top=4, bottom=30)
    chart = Chart(scale, Scale(0, height), frame)
    _axis(chart.axis_x, measure, lines=True)
    y = height
    for stage, points in rows:
        chart.label(scale.low, y - 0.5, STAGES[stage], "name", anchor="end", shift=(-12, 0))
        for group, point in points:
            _row(chart, y - 0.5, group, point)
            y -= 1
        y -= _GAP
    title = f"{measure.short_title.capitalize()} after each stage"
    interval = "Wilson, all episodes of all seeds" if measure.is_rate else "bootstrap over seeds"
    note = f"Bar: 95 % interval ({interval}). Small dots: single seeds."
    return Figure(title, note, chart.svg(title))


def _row(chart: Chart, y: float, group: RunGroup, point: Pooled) -> None:
    low, high = _ends(point, chart.x)
    chart.interval((low, high), (y, y), group.css)
    for value in point.each if len(point.each) > 1 else ():
        chart.dot(value, y, f"{group.css} faint", radius=3)
    chart.dot(point.measured.value or 0.0, y, group.css, radius=5.5, title=told(group, point))
    text = value_text(point.measured, unit=False)
    chart.label(chart.x.high, y, text, "strong", shift=(12, 0))
    chart.label(chart.x.high, y, interval_text(point.measured), "quiet", shift=(58, 0))


def against_robot_steps(groups: Sequence[RunGroup], measure: Measure) -> Figure | None:
    """The measure while the robot learns; at 0 steps the policy before that."""

    def on_the_robot(group: RunGroup) -> list[tuple[float, Pooled]]:
        course = pooled_course(group, measure)
        before = {point.stage: point for point in course}
        first = next((before[s] for s in _LAST_BEFORE_THE_ROBOT if s in before), None)
        online = {p.robot_steps: p for p in course if p.stage == "online_rl" and p.robot_steps}
        return ([(0.0, first)] if first else []) + list(online.items()) if online else []

    note = "Horizontal: control steps on the robot, mean of the seeds; at 0 the policy before."
    return _course("against robot steps", note, groups, measure, on_the_robot)


def against_time(groups: Sequence[RunGroup], measure: Measure) -> Figure | None:
    """The measure against the running time of the whole run, evaluations included."""

    def in_time(group: RunGroup) -> list[tuple[float, Pooled]]:
        course = pooled_course(group, measure)
        return sorted(((p.time_s, p) for p in course if p.time_s is not None), key=lambda x: x[0])

    note = (
        "Horizontal: running time of a run on its machine, evaluations included, mean of the "
        "seeds. Runs side by side slow each other down."
    )
    return _course("against running time", note, groups, measure, in_time, in_seconds=True)


def _course(
    against: str,
    note: str,
    groups: Sequence[RunGroup],
    measure: Measure,
    points_of: Callable[[RunGroup], list[tuple[float, Pooled]]],
    in_seconds: bool = False,
) -> Figure | None:
    """A line a group, with the 95 % intervals of its points."""
    lines = [(group, points) for group in groups if (points := points_of(group))]
    if not lines:
        return None
    last = max(x for _, points in lines for x, _ in points)
    scale = _scale(measure, [point for _, points in lines for _, point in points])
    chart = Chart(Scale(0, last or 1.0), scale, Frame(500, 240, right=20, bottom=30))
    _axis(chart.axis_y, measure)
    ticks, unit = time_ticks(last) if in_seconds else (None, None)
    chart.axis_x(ticks, unit=unit)
    for group, points in lines:
        xs = [x for x, _ in points]
        chart.line(xs, [point.measured.value or 0.0 for _, point in points], group.css)
        for x, point in points:
            chart.interval((x, x), _ends(point, scale), f"{group.css} fine")
            title = told(group, point)
            chart.dot(x, point.measured.value or 0.0, group.css, radius=4, title=title)
    title = f"{measure.short_title.capitalize()} {against}"
    return Figure(title, f"{note} Bars: 95 % intervals.", chart.svg(title))


def metric_curves(groups: Sequence[RunGroup]) -> list[Figure]:
    """The metrics of training over the updates of all stages, all seeds of a group in one line."""
    figures: list[Figure] = []
    for name, (title, note) in METRIC_NOTES.items():
        found = ((group, _over_updates(group, name)) for group in groups)
        if lines := {group: line for group, line in found if line.size}:
            figures.append(Figure(title, note, _curve(title, lines)))
    return figures


def _over_updates(group: RunGroup, name: str) -> np.ndarray:
    """Updates, the stages end to end, and the values of a metric there: [2, N], of all runs."""
    parts = [np.zeros((2, 0))]
    for run in group.runs:
        offsets = stage_offsets(run.metrics)
        for series in run.metrics:
            if series.name == name:
                updates = series.update_step + offsets.get(series.stage, 0.0)
                parts.append(np.stack([updates, series.value]))
    return np.concatenate(parts, axis=1)


def _curve(title: str, lines: dict[RunGroup, np.ndarray]) -> str:
    found = {group: binned(updates, value) for group, (updates, value) in lines.items()}
    last = max([1.0, *(float(x) for line in found.values() for x in line.x)])
    chart = Chart(Scale(0, last), scale_of_bands(found.values()), Frame())
    chart.axis_y()
    chart.axis_x()
    for group, line in found.items():
        chart.band(line.x.tolist(), line.low.tolist(), line.high.tolist(), group.css)
        chart.line(line.x.tolist(), line.mean.tolist(), group.css)
    return chart.svg(f"{title} over training")


def told(group: RunGroup, point: Pooled) -> str:
    """A point in one line, for tooltips."""
    seeds = f", {len(point.each)} seeds" if len(point.each) > 1 else ""
    return (
        f"{group.name}, {point.label}: {value_text(point.measured)} "
        f"({interval_text(point.measured)}), {point.measured.num_episodes} episodes{seeds}"
    )


def _ends(point: Pooled, scale: Scale) -> tuple[float, float]:
    low, high = point.measured.low, point.measured.high
    return scale.low if low is None else low, scale.high if high is None else high


def _axis(axis: Callable[..., None], measure: Measure, **options: bool) -> None:
    if measure.is_rate:
        axis(_QUARTERS, unit=percent, **options)
    else:
        axis(**options)


def _scale(measure: Measure, points: Sequence[Pooled]) -> Scale:
    if measure.is_rate:
        return Scale(0.0, 1.0)
    ends = [e for p in points for e in (*p.each, p.measured.high) if e is not None]
    return Scale(0.0, 1.05 * max(ends, default=0.0) or 1.0)
