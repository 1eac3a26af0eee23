"""The section on held-out demonstrations, as HTML."""

from __future__ import annotations

from html import escape

from softflow.pages.evaluations.stages import STAGES
from softflow.pages.held_out.charts import error_figure, likelihood_figure, overlay_figures
from softflow.pages.held_out.record import HeldOutCurve, StageOverlays
from softflow.pages.html import details_html, figure_html
from softflow.pages.run_charts import Figure
from softflow.pages.run_record import RunRecord

_SHOWN = 12
"""Components that are seen without a click."""


def held_out_html(record: RunRecord) -> str:
    """How the policy does on recorded episodes; nothing for a run that does not say."""
    curve = _curve_html(record.held_out) if record.held_out else ""
    return curve + "".join(
        _overlays_html(overlays, is_last=overlays is record.overlays[-1])
        for overlays in reversed(record.overlays)
    )


def _curve_html(curve: HeldOutCurve) -> str:
    figures = [likelihood_figure(curve), *(error_figure(curve, c) for c in curve.components)]
    drawn = [figure for figure in figures if figure]
    on = f"{curve.num_episodes} demonstrations" if curve.num_episodes else "demonstrations"
    note = (
        f"Imitation on {on} that no stage learns from, over gradient updates. Errors are |a − â| "
        "in the data's own units, â of the likeliest"
        f"{f' of {curve.candidates}' if curve.candidates else ''} sampled chunks: line: median, "
        "thin: 95 % quantile, green dot: the best update."
    )
    if curve.best_checkpoint:
        note += f" Its checkpoint is kept: checkpoints/{curve.best_checkpoint}."
    note += " A likelier chunk is no promise of more success: that takes a robot or a simulator."
    return (
        f'<h2>On held-out demonstrations</h2><p class="note lead">{escape(note)}</p>'
        f"{_multiples(drawn, 'More components')}"
    )


def _overlays_html(overlays: StageOverlays, *, is_last: bool) -> str:
    """One stage; all but the last one open by a click."""
    stage = STAGES[overlays.stage]
    which = "held out" if overlays.held_out else "learned from: none is held out"
    parts = "".join(
        f'<h3 class="episode">Episode {episode.episode}, {which}</h3>'
        + _multiples(overlay_figures(overlays, episode), "More components")
        for episode in overlays.episodes
    )
    if not is_last:
        return details_html(f"Predicted chunks after {stage}", "", parts)
    note = (
        "Broad line: the recorded actions. Thin: chunks that the policy predicts, the likeliest of "
        "a sample, each from what was observed where its dot is; it never meets its own mistakes."
    )
    return f'<h2>Predicted chunks after {escape(stage)}</h2><p class="note lead">{note}</p>{parts}'


def _multiples(figures: list[Figure], more: str) -> str:
    shown, rest = figures[:_SHOWN], figures[_SHOWN:]
    grid = f'<div class="grid three">{"".join(map(figure_html, shown))}</div>'
    if rest:
        hidden = f'<div class="grid three">{"".join(map(figure_html, rest))}</div>'
        grid += details_html(more, str(len(rest)), hidden)
    return grid
