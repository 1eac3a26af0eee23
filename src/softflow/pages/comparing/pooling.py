"""What the evaluations of a group's runs say together, and when they were made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import mean

from softflow.data.measures import METRIC_PREFIX, Measured
from softflow.data.task_profile import Measure
from softflow.pages.comparing.groups import RunGroup
from softflow.pages.evaluations.record import Evaluation
from softflow.pages.evaluations.stages import STAGES
from softflow.pages.run_record import RunRecord
from softflow.utils.intervals import bootstrap_ratio, wilson_interval

SUCCESS_METRIC = "success_rate"


@dataclass(frozen=True)
class Pooled:
    """A measure of one group at one point of its runs.

    Args:
        label: of the evaluations, such as online_rl_round_02; stage: its stage.
        measured: over the episodes of all runs that have come there.
        each: the value of every such run.
        robot_steps: mean of these runs, control steps on the robot.
        time_s: mean running time of these runs up to there; None where a run does not know.
    """

    label: str
    stage: str
    measured: Measured
    each: tuple[float, ...]
    robot_steps: float
    time_s: float | None


def pooled_finals(group: RunGroup, measure: Measure) -> list[Pooled]:
    """The measure after each stage that a run of the group has ended, in their order."""
    found = (pooled(measure, [(r, r.final(stage)) for r in group.runs]) for stage in STAGES)
    return [point for point in found if point is not None]


def pooled_course(group: RunGroup, measure: Measure) -> list[Pooled]:
    """The measure at every evaluation, in the order of the runs."""
    labels = dict.fromkeys(e.label for r in group.runs for e in r.evaluations)
    order = {label: _place(label, group) for label in labels}
    found = (
        pooled(measure, [(r, _labelled(r, label)) for r in group.runs])
        for label in sorted(labels, key=lambda label: order[label])
    )
    return [point for point in found if point is not None]


def pooled(measure: Measure, pairs: Iterable[tuple[RunRecord, Evaluation | None]]) -> Pooled | None:
    """One measure of several runs; None where no run has it.

    A share of episodes is that of all episodes together, with Wilson's interval. Anything else is
    the mean of the runs; its interval is a bootstrap over runs, or the run's own where it is one.
    """
    found = [
        (run, evaluation, measured)
        for run, evaluation in pairs
        if evaluation is not None
        and (measured := evaluation.measured(measure.name)) is not None
        and measured.value is not None
    ]
    if not found:
        return None
    times = [time_of(run, evaluation, measure) for run, evaluation, _ in found]
    known = [time_s for time_s in times if time_s is not None]
    return Pooled(
        label=found[0][1].label,
        stage=found[0][1].stage,
        measured=_together(measure, [measured for _, _, measured in found]),
        each=tuple(measured.value or 0.0 for _, _, measured in found),
        robot_steps=mean(evaluation.robot_steps for _, evaluation, _ in found),
        time_s=mean(known) if len(known) == len(times) else None,
    )


def _together(measure: Measure, parts: Sequence[Measured]) -> Measured:
    if len(parts) == 1:
        return parts[0]
    episodes = sum(part.num_episodes for part in parts)
    values = [part.value or 0.0 for part in parts]
    if measure.is_rate:
        successes = sum(round(v * p.num_episodes) for v, p in zip(values, parts, strict=True))
        interval = wilson_interval(successes, episodes)
        value = successes / episodes if episodes else mean(values)
    else:
        interval, value = bootstrap_ratio(values, [1.0] * len(values)), mean(values)
    low, high = (end if math.isfinite(end) else None for end in interval)
    return Measured(measure, value, low, high, episodes)


def time_of(run: RunRecord, evaluation: Evaluation, measure: Measure) -> float | None:
    """Running time of a run when it made an evaluation, s; None where metrics.csv has it not."""
    names = (SUCCESS_METRIC, METRIC_PREFIX + measure.name)
    for series in run.metrics:
        if series.stage == evaluation.stage and series.name in names:
            there = series.time_s[series.update_step == evaluation.update_step]
            if len(there):
                return float(there[-1])
    return None


def _labelled(run: RunRecord, label: str) -> Evaluation | None:
    return next((e for e in run.evaluations if e.label == label), None)


def _place(label: str, group: RunGroup) -> tuple[int, int, float]:
    """Where a label stands: by stage, its rounds first, by what the robot had done."""
    found = [e for r in group.runs if (e := _labelled(r, label))]
    stages = list(STAGES)
    position = stages.index(found[0].stage) if found[0].stage in stages else len(stages)
    return position, label == found[0].stage, mean(e.update_step for e in found)
