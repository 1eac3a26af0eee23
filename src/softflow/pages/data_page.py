"""One self-contained HTML page per dataset: plots of its episodes, actions, states and cameras.

The page makes no request and is bounded in size: of very many episodes it shows a fixed sample, and
says so.
"""

from __future__ import annotations

import time
from html import escape
from pathlib import Path

from softflow.curation.summary_statistics import KeyStatistics
from softflow.data.episode_store import EpisodeStore
from softflow.data.labels import outcome_known
from softflow.errors import DataError
from softflow.pages.data_charts import (
    action_histograms,
    coverage,
    lengths,
    rewards,
    self_similarity,
    similarity_map,
    success_by_group,
)
from softflow.pages.data_page_record import OUTCOMES, DataRecord, Thumbnails, gather, outcome_of
from softflow.pages.data_tables import observed, taken_text
from softflow.pages.html import (
    details_html,
    duration,
    figure_html,
    number,
    picture_html,
    table_html,
    write_html,
)
from softflow.pages.robot.loops import loops_of
from softflow.pages.robot.section import robot_html
from softflow.pages.run_charts import Figure, percent
from softflow.utils.intervals import wilson_interval
from softflow.utils.progress import ProgressReporter

_HISTOGRAMS_SHOWN = 16


def write_page(
    store: EpisodeStore,
    out: Path,
    lags: int,
    progress: ProgressReporter,
    network_section: str = "",
) -> Path:
    """Write the page of a store and return its path.

    Args:
        store: where the episodes are.
        out: the HTML file.
        lags: control steps over which actions are compared with later ones, 1 to 1000.
        progress: told about each episode read.
        network_section: what the networks of a preset see, from `network_views.section_of`.

    Raises:
        DataError: the store is empty, or `lags` is out of range.
        StoreError: an episode cannot be read, or the page not written.
    """
    require_episodes_to_plot(store)
    if not 1 <= lags <= 1000:
        raise DataError(f"lags is {lags}; give 1 to 1000 control steps")
    record = gather(store, lags, progress)
    sections = (
        _header(record),
        _episodes(record),
        robot_html(loops_of(record.summaries)),
        _actions(record),
        _states(record),
        _cameras(record),
        network_section,
        _numbers(record),
    )
    body = "\n".join(filter(None, sections))
    write_html(out, f"{record.path.resolve().name} · softflow data", body)
    return out


def require_episodes_to_plot(store: EpisodeStore) -> None:
    """Raise DataError if there is nothing to plot."""
    if not len(store):
        raise DataError(f"'{store.path}' holds no episodes to plot")


def _header(record: DataRecord) -> str:
    summaries, spec = record.summaries, record.spec
    count = len(summaries)
    known, taken = observed(summaries), taken_text(summaries)
    good = sum(s.success for s in known)
    seconds = sum(s.length for s in summaries) / spec.control_hz
    headline = "1 episode" if count == 1 else f"{count:,} episodes"
    headline += f", {duration(seconds)} of data"
    if known:
        low, high = wilson_interval(good, len(known))
        headline += f'; <b class="success">{percent(good / len(known))}</b> succeed.'
        under = f"{good:,} of {len(known):,}, 95 % interval {100 * low:.0f}–{percent(high)}."
    else:
        headline, under = f"{headline}.", "Nobody has said how they went (softflow data relabel)."
    if taken:
        under = f"{under} {taken}." if known else f"{taken}: nobody said how each one went."
    unknown = sum(not outcome_known(s.metadata) for s in summaries)
    if 0 < unknown < count:
        under += f" {unknown:,} are not labelled."
    if record.num_read < count:
        under += (
            f" Actions, states and rewards are of {record.num_read:,} episodes, a fixed sample; "
            "lengths and success are of all."
        )
    labelled = sum("annotator" in s.metadata for s in summaries)
    facts = {
        "Environment": spec.env_id or "unknown",
        "Control steps": f"{sum(s.length for s in summaries):,} at {spec.control_hz:g} Hz",
        "Action components": f"{spec.action_dim}",
        "State components": f"{record.states.shape[1]}",
        "Cameras": f"{len(spec.image_keys)}",
        "Labelled afterwards": f"{labelled:,}",
        "Page written": time.strftime("%Y-%m-%d %H:%M"),
    }
    cells = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in facts.items()
    )
    return (
        f'<header><h1>{escape(record.path.resolve().name)}</h1><p class="headline">{headline}</p>'
        f'<p class="under">{escape(under)}</p><dl class="facts">{cells}</dl></header>'
    )


def _grid(columns: str, figures: list[Figure], *, note_below: bool = True) -> str:
    parts = "".join(figure_html(figure, note_below=note_below) for figure in figures)
    return f'<div class="grid {columns}">{parts}</div>'


def _legend(record: DataRecord) -> str:
    """The outcomes that there are, with their colours."""
    there = {outcome_of(s.success, s.metadata) for s in record.summaries}
    spans = (f'<span class="{css}">{name}</span>' for css, name in OUTCOMES.items() if css in there)
    return f'<div class="legend">{"".join(spans)}</div>'


def _episodes(record: DataRecord) -> str:
    groups = [success_by_group(record.summaries, key) for key in ("operator", "source")]
    figures = [lengths(record.summaries, record.spec.control_hz), *filter(None, groups)]
    events = rewards(record)
    if events:
        below = f'<div style="margin-top: 44px">{figure_html(events, note_below=True)}</div>'
    else:
        below = '<p class="note" style="margin-top: 30px">No reward was recorded.</p>'
    return f"<h2>Episodes</h2>{_legend(record)}{_grid('two', figures)}{below}"


def _actions(record: DataRecord) -> str:
    figures = action_histograms(record)
    shown, rest = figures[:_HISTOGRAMS_SHOWN], figures[_HISTOGRAMS_SHOWN:]
    more = details_html("More components", str(len(rest)), _grid("four", rest)) if rest else ""
    note = (
        f'<p class="note lead">Shares of {len(record.actions):,} control '
        "steps between the bounds; a bar that is cut off has its share above it.</p>"
    )
    similarity = [f for f in (self_similarity(record), similarity_map(record)) if f]
    below = f'<div style="margin-top: 48px">{_grid("two", similarity)}</div>'
    return f"<h2>Actions</h2>{note}{_grid('four', shown)}{more}{below}"


def _states(record: DataRecord) -> str:
    figures = coverage(record)
    return f"<h2>Coverage</h2>{_legend(record)}{_grid('two', figures)}" if figures else ""


def _cameras(record: DataRecord) -> str:
    if not record.thumbnails:
        return ""
    parts = "".join(
        _strip(thumbnails, key, many=len(thumbnails.frames) > 1)
        for thumbnails in record.thumbnails
        for key in thumbnails.frames
    )
    shown, of = len(record.thumbnails[0].frames), len(record.spec.image_keys)
    which = f" The first {shown} of {of} cameras." if shown < of else ""
    note = (
        '<p class="note lead">First, middle and last frame of '
        f"{len(record.thumbnails)} of {len(record.summaries):,} episodes.{which}</p>"
    )
    return f'<h2>Cameras</h2>{note}<div class="cameras">{parts}</div>'


def _strip(thumbnails: Thumbnails, key: str, *, many: bool) -> str:
    """Three frames of a camera in an episode."""
    camera = f" · {key.rpartition('.')[2]}" if many else ""
    css, outcome = thumbnails.outcome, OUTCOMES[thumbnails.outcome]
    images = "".join(
        picture_html(frame, f"episode {thumbnails.index}, observation {step}")
        for frame, step in zip(thumbnails.frames[key], thumbnails.steps, strict=True)
    )
    return (
        f'<figure class="{css}"><figcaption><b>Episode {thumbnails.index}{escape(camera)}</b> '
        f"{outcome}, {thumbnails.steps[-1]:,} steps</figcaption>"
        f'<div class="frames">{images}</div></figure>'
    )


def _numbers(record: DataRecord) -> str:
    tables = "".join(_key_table(key) for key in record.statistics)
    return f"<h2>Numbers</h2>{tables}"


def _key_table(key: KeyStatistics) -> str:
    head = ["Component", "Min", "1 %", "25 %", "Median", "75 %", "99 %", "Max", "Mean", "Std"]
    columns = (key.low, *key.quantiles, key.high, key.mean, key.std)
    rows = [
        [escape(name), *(number(float(column[i])) for column in columns)]
        for i, name in enumerate(key.names)
    ]
    sampled = "" if key.exact_quantiles else ", quantiles of a fixed sample"
    return details_html(key.key, f"{key.count:,} rows{sampled}", table_html(head, rows))
