"""The charts of a dataset's page; green is success, orange no success, blue all or unknown."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from softflow.curation.summary_statistics import component_names
from softflow.data.episode import ACTION_TOLERANCE
from softflow.data.files.episode_file import EpisodeSummary
from softflow.pages.data_page_record import OUTCOMES, DataRecord, Timeline, outcome_of
from softflow.pages.data_tables import success_by
from softflow.pages.html import number
from softflow.pages.run_charts import Figure, percent
from softflow.pages.svg import Chart, Frame, Scale, compact, scale_of
from softflow.utils.intervals import wilson_interval

_QUARTERS = (0.0, 0.25, 0.5, 0.75, 1.0)
_GROUPS_SHOWN = 10
_BARS, _CELLS, _TIME_BINS = 30, 44, 50
_DENSE_REWARDS = 0.2
_CUT_OFF = 3.0


def lengths(summaries: Sequence[EpisodeSummary], control_hz: float) -> Figure:
    """How long episodes are, successes below the others."""
    values = np.array([s.length for s in summaries])
    outcomes = np.array([outcome_of(s.success, s.metadata) for s in summaries])
    edges = _length_edges(values)
    counts = [np.histogram(values[outcomes == css], edges)[0] for css in OUTCOMES]
    top = int(sum(counts).max())  # type: ignore[union-attr]
    chart = Chart(Scale(edges[0], edges[-1]), Scale(0, 1.08 * top), Frame(500, 210, bottom=30))
    chart.axis_y([t for t in chart.y.ticks() if t == int(t)])
    chart.axis_x()
    base = np.zeros(len(edges) - 1)
    for css, count in zip(OUTCOMES, counts, strict=True):
        for left, right, low, high in zip(edges, edges[1:], base, base + count, strict=False):
            if high > low:
                text = f"{left:.0f}–{right:.0f} steps: {high - low:.0f} {OUTCOMES[css]}"
                chart.box(_inset(left, right), (low, high), css, title=text)
        base = base + count
    median = float(np.median(values))
    note = (
        f"Control steps at {control_hz:g} Hz; median {median:g} ({median / control_hz:.3g} s), "
        f"from {values.min()} to {values.max()}."
    )
    return Figure("Episode lengths", note, chart.svg(note))


def _length_edges(values: np.ndarray) -> np.ndarray:
    """Edges of bars of a whole number of control steps, that begin half a step below a length."""
    low, high = int(values.min()), int(values.max())
    width = max(1, -(-(high - low + 1) // _BARS))
    bars = max(8, -(-(high - low + 1) // width))
    return low - 0.5 + width * np.arange(bars + 1)


def _inset(left: float, right: float) -> tuple[float, float]:
    """A bar with a little air at its right."""
    return left, right - 0.08 * (right - left)


def success_by_group(summaries: Sequence[EpisodeSummary], key: str) -> Figure | None:
    """Success rate of each operator or source, if there are several: a dot with its interval."""
    groups = success_by(summaries, key)
    if len(groups) < 2:
        return None
    shown = groups[:_GROUPS_SHOWN]
    frame = Frame(500, 30 * len(shown) + 34, left=150, right=122, top=4, bottom=30)
    chart = Chart(Scale(0, 1), Scale(0, len(shown)), frame)
    chart.axis_x(_QUARTERS, lines=True, unit=percent)
    for row, (name, good, count) in enumerate(reversed(shown)):
        y, rate = row + 0.5, good / count
        low, high = wilson_interval(good, count)
        text = f"{name}: {good} of {count} succeed, {100 * low:.0f}–{100 * high:.0f} %"
        chart.label(0, y, _short(name), anchor="end", shift=(-12, 0))
        chart.interval((low, high), (y, y), "data")
        chart.dot(rate, y, "data", radius=5, title=text)
        chart.label(1, y, percent(rate), "strong", shift=(12, 0))
        chart.label(1, y, f"{good}/{count}", "quiet", shift=(64, 0))
    note = "Dot: success rate. Bar: 95 % Wilson interval."
    if len(groups) > len(shown):
        note += f" The {len(shown)} most frequent of {len(groups)}."
    return Figure(f"Success by {key}", note, chart.svg(note))


def _short(name: str, most: int = 20) -> str:
    """The end of a long name: paths differ there."""
    return name if len(name) <= most else f"…{name[1 - most :]}"


def rewards(record: DataRecord) -> Figure | None:
    """When rewards come: each of them where they are rare, their mean over time elsewhere."""
    if not record.reward_share:
        return None
    if record.reward_share > _DENSE_REWARDS:
        return _mean_rewards(record)
    return _reward_events(record.timelines, len(record.summaries), record.spec.control_hz)


def _reward_events(lines: Sequence[Timeline], num_episodes: int, control_hz: float) -> Figure:
    longest = max(line.length for line in lines) / control_hz
    size = float(np.clip(560 / len(lines), 4, 16))
    frame = Frame(1020, size * len(lines) + 48, left=48, top=6, bottom=42)
    chart = Chart(Scale(0, longest), Scale(0, len(lines)), frame)
    chart.axis_x(lines=True, unit=lambda v: f"{compact(v)} s")
    every = max(1, len(lines) // 12)
    for row, line in enumerate(lines):
        y = len(lines) - row - 0.5
        css = line.outcome
        end = line.length / control_hz
        chart.box((0, end), (y - 0.16, y + 0.16), css, opacity=0.3)
        if row % every == 0:
            chart.label(0, y, str(line.index), "tick quiet", anchor="end", shift=(-8, 0))
        for step, value in zip(line.steps.tolist(), line.values.tolist(), strict=True):
            text = f"episode {line.index}, step {step}: reward {value:.4g}"
            sign = "data" if value > 0 else "failure"
            chart.dot((step + 1) / control_hz, y, sign, radius=min(4, 0.32 * size), title=text)
    of = f" {len(lines)} of {num_episodes:,} episodes." if len(lines) < num_episodes else ""
    note = (
        "A line is an episode in the colour of its outcome. Dots: rewards, blue above and orange "
        f"below 0.{of}"
    )
    return Figure("Reward events", note, chart.svg(note))


def _mean_rewards(record: DataRecord) -> Figure:
    time_s, values, outcomes = record.rewards.T
    edges = np.linspace(0, float(time_s.max()), _TIME_BINS + 1)
    lines: dict[str, np.ndarray] = {}
    for code, css in enumerate(OUTCOMES):
        own = outcomes == code
        place = np.clip(np.digitize(time_s[own], edges) - 1, 0, _TIME_BINS - 1)
        bins = [i for i in range(_TIME_BINS) if np.any(place == i)]
        parts = [values[own][place == i] for i in bins]
        if parts:
            numbers = [[p.mean(), *np.quantile(p, (0.1, 0.9))] for p in parts]
            middles = [edges[i : i + 2].mean() for i in bins]
            lines[css] = np.column_stack([middles, numbers])
    seen = np.concatenate([line[:, 1:].ravel() for line in lines.values()])
    whole = Scale(0, float(time_s.max()))
    chart = Chart(whole, scale_of(seen), Frame(1020, 240, left=52, bottom=42))
    chart.axis_y()
    chart.axis_x(unit=lambda v: f"{compact(v)} s")
    for css, line in lines.items():
        x, mean, low, high = line.T.tolist()
        chart.band(x, low, high, css)
        chart.line(x, mean, css)
    note = (
        "Mean reward of a control step against the time in the episode, by outcome; band: 10 % to "
        "90 %."
    )
    return Figure("Rewards over time", note, chart.svg(note))


def action_histograms(record: DataRecord) -> list[Figure]:
    """The distribution of each action component between its bounds."""
    names = component_names(record.spec, "action")
    return [_action_histogram(record, i, name) for i, name in enumerate(names)]


def _action_histogram(record: DataRecord, component: int, name: str) -> Figure:
    values = record.actions[:, component].astype(np.float64)
    values = values[np.isfinite(values)]
    bound = record.spec.action_low[component], record.spec.action_high[component]
    low, high = min(bound[0], *values.min(initial=bound[0]).reshape(1)), bound[1]
    high = max(high, float(values.max(initial=high)))
    # Bounds far beyond what is ever used would squeeze everything into one bar.
    spread = float(np.ptp(values)) if len(values) else 0.0
    if 0 < spread < 0.05 * (high - low):
        low, high = float(values.min()) - spread, float(values.max()) + spread
    scale = Scale(low, high) if low < high else Scale(low - 0.5, high + 0.5)
    share = np.histogram(values, _BARS, (scale.low, scale.high))[0] / max(len(values), 1)
    ordered = np.sort(share)
    top = float(min(ordered[-1], max(_CUT_OFF * ordered[-4], 0.02))) or 1.0
    frame = Frame(240, 120, left=34, right=8, top=14, bottom=22)
    chart = Chart(scale, Scale(0, 1.05 * top), frame)
    chart.axis_y(chart.y.ticks(2), unit=percent)
    chart.axis_x(scale.ticks(3))
    edges = np.linspace(scale.low, scale.high, _BARS + 1)
    labelled = -_BARS
    for i, part in enumerate(share.tolist()):
        left, right = float(edges[i]), float(edges[i + 1])
        if part:
            text = f"{left:.3g} to {right:.3g}: {100 * part:.1f} %"
            chart.box(_inset(left, right), (0, min(part, 1.05 * top)), "data", title=text)
        if part > 1.05 * top and i - labelled > _BARS // 5:
            labelled = i
            anchor = "end" if left > (scale.low + scale.high) / 2 else "start"
            x = right if anchor == "end" else left
            chart.label(x, 1.05 * top, percent(part), "tick", anchor=anchor, shift=(0, -7))
    mean, std = (float(f"{v:.2g}") for v in (values.mean(), values.std()))
    note = f"mean {number(mean)}, std {number(std)}"
    at_bound = np.minimum(values - bound[0], bound[1] - values) <= ACTION_TOLERANCE
    if at_bound.mean() >= 0.01:
        note += f"; {percent(float(at_bound.mean()))} at a bound"
    title = name if record.spec.names.get("action") else f"action[{component}]"
    return Figure(title, note, chart.svg(f"{title}: {note}"))


def self_similarity(record: DataRecord) -> Figure:
    """Correlation of actions with later ones of the same episode."""
    correlation, hz = record.correlation, record.spec.control_hz
    lags = np.arange(len(correlation))
    finite = correlation[np.isfinite(correlation)]
    lowest = min(-0.1, float(finite.min(initial=0.0)) * 1.05)
    chart = Chart(Scale(0, len(lags) - 1), Scale(lowest, 1.03), Frame(500, 330, bottom=44))
    chart.axis_y()
    chart.axis_x([t for t in chart.x.ticks(6) if t == int(t)])
    middle = (len(lags) - 1) / 2
    chart.label(middle, lowest, "control steps later", "quiet", anchor="middle", shift=(0, 34))
    for column in correlation.T:
        known = np.isfinite(column)
        if known.any():
            chart.line(lags[known].tolist(), column[known].tolist(), "data thin")
    varying = np.isfinite(correlation[0])
    if not varying.any():
        return Figure("Chunk autocorrelation", "No action component varies.", chart.svg("empty"))
    rows = correlation[:, varying]
    known = np.isfinite(rows).any(axis=1)
    mean = np.nanmean(rows[known], axis=1)
    chart.line(lags[known].tolist(), mean.tolist(), "data")
    for lag in (1, 5, 10):
        if lag < len(mean):
            text = f"{lag} steps later: mean {mean[lag]:.3f}"
            chart.dot(lag, float(mean[lag]), "data", radius=4, title=text)
            chart.label(lag, float(mean[lag]), f"{mean[lag]:.2f}", "strong", shift=(8, -8))
    note = (
        f"How alike actions within a chunk are: thick the mean of the components, thin each. "
        f"{len(lags) - 1} control steps are {(len(lags) - 1) / hz:.3g} s."
    )
    return Figure("Chunk autocorrelation", note, chart.svg(note))


def similarity_map(record: DataRecord) -> Figure | None:
    """The same correlations component by component: which part of a chunk is smooth."""
    correlation = record.correlation
    lags, components = correlation.shape
    if components < 2 or not np.isfinite(correlation).any():
        return None
    names = component_names(record.spec, "action")
    row = float(np.clip(286 / components, 4.5, 34))
    frame = Frame(500, row * components + 54, left=136, bottom=44)
    chart = Chart(Scale(-0.5, lags - 0.5), Scale(0, components), frame)
    chart.axis_x([t for t in chart.x.ticks(6) if t == int(t)])
    middle = (lags - 1) / 2
    chart.label(middle, 0, "control steps later", "quiet", anchor="middle", shift=(0, 34))
    every = -(-components // 16)
    for i, name in enumerate(names):
        y = components - i - 1
        if i % every == 0:
            chart.label(-0.5, y + 0.5, _short(name, 19), "tick", anchor="end", shift=(-8, 0))
        for lag, value in enumerate(correlation[:, i].tolist()):
            if np.isfinite(value):
                text = f"{name}, {lag} steps later: {value:.2f}"
                css = "data" if value >= 0 else "failure"
                cell = (lag - 0.5, lag + 0.5), (y + 0.04, y + 0.96)
                chart.box(*cell, css, opacity=max(0.03, abs(value)), title=text)
    note = "Blue: alike; orange: opposite; faint: unrelated."
    return Figure("Chunk autocorrelation by component", note, chart.svg(note))


def coverage(record: DataRecord) -> list[Figure]:
    """Where states lie in the plane of their two principal components, by outcome."""
    found = principal_plane(record.states)
    if found is None:
        return []
    points, explained = found
    scales = [_bulk(points[:, axis]) for axis in (0, 1)]
    edges = [np.linspace(scale.low, scale.high, _CELLS + 1) for scale in scales]
    figures: list[Figure] = []
    for code, (css, called) in enumerate(OUTCOMES.items()):
        own = points[record.state_outcome == code]
        if len(own):
            density = np.histogram2d(own[:, 0], own[:, 1], edges)[0]
            chart = Chart(scales[0], scales[1], Frame(500, 330, left=12, bottom=44))
            chart.box((scales[0].low, scales[0].high), (scales[1].low, scales[1].high), "ground")
            _draw_density(chart, density, edges, css)
            for text, x, y, shift in (
                (f"first component, {percent(explained[0])} of the variance", 0.5, 0, (0, 20)),
                (f"second, {percent(explained[1])}", 0, 1, (8, 12)),
            ):
                place = [s.low + f * (s.high - s.low) for s, f in zip(scales, (x, y), strict=True)]
                anchor = "middle" if x else "start"
                chart.label(place[0], place[1], text, "quiet", anchor=anchor, shift=shift)
            title = f"States, {called}"
            note = f"{len(own):,} states on the principal components; stronger: more often."
            figures.append(Figure(title, note, chart.svg(f"{title}: {note}")))
    return figures


def principal_plane(states: np.ndarray) -> tuple[np.ndarray, tuple[float, float]] | None:
    """States projected on their first two principal components, and the variance each explains.

    Args:
        states: `[N, D]`; components are standardised, those that never change are left out.

    Returns:
        `[N, 2]` and two shares; None with fewer than 3 states, or if they lie on a line.
    """
    finite = states[:, np.isfinite(states).all(axis=0)].astype(np.float64)
    if len(finite) < 3:
        return None
    std = finite.std(axis=0)
    varying = std > 1e-9 * np.maximum(np.abs(finite).max(axis=0), 1e-9)
    if varying.sum() < 2:
        return None
    scaled = (finite[:, varying] - finite[:, varying].mean(axis=0)) / std[varying]
    _, singular, axes = np.linalg.svd(scaled, full_matrices=False)
    share = singular**2 / (singular**2).sum()
    if share[1] < 1e-6:
        return None
    # The sign of an axis is arbitrary: its largest entry points up.
    largest = np.abs(axes[:2]).argmax(axis=1)
    signs = np.sign(axes[np.arange(2), largest])
    return scaled @ (axes[:2] * signs[:, None]).T, (float(share[0]), float(share[1]))


def _bulk(values: np.ndarray) -> Scale:
    low, high = np.percentile(values, [0.25, 99.75])
    air = 0.04 * (high - low) or 1.0
    return Scale(float(low - air), float(high + air))


def _draw_density(chart: Chart, density: np.ndarray, edges: Sequence[np.ndarray], css: str) -> None:
    strongest = density.max() or 1.0
    for i, j in np.argwhere(density > 0).tolist():
        # The square root keeps what was visited once visible.
        opacity = 0.12 + 0.88 * float(np.sqrt(density[i, j] / strongest))
        x = float(edges[0][i]), float(edges[0][i + 1])
        y = float(edges[1][j]), float(edges[1][j + 1])
        chart.box(x, y, css, opacity=opacity)
