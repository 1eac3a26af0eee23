"""What several runs reached, in one sentence, and what keeps their numbers apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from statistics import mean

from softflow.data.task_profile import Measure
from softflow.pages.comparing.groups import RunGroup
from softflow.pages.comparing.pooling import Pooled, pooled_finals
from softflow.pages.evaluations.stages import STAGES
from softflow.pages.html import number
from softflow.pages.measure_charts import interval_text, value_text

_NAMED = 4
"""Groups that the sentence names."""
_DATA = ("dataset_episodes", "dataset_steps", "dataset_successes")
"""What tells one data set from another, wherever its folder lies."""


def headline(groups: Sequence[RunGroup], measures: Sequence[Measure]) -> tuple[str, str]:
    """The last value of the first measure of every group (HTML), and what to mind (text).

    Args:
        groups: what is compared.
        measures: what they measure, the most important first.
    """
    if not measures:
        return _without_success(groups), ""
    found = ((group, pooled_finals(group, measures[0])) for group in groups)
    ends = [(group, points[-1]) for group, points in found if points]
    told = len({end.stage for _, end in ends}) > 1
    each = [_end(group, end, told) for group, end in ends[:_NAMED]]
    sentence = f"{escape(measures[0].short_title.capitalize())} in the end: {_listed(each, ends)}"
    return sentence, unlike(ends)


def _end(group: RunGroup, end: Pooled, with_stage: bool) -> str:
    value = f'<b class="{group.css}">{escape(value_text(end.measured))}</b>'
    stage = f" after {STAGES.get(end.stage, end.stage)}" * with_stage
    return f"{escape(group.name)} {value} ({escape(interval_text(end.measured) + stage)})"


def _listed(each: Sequence[str], found: Sequence[object]) -> str:
    more = f" and {len(found) - _NAMED} more below" * (len(found) > _NAMED)
    return f"{', '.join(each)}{more}."


def unlike(ends: Sequence[tuple[RunGroup, Pooled]]) -> str:
    """Why these numbers do not say which method is better; "" where nothing speaks against it."""
    groups = [group for group, _ in ends]
    found = []
    if len({end.stage for _, end in ends}) > 1:
        found.append("they end in different stages")
    if len(environments := _values(groups, lambda g: g.value("data_spec.env_id"))) > 1:
        found.append(f"they act in different environments ({', '.join(environments)})")
    if len(_values(groups, lambda g: "/".join(map(g.value, _DATA)))) > 1:
        episodes = ", ".join(f"{g.name} {g.value(_DATA[0])} episodes" for g in groups[:_NAMED])
        found.append(f"they learned from different data ({episodes})")
    return f"Compare them with care: {'; '.join(found)}." if found else ""


def _values(groups: Sequence[RunGroup], of: Callable[[RunGroup], str]) -> list[str]:
    return list(dict.fromkeys(map(of, groups)))


def _without_success(groups: Sequence[RunGroup]) -> str:
    """What is known where no episode was run: the likelihood of held-out demonstrations."""
    if any(run.measures_success() for group in groups for run in group.runs):
        return "Nothing has been evaluated yet."
    known = [(group, values) for group in groups if (values := _held_out(group))]
    if not known:
        return "Success is not measured in these runs, and no demonstration is held out."
    each = [
        f'{escape(group.name)} <b class="{group.css}">{number(mean(values))}</b>'
        for group, values in known[:_NAMED]
    ]
    return (
        "Success is not measured in these runs. Held-out log-likelihood in the end, nats per "
        f"dimension, higher is better: {_listed(each, known)}"
    )


def _held_out(group: RunGroup) -> list[float]:
    """The last value of every run that has one."""
    curves = [run.held_out for run in group.runs if run.held_out]
    return [float(curve.nats_per_dim.value[-1]) for curve in curves if curve.nats_per_dim]
