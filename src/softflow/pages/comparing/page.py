"""One self-contained page for several runs: what they reached, how fast, and what differs."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from html import escape
from pathlib import Path
from statistics import mean
from urllib.parse import quote

from softflow.data.task_profile import Measure
from softflow.pages.comparing.charts import (
    after_stages,
    against_robot_steps,
    against_time,
    metric_curves,
)
from softflow.pages.comparing.groups import (
    RunGroup,
    differing_options,
    read_groups,
    values_of,
)
from softflow.pages.comparing.headline import headline
from softflow.pages.comparing.pooling import Pooled, pooled_finals
from softflow.pages.comparing.values import side_by_side
from softflow.pages.evaluations.stages import STAGES
from softflow.pages.html import details_html, duration, figure_html, number, table_html, write_html
from softflow.pages.measure_charts import interval_text, value_text
from softflow.pages.run_charts import DIAGNOSTIC_NOTES
from softflow.pages.run_record import RunRecord

NAME = "comparison.html"
"""What the page is called where nobody says otherwise."""


def default_place(folders: Sequence[Path]) -> Path:
    """Beside the runs, in the folder that holds them all."""
    parents = [folder.resolve().parent for folder in folders]
    return Path(os.path.commonpath(parents)) / NAME


def write_comparison(folders: Sequence[Path], out: Path) -> Path:
    """Write the page of these runs; it leads to the report that each has of its own.

    Args:
        folders: run folders, also of runs that still go on.
        out: the page.

    Returns:
        Its path.

    Raises:
        StoreError: a folder holds no run, or the page cannot be written.
    """
    groups = read_groups(folders)
    sections = (
        _header(groups),
        *(_measured(groups, measure) for measure in _measures(groups)),
        _differences(groups),
        _runs(groups, out),
        _diagnostics(groups),
        _curves(groups),
    )
    write_html(out, "Runs compared · softflow", "\n".join(filter(None, sections)))
    return out


def _measures(groups: Sequence[RunGroup]) -> list[Measure]:
    """What the runs measure, without repetition."""
    runs = (run for group in groups for run in group.runs)
    return list({measure.name: measure for run in runs for measure in run.measures()}.values())


def _header(groups: Sequence[RunGroup]) -> str:
    runs = sum(len(group.runs) for group in groups)
    sentence, careful = headline(groups, _measures(groups))
    mind = f'<p class="headline-note">{escape(careful)}</p>' if careful else ""
    legend = "".join(f'<span class="{g.css}">{escape(g.title)}</span>' for g in groups)
    return (
        f'<header><h1>Runs compared</h1><p class="headline">{sentence}</p>{mind}'
        f'<p class="under">{runs} runs in {len(groups)} '
        f"{'group' if len(groups) == 1 else 'groups'}: runs of a group differ in their seed only. "
        f"Written {time.strftime('%Y-%m-%d %H:%M')}.</p></header><br>"
        f'<div class="legend">{legend}</div>'
    )


def _measured(groups: Sequence[RunGroup], measure: Measure) -> str:
    drawn = (chart(groups, measure) for chart in (after_stages, against_robot_steps, against_time))
    charts = "".join(figure_html(figure, note_below=True) for figure in drawn if figure)
    if not charts:
        return ""
    heading = escape(measure.short_title.capitalize())
    table = _table_of(groups, measure)
    return f'<h2>{heading}</h2><div class="grid two">{charts}</div>{table}'


def _table_of(groups: Sequence[RunGroup], measure: Measure) -> str:
    finals = {group: pooled_finals(group, measure) for group in groups}
    stages = [s for s in STAGES if any(p.stage == s for points in finals.values() for p in points)]
    rows: list[list[str]] = []
    for group, points in finals.items():
        by_stage = {point.stage: point for point in points}
        rows.append([_named(group), *(_cell(by_stage.get(stage)) for stage in stages)])
    table = table_html(["Group", *(STAGES[stage] for stage in stages)], rows)
    note = '<p class="note">95 % interval, then the number of seeds and of episodes.</p>'
    return details_html("As numbers", str(len(rows)), note + table)


def _cell(point: Pooled | None) -> str:
    if point is None:
        return "–"
    count = f"{len(point.each)} × {point.measured.num_episodes // len(point.each)}"
    text = f"{value_text(point.measured)} ({interval_text(point.measured)}), {count}"
    return escape(text)


def _named(group: RunGroup) -> str:
    return f'<b class="{group.css}">{escape(group.name)}</b>'


def _differences(groups: Sequence[RunGroup]) -> str:
    """The options in which groups differ, and no others."""
    if len(groups) == 1:
        return ""
    names = differing_options(groups)
    if not names:
        return ""
    cells = {name: side_by_side(values_of(groups, name)) for name in names}
    rows = [[escape(name), *map(escape, cells[name])] for name in names]
    table = table_html(["Option", *(group.name for group in groups)], rows)
    return f"<h2>What differs</h2>{table}"


def _runs(groups: Sequence[RunGroup], out: Path) -> str:
    """Every run with a link to its own report."""
    origins = any(run.history.origin for group in groups for run in group.runs)
    rows = [
        [_link(run, out), _named(group), escape(seed), *[_origin(run)] * origins, *_facts(run)]
        for group in groups
        for run, seed in zip(group.runs, group.seeds, strict=True)
    ]
    began = ["Started from"] * origins
    head = ["Report", "Group", "Seed", *began, "Robot steps", "Running time", "State"]
    return f"<h2>Runs</h2>{table_html(head, rows)}"


def _link(run: RunRecord, out: Path) -> str:
    report = run.path.resolve() / "report.html"
    way = os.path.relpath(report, out.resolve().parent)
    shown = os.path.relpath(run.path.resolve(), out.resolve().parent)
    return f'<a href="{escape(quote(way))}">{escape(shown)}</a>'


def _origin(run: RunRecord) -> str:
    """Whose networks a run began with."""
    origin = run.history.origin
    if origin is None:
        return "scratch"
    critic = ", critic too" * origin.critic
    return escape(f"{origin.given} ({origin.checkpoint}{critic})")


def _facts(run: RunRecord) -> list[str]:
    steps = int(run.rollouts.length.sum()) if run.rollouts else 0
    times = [float(series.time_s.max()) for series in run.metrics]
    missing = run.missing()
    state = f'<span class="no">incomplete: {escape(missing[0])}</span>' if missing else "complete"
    state += "; changed on the way" * bool(run.history.continuations)
    return [f"{steps:,}", duration(max(times)) if times else "–", state]


def _diagnostics(groups: Sequence[RunGroup]) -> str:
    """The diagnostics after each stage: mean of the seeds, and their range."""
    stages = [
        s
        for s in STAGES
        if any(d.label == s for g in groups for r in g.runs for d in r.diagnostics)
    ]
    rows = [
        [escape(title), _named(group), *(_spread(group, name, stage) for stage in stages)]
        for name, (title, _) in DIAGNOSTIC_NOTES.items()
        for group in groups
    ]
    if not stages:
        return ""
    table = table_html(["Diagnostic", "Group", *(STAGES[stage] for stage in stages)], rows)
    note = '<p class="note">Mean of the seeds, and the range from the lowest to the highest.</p>'
    return f"<h2>Diagnostics</h2>{note}{table}"


def _spread(group: RunGroup, name: str, stage: str) -> str:
    values = [
        d.numbers[name]
        for r in group.runs
        for d in r.diagnostics
        if d.label == stage and name in d.numbers
    ]
    if not values:
        return "–"
    text = number(mean(values))
    return text + f" ({number(min(values))} to {number(max(values))})" * (len(values) > 1)


def _curves(groups: Sequence[RunGroup]) -> str:
    figures = "".join(map(figure_html, metric_curves(groups)))
    if not figures:
        return ""
    note = "Horizontal: gradient updates, stages end to end. Line: mean of all seeds; band: range."
    return (
        f'<h2>Learning curves</h2><p class="note">{note}</p><br>'
        f'<div class="grid three">{figures}</div>'
    )
