"""The part of a page that says how well a robot's loop kept time, and who acted."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from softflow.pages.html import details_html, figure_html, table_html
from softflow.pages.robot.loops import TIMES, Loops, Times
from softflow.pages.run_charts import Figure, percent
from softflow.pages.svg import Chart, Frame, Scale, compact
from softflow.utils.intervals import wilson_interval

_ROWS_SHOWN, _LETTERS = 60, 120


def robot_html(loops: Loops | None) -> str:
    """What a robot's episodes say of their loop; nothing where none says anything."""
    if loops is None:
        return ""
    note = f'<p class="note lead">{escape(_in_words(loops))}</p>'
    figures = [_histogram(name, loops.times[name]) for name in TIMES if name in loops.times]
    charts = "".join(figure_html(figure, note_below=True) for figure in figures)
    grid = f'<div class="grid three">{charts}</div>' if charts else ""
    return f"<h2>On the robot</h2>{note}{grid}{_numbers(loops)}{_versions(loops)}"


def _in_words(loops: Loops) -> str:
    """The most important numbers as sentences."""
    words = (
        f"{_episodes(loops.episodes)}, {loops.steps:,} control steps: {loops.missed_ticks:,} ticks "
        f"missed, {loops.held_steps:,} steps without a decision. "
    )
    if loops.person_steps:
        where = f"{loops.person_steps:,} steps of {_episodes(loops.person_episodes)}"
        words += f"A person took over {where}. "
    done = _listed(loops.interventions)
    words += (
        f"The safety layer intervened: {done}." if done else "The safety layer never intervened."
    )
    if loops.unreadable:
        says = "says of its" if loops.unreadable == 1 else "say of their"
        words += f" What {_episodes(loops.unreadable)} {says} loop cannot be read."
    return words


def _episodes(number: int) -> str:
    return "1 episode" if number == 1 else f"{number:,} episodes"


def _listed(counts: Mapping[str, int]) -> str:
    """Names and how often: clipped 3, held 1."""
    return ", ".join(f"{name[:_LETTERS]} {number:,}" for name, number in counts.items() if number)


def _histogram(name: str, times: Times) -> Figure:
    """Durations in their bins, from the first that holds one to the last."""
    title, what = TIMES[name]
    used = times.counts.nonzero()[0]
    first, last = (int(used[0]), int(used[-1])) if len(used) else (0, 0)
    shares = times.counts / max(times.number, 1)
    chart = Chart(
        Scale(first, last + 1), Scale(0, 1.08 * max(float(shares.max()), 1e-9)), Frame(330, 170)
    )
    chart.axis_y(unit=percent)
    edges = [0.0, *times.edges_ms.tolist()]
    every = max(1, (last + 1 - first) // 6)
    places = [place for place in range(first, last + 2, every) if place < len(edges)]
    chart.axis_x(places, unit=lambda place: compact(edges[round(place)]))
    for place in range(first, last + 1):
        if share := float(shares[place]):
            ends = f"above {edges[place]:g}"
            if place + 1 < len(edges):
                ends = f"{edges[place]:g} to {edges[place + 1]:g}"
            text = f"{ends} ms: {times.counts[place]:,}"
            chart.box((place + 0.06, place + 0.94), (0, share), "online_rl", title=text)
    mean = times.sum_ms / max(times.number, 1)
    note = f"ms {what}. Mean {mean:.3g}, at most {times.max_ms:.4g}; {times.number:,} of them."
    return Figure(title, note, chart.svg(f"{title}: {note}"))


def _numbers(loops: Loops) -> str:
    """Every count."""
    rows = [
        ["Ticks missed", f"{loops.missed_ticks:,}"],
        ["Steps without a decision", f"{loops.held_steps:,}"],
        ["Actions skipped, as their steps had gone by", f"{loops.skipped_actions:,}"],
        ["Steps that a person commanded", f"{loops.person_steps:,}"],
    ]
    for what, counts in (
        ("Decisions", loops.decisions),
        ("Interventions", loops.interventions),
        ("Steps,", loops.reasons),
    ):
        most = counts.most_common(_ROWS_SHOWN)
        rows += [[escape(f"{what} {name[:_LETTERS]}"), f"{number:,}"] for name, number in most]
    return details_html("Counts", f"{len(rows)}", table_html(["What", "Number"], rows))


def _versions(loops: Loops) -> str:
    """Which policies acted, and how they did."""
    rows: list[list[str]] = []
    for name, version in list(loops.versions.items())[:_ROWS_SHOWN]:
        rate = "–"
        if version.judged:
            low, high = wilson_interval(version.successes, version.judged)
            share = percent(version.successes / version.judged)
            rate = f"{share} ({100 * low:.0f}–{percent(high)})"
        row = [name, f"{version.episodes:,}", f"{version.successes:,} of {version.judged:,}", rate]
        rows.append([escape(cell) for cell in row])
    head = ["Policy", "Episodes", "Succeeded", "95 % interval"]
    return details_html("Policies that acted", f"{len(loops.versions)}", table_html(head, rows))
