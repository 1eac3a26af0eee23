"""What evaluations measured, in words and as charts: by stage, and against robot steps.

A share of episodes is drawn from 0 to 100 %, a count from 0 to the highest end of its intervals.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from softflow.data.measures import Measured, parts
from softflow.data.task_profile import Measure
from softflow.pages.evaluations.record import Evaluation
from softflow.pages.evaluations.stages import STAGES
from softflow.pages.robot.rollouts import Rollouts
from softflow.pages.run_charts import Figure, percent
from softflow.pages.run_record import RunRecord
from softflow.pages.svg import Chart, Frame, Scale, compact
from softflow.utils.intervals import wilson_interval

_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
_ROLLOUT_WINDOW = 20
_LABEL_GAP = 0.085
"""Least distance of two names at the end of lines, as a share of the axis."""


@dataclass(frozen=True)
class Point:
    """One measure of one evaluation."""

    evaluation: Evaluation
    measured: Measured

    @property
    def value(self) -> float:
        """The measured value; only points whose value is known are drawn."""
        return self.measured.value or 0.0

    def ends(self, scale: Scale) -> tuple[float, float]:
        """The interval on an axis."""
        return ends_of(self.measured, scale)


def ends_of(measured: Measured, scale: Scale) -> tuple[float, float]:
    """The interval on an axis; an end that is not known is the end of the axis."""
    low, high = measured.low, measured.high
    return scale.low if low is None else low, scale.high if high is None else high


def value_text(measured: Measured, *, unit: bool = True) -> str:
    """A measured value as people read it: 92 %, 6.25 turns/min; a dash where it is not known."""
    if measured.value is None:
        return "–"
    if measured.measure.is_rate:
        return percent(measured.value)
    return _plain(measured.value) + f" {measured.measure.unit}" * unit


def interval_text(measured: Measured) -> str:
    """The 95 % interval: 85–96 %, 5.1–7.4; "from 5.1" where nothing bounds it above."""
    low, high = measured.low, measured.high
    if low is None:
        return "not known"
    if high is None:
        return f"from {_plain(low)}"
    if measured.measure.is_rate:
        return f"{100 * low:.0f}–{percent(high)}"
    return f"{_plain(low)}–{_plain(high)}"


def describe(point: Point) -> str:
    """A measure of an evaluation in one line, for tooltips."""
    evaluation, measured = point.evaluation, point.measured
    return (
        f"{evaluation.title}: {value_text(measured)} ({interval_text(measured)}), "
        f"{evaluation.num_episodes} episodes, {evaluation.robot_steps:,} robot steps"
    )


def points_of(evaluations: Iterable[Evaluation | None], measure: Measure) -> list[Point]:
    """The evaluations that know this measure; None stands for a stage without one."""
    found = ((e, e.measured(measure.name)) for e in evaluations if e is not None)
    return [Point(e, m) for e, m in found if m is not None and m.value is not None]


def by_stage(record: RunRecord, measure: Measure) -> Figure | None:
    """The last value of every stage as a dot with its 95 % interval, below the data's own."""
    finals = points_of(map(record.final, STAGES), measure)
    if not finals:
        return None
    scale, shown = _scale(measure, finals), demonstrators(record, measure)
    rows = len(finals) + (shown is not None)
    chart = Chart(scale, Scale(0, rows), Frame(500, 48 * rows + 34, 130, 140, top=4, bottom=30))
    if measure.is_rate:
        chart.axis_x(_QUARTERS, lines=True, unit=percent)
    else:
        chart.axis_x(lines=True)
    for row, point in enumerate(reversed(finals)):
        stage = point.evaluation.stage
        _row(chart, row + 0.5, STAGES[stage], stage, point.measured, describe(point))
    note = _stage_note(measure, finals)
    if shown is not None:
        said = f"{value_text(shown)} of the data's {shown.num_episodes} episodes succeed"
        _row(chart, rows - 0.5, "Demonstrations", "demonstrations", shown, said)
        note += f" Demonstrations: {said}; whoever kept only successes kept no failure to count."
    title = f"{measure.short_title.capitalize()} after each stage"
    return Figure(title, note, chart.svg("; ".join(map(describe, finals))))


def _row(chart: Chart, y: float, name: str, css: str, measured: Measured, title: str) -> None:
    """A name, a dot with its interval, and both as numbers."""
    chart.label(0, y, name, f"name {css}", anchor="end", shift=(-12, 0))
    chart.interval(ends_of(measured, chart.x), (y, y), css)
    chart.dot(measured.value or 0.0, y, css, radius=6, title=title)
    chart.label(chart.x.high, y, value_text(measured, unit=False), "strong", shift=(14, 0))
    chart.label(chart.x.high, y, interval_text(measured), "quiet", shift=(68, 0))


def demonstrators(record: RunRecord, measure: Measure) -> Measured | None:
    """The success of the episodes that the run learned from; None where that is not known."""
    episodes, successes = (record.config.get(f"dataset_{n}") for n in ("episodes", "successes"))
    if measure.kind != "success_rate" or not isinstance(episodes, int):
        return None
    if not isinstance(successes, int) or not 0 <= successes <= episodes or not episodes:
        return None
    interval = wilson_interval(successes, episodes)
    return Measured(measure, successes / episodes, interval.low, interval.high, episodes)


def _stage_note(measure: Measure, finals: Sequence[Point]) -> str:
    episodes = {point.evaluation.num_episodes for point in finals}
    count = f"{episodes.pop()}" if len(episodes) == 1 else f"{min(episodes)} to {max(episodes)}"
    what = measure.title + f" ({measure.unit})" * (measure.unit not in ("", measure.title))
    interval = "Wilson" if measure.is_rate else "bootstrap"
    return f"Dot: {what} over {count} evaluation episodes. Bar: 95 % {interval} interval."


def by_robot_steps(record: RunRecord, measure: Measure) -> Figure | None:
    """A measure against control steps on the robot, with the stages before it to compare with."""
    measured = (e for e in record.evaluations if e.stage == "online_rl")
    at_steps = {point.evaluation.robot_steps: point for point in points_of(measured, measure)}
    online = list(at_steps.values())
    rollouts = record.rollouts
    steps = np.cumsum(rollouts.length) if rollouts is not None else np.zeros(0, dtype=int)
    last_step = max([0, *at_steps, *steps[-1:].tolist()])
    if last_step == 0:
        return None
    before = points_of(map(record.final, ("imitation", "offline_rl")), measure)
    scale = _scale(measure, before + online)
    chart = Chart(Scale(0, last_step), scale, Frame(500, 226, right=124, bottom=30))
    if measure.is_rate:
        chart.axis_y(_QUARTERS, unit=percent)
    else:
        chart.axis_y()
    chart.axis_x()
    note = "Dots: evaluations with their 95 % interval. Dashed: the policy before any robot step."
    if rollouts is not None and len(steps) >= _ROLLOUT_WINDOW:
        chart.line(*_learning_episodes(rollouts, measure, steps), "online_rl thin")
        note += f" Thin: the learning episodes themselves, mean of the last {_ROLLOUT_WINDOW}."
    _draw_evaluations(chart, last_step, before, online)
    _label_ends(chart, last_step, before + online[-1:])
    return Figure(f"{measure.short_title.capitalize()} against robot steps", note, chart.svg(note))


def _learning_episodes(
    rollouts: Rollouts, measure: Measure, steps: np.ndarray
) -> tuple[list[float], list[float]]:
    """Robot steps, and the measure over the last episodes up to there, where it is known."""
    window = np.ones(_ROLLOUT_WINDOW)
    sums = (
        np.convolve(part, window, "valid")
        for part in parts(measure, rollouts.facts, rollouts.spec.control_hz)
    )
    above, below = sums
    known = below > 0
    ends = steps[_ROLLOUT_WINDOW - 1 :]
    return ends[known].tolist(), (above[known] / below[known]).tolist()


def _draw_evaluations(
    chart: Chart, last_step: float, before: Sequence[Point], online: Sequence[Point]
) -> None:
    for point in before:
        chart.reference((0, last_step), (point.value, point.value), point.evaluation.stage)
    path = [(0, before[-1].value)] if before else []
    path += [(point.evaluation.robot_steps, point.value) for point in online]
    if online:
        chart.line([x for x, _ in path], [y for _, y in path], "online_rl")
    for point in online:
        x = point.evaluation.robot_steps
        chart.interval((x, x), point.ends(chart.y), "online_rl fine")
        chart.dot(x, point.value, "online_rl", radius=4.5, title=describe(point))


def _label_ends(chart: Chart, x: float, points: Sequence[Point]) -> None:
    """Name the lines at their right end, at least one line of text apart."""
    gap = _LABEL_GAP * (chart.y.high - chart.y.low)
    lowest = chart.y.low - chart.y.high
    for point in sorted(points, key=lambda point: point.value):
        lowest = max(point.value, lowest + gap)
        stage = point.evaluation.stage
        text = f"{STAGES[stage]} {value_text(point.measured, unit=False)}"
        chart.label(x, lowest, text, f"name {stage}", shift=(12, 0))


def _scale(measure: Measure, points: Sequence[Point]) -> Scale:
    if measure.is_rate:
        return Scale(0.0, 1.0)
    ends = [end for p in points for end in (p.measured.value, p.measured.high) if end is not None]
    return Scale(0.0, 1.05 * max(ends, default=0.0) or 1.0)


def _plain(value: float) -> str:
    return compact(float(f"{value:.3g}"))
