"""The result of a run in one sentence, and what qualifies it."""

from __future__ import annotations

import math
from html import escape

from softflow.data.task_profile import Measure
from softflow.pages.evaluations.record import Evaluation
from softflow.pages.evaluations.stages import STAGES
from softflow.pages.held_out.charts import held_out_sentence
from softflow.pages.html import duration, number
from softflow.pages.measure_charts import (
    Point,
    interval_text,
    points_of,
    value_text,
)
from softflow.pages.run_record import RunRecord, find_key


def headline(record: RunRecord) -> tuple[str, str]:
    """The result in one sentence (HTML), and what qualifies it (text)."""
    finals = [e for stage in STAGES if (e := record.final(stage))]
    if not finals and not record.measures_success():
        return _without_success_rate(record)
    if not finals:
        return "Nothing has been evaluated yet.", "The first evaluation follows imitation."
    measure = record.measures()[0]
    points = points_of(finals, measure)
    if not points:
        return (
            f"{escape(measure.short_title.capitalize())}: not known.",
            "No episode ended with a failure.",
        )
    first, last = points[0], points[-1]
    sentence = _first_sentence(measure, first)
    if len(points) == 1:
        count = f"{first.evaluation.num_episodes} evaluation episodes"
        return sentence, f"95 % interval {interval_text(first.measured)}, {count}."
    spent = escape(_spent(record, last.evaluation))
    if measure.kind == "success_rate":
        sentence += f" After {spent}, the policy succeeds in {_value(last)}."
    else:
        sentence += f" After {spent}: {_value(last)}."
    best = max(points[:-1], key=lambda point: point.measured.value or 0.0)
    # Of what else is measured, nobody says whether more is better.
    if best is first or measure.kind != "success_rate":
        return sentence, _compared(first, last)
    return sentence + _against(best, last), _compared(first, last)


def _first_sentence(measure: Measure, point: Point) -> str:
    stage = STAGES[point.evaluation.stage]
    if point.evaluation.stage == "imitation" and point.evaluation.rule == "value":
        stage += " (chunks chosen by the critic that came along)"
    if measure.kind == "success_rate":
        return f"{stage} succeeds in {_value(point)} of episodes."
    return f"{escape(measure.short_title.capitalize())} after {stage}: {_value(point)}."


def _value(point: Point) -> str:
    stage, text = escape(point.evaluation.stage), escape(value_text(point.measured))
    return f'<b class="{stage}">{text}</b>'


def _against(best: Point, last: Point) -> str:
    """How the end stands to the best stage before it, if that is not the first."""
    stage, was = STAGES[best.evaluation.stage], best.measured.value or 0.0
    if (last.measured.value or 0.0) >= was:
        return f" The best stage before that, {stage}, had {_value(best)}."
    chance = " (by chance, perhaps: the intervals overlap)" if _overlap(best, last) else ""
    return f" <b>That is worse than the {_value(best)} after {stage}</b>{chance}."


def _overlap(one: Point, other: Point) -> bool:
    ends = (one.measured.low, one.measured.high, other.measured.low, other.measured.high)
    low, high, other_low, other_high = (math.nan if end is None else end for end in ends)
    return not (other_low > high or other_high < low)  # true of ends that are not known


def _compared(first: Point, last: Point) -> str:
    """Whether the first and the last value differ by more than chance explains."""
    old, new = first.measured, last.measured
    overlap = _overlap(first, last)
    verdict = "they overlap, so this may be chance" if overlap else "they do not overlap"
    episodes = (first.evaluation.num_episodes, last.evaluation.num_episodes)
    count = f"{episodes[0]} and {episodes[1]} evaluation episodes"
    if episodes[0] == episodes[1]:
        count = f"{episodes[0]} evaluation episodes each"
    return f"95 % intervals {interval_text(old)} and {interval_text(new)}: {verdict}. {count}."


def _without_success_rate(record: RunRecord) -> tuple[str, str]:
    """Why no episode was run, and what is known instead."""
    why = "its data names no environment" if not find_key(record.config, "env_id") else "not asked"
    if record.held_out:
        return f"Success is not measured: {why}.", held_out_sentence(record.held_out)
    bits = [
        (STAGES[d.stage], d.numbers["held_out_bits_per_dim"])
        for d in record.diagnostics
        if d.stage in STAGES and "held_out_bits_per_dim" in d.numbers
    ]
    under = "No demonstration is held out of training to measure likelihood on."
    if bits:
        each = ", ".join(f"{number(value)} after {stage}" for stage, value in bits)
        under = f"Bits per dimension on held-out demonstrations, lower is better: {each}."
    return f"Success is not measured: {why}.", under


def _spent(record: RunRecord, evaluation: Evaluation) -> str:
    """What the policy cost: online episodes, robot steps and, if known, the robot's time."""
    if not evaluation.online_episodes:
        return f"{STAGES[evaluation.stage]}, without any robot time"
    count = evaluation.online_episodes
    steps = f"{count} online episode{'s' * (count != 1)}, {evaluation.robot_steps:,} robot steps"
    rollouts = record.rollouts
    hz = rollouts.spec.control_hz if rollouts else find_key(record.config, "control_hz")
    if isinstance(hz, int | float) and hz > 0:
        steps += f" ({duration(evaluation.robot_steps / hz)})"
    return steps
