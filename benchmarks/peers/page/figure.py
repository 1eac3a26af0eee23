"""The figure of docs/results.md: success against episodes, robot steps and CPU time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from benchmarks.peers.page.estimates import Estimate
from benchmarks.peers.page.summary import Runs, counts_of, order_of, tasks_of
from benchmarks.peers.rows import Row
from softflow.utils.files import written_whole

INK, MUTED, RULE = "#1d2024", "#5d646d", "#e6e8eb"
WARM = ("#d55e00", "#cc79a7", "#e69f00", "#8c510a")
COOL = ("#0072b2", "#009e73", "#332288", "#4d4d4d", "#56b4e9", "#661100")
"""Okabe and Ito's colours, which colour-blind people tell apart; softflow's are warm."""
MARKERS = "osD^vp<>"
"""For prints without colours."""
PANEL, GAP, LABELS = (2.5, 1.85), 0.45, 1.3
"""Inches: width and height of a panel, between panels, and for the names beside the first."""
LEFT, RIGHT, TOP, BOTTOM = 0.45, 0.15, 0.5, 0.5
LABEL_DISTANCE = 0.085
"""Of two names, as a share of a panel's height."""


@dataclass(frozen=True)
class Across:
    """A horizontal axis: its words, its value in a row, and whether it is logarithmic."""

    words: str
    value: Callable[[Row], float]
    log: bool = False


ACROSS = (
    Across("online episodes", lambda row: row.online_episodes),
    Across("robot steps, thousands", lambda row: row.robot_steps / 1e3),
    Across("CPU time, minutes", lambda row: row.cpu_s / 60, log=True),
)
LEAST_MINUTES = 0.5
"""Of CPU time that is shown: what has not learned yet has no place on a logarithmic axis."""


@dataclass(frozen=True)
class Style:
    """How a method is drawn wherever it is."""

    colour: str
    marker: str
    width: float


def draw(runs: Sequence[Runs], out: Path, source: str) -> None:
    """Draw a row of panels a task; the same rows give the same bytes.

    Args:
        runs: what is shown, at least one.
        out: the PNG file.
        source: kept in the file, to tell of which rows it is.
    """
    tasks = tasks_of(runs)
    styles = _styles({one.name for one in runs})
    row_height = TOP + PANEL[1] + BOTTOM
    width = LEFT + 3 * PANEL[0] + LABELS + 2 * GAP + RIGHT
    height = row_height * len(tasks)
    own = {"font.size": 8.5, "text.color": INK, "axes.labelcolor": MUTED}
    with style.context(["default", own]):
        figure = Figure(figsize=(width, height), dpi=160)
        for line, (task, methods) in enumerate(tasks.items()):
            bottom = height - (line + 1) * row_height + BOTTOM
            for column, across in enumerate(ACROSS):
                left = LEFT + column * (PANEL[0] + GAP) + LABELS * (column > 0)
                box = (left / width, bottom / height, PANEL[0] / width, PANEL[1] / height)
                axes = figure.add_axes(box)
                _panel(axes, across, methods, styles)
                if column == 0:
                    _title(axes, task, methods)
                    _names(axes, methods, styles)
        out.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(out) as path:
            figure.savefig(path, format="png", metadata={"Software": None, "Source": source})


def _styles(names: set[str]) -> dict[str, Style]:
    """A colour and a marker a method, softflow's before the others'."""
    found: dict[str, Style] = {}
    used = {True: 0, False: 0}
    for index, name in enumerate(sorted(names, key=order_of)):
        ours = name.startswith("softflow")
        colours = WARM if ours else COOL
        colour = colours[used[ours] % len(colours)]
        found[name] = Style(colour, MARKERS[index % len(MARKERS)], 2.0 if ours else 1.4)
        used[ours] += 1
    return found


def _panel(
    axes: Axes, across: Across, methods: Sequence[Runs], styles: Mapping[str, Style]
) -> None:
    for runs in reversed(methods):
        _curve(axes, *_points(runs, across), styles[runs.name])
    axes.set(ylim=(0, 1), yticks=[0, 0.25, 0.5, 0.75, 1], xlabel=across.words)
    axes.set_yticklabels(["0", "", "50 %", "", "100 %"])
    _axis(axes, across, counts_of(methods))
    axes.grid(color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(MUTED)
    axes.tick_params(length=0, colors=MUTED)


def _curve(axes: Axes, x: list[float], estimates: list[Estimate], look: Style) -> None:
    """A method's line, and its intervals as a band."""
    low = [estimate.interval.low for estimate in estimates]
    high = [estimate.interval.high for estimate in estimates]
    axes.fill_between(x, low, high, color=look.colour, alpha=0.13, linewidth=0)
    axes.plot(
        x,
        [estimate.rate for estimate in estimates],
        color=look.colour,
        linewidth=look.width,
        marker=look.marker,
        markersize=4.5,
        markeredgecolor="white",
        markeredgewidth=0.6,
        clip_on=False,
    )


def _points(runs: Runs, across: Across) -> tuple[list[float], list[Estimate]]:
    found = [
        (x, success)
        for count in runs.counts
        if (success := runs.success(count)) and (x := runs.mean(count, across.value)) is not None
    ]
    shown = [(x, success) for x, success in found if not across.log or x >= LEAST_MINUTES]
    return [x for x, _ in shown], [success for _, success in shown]


def _axis(axes: Axes, across: Across, counts: Sequence[int]) -> None:
    if across.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        return
    axes.set_xlim(left=0)
    if across is ACROSS[0]:
        axes.set_xlim(0, counts[-1])
        axes.set_xticks(counts)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))


def _title(axes: Axes, task: str, methods: Sequence[Runs]) -> None:
    seeds = sorted({len(one.seeds) for one in methods})
    several = f"{seeds[0]}–{seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
    plural = "s" * (seeds[-1] > 1)
    left = axes.annotate(
        task,
        (0, 1),
        (-22, 14),
        textcoords="offset points",
        xycoords="axes fraction",
        weight="bold",
        va="baseline",
    )
    axes.annotate(
        f"success, {several} seed{plural} a method, 95 % intervals",
        (1, 0),
        (6, 0),
        xycoords=left,
        textcoords="offset points",
        color=MUTED,
        va="bottom",
    )


def _names(axes: Axes, methods: Sequence[Runs], styles: Mapping[str, Style]) -> None:
    """Names beside the ends of the lines, far enough apart to be read."""
    last = counts_of(methods)[-1]
    ends = [
        (runs.name, runs.counts[-1], estimate.rate)
        for runs in methods
        if (estimate := runs.success(runs.counts[-1]))
    ]
    places = apart([rate for _, _, rate in ends], LABEL_DISTANCE)
    for (name, count, rate), place in zip(ends, places, strict=True):
        axes.annotate(
            name,
            (count / last, rate),
            (1.1, place),
            xycoords="axes fraction",
            textcoords="axes fraction",
            color=_darker(styles[name].colour),
            va="center",
            weight="bold" if name.startswith("softflow") else "normal",
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),
                "color": styles[name].colour,
                "linewidth": 0.6,
                "alpha": 0.6,
                "shrinkA": 1,
                "shrinkB": 5,
            },
        )


def _darker(colour: str) -> tuple[float, ...]:
    """Dark enough for words on white."""
    return tuple(0.75 * part for part in to_rgb(colour))


def apart(places: Sequence[float], distance: float) -> list[float]:
    """Heights close to these, in their order, none nearer than `distance` to the next one.

    Those that would overlap share a stretch around their mean, which ends at 1 at the highest.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    groups: list[list[int]] = []
    for index in order:
        groups.append([index])
        while len(groups) > 1 and _overlap(groups[-2], groups[-1], places, distance):
            groups[-2:] = [groups[-2] + groups[-1]]
    found = [0.0] * len(places)
    for group in groups:
        start = _start(group, places, distance)
        for position, index in enumerate(group):
            found[index] = start + position * distance
    return found


def _start(group: Sequence[int], places: Sequence[float], distance: float) -> float:
    """Of the lowest of a group whose members are as close as they may be."""
    middle = sum(places[index] for index in group) / len(group)
    length = (len(group) - 1) * distance
    return min(middle - length / 2, 1 - length)


def _overlap(
    lower: Sequence[int], upper: Sequence[int], places: Sequence[float], distance: float
) -> bool:
    end = _start(lower, places, distance) + (len(lower) - 1) * distance
    return _start(upper, places, distance) - end < distance - 1e-12
