"""The part of the report that shows cameras: what they saw, and where networks looked."""

from __future__ import annotations

import base64
from html import escape

from softflow.pages.camera_record import CameraFilm, Look
from softflow.pages.evaluations.stages import STAGES
from softflow.pages.html import details_html, number, png_html
from softflow.pages.run_record import RunRecord

_LOOKS_NOTE = (
    "Above: what the camera saw early, halfway and late in a demonstration, the same at every "
    "stage. Below: the brighter a place, the more it changes the policy's chunks, or the critic's "
    "value of the demonstrated chunk, to hide that place behind the average picture of the data. "
    "All cameras of a network share one scale. Dark is what never changes in the data, and what "
    "moves the answer by far less than 0.1 % of its range. Nothing here says that it is right to "
    "look there."
)
_MOVED = {
    "policy": "hiding the brightest place moves the actions by {} of their range",
    "critic": "hiding the brightest place moves the value by {} of its range",
}


def looks_html(record: RunRecord) -> str:
    """Where networks looked, stage by stage; nothing for a run without cameras."""
    if not record.looks:
        return ""
    sheets = "".join(map(_look, record.looks))
    return (
        f'<h2>Where it looks</h2><p class="note lead">{escape(_LOOKS_NOTE)}</p>'
        f'<div class="cameras looks">{sheets}</div>'
    )


def _look(look: Look) -> str:
    stage = STAGES[look.stage]
    moved = _MOVED[look.network].format(f"{number(float(f'{100 * look.largest_change:.2g}'))} %")
    alt = f"{look.camera} after {stage}: frames, and where the {look.network} looks; {moved}"
    return (
        f'<figure class="{look.stage}">{png_html(look.path.read_bytes(), alt)}'
        f"<figcaption><b>{escape(stage)}</b> · {look.network} · {escape(look.camera)}<br>"
        f"{escape(moved)}</figcaption></figure>"
    )


def films_html(record: RunRecord) -> str:
    """What cameras saw, stage by stage, opened by a click; nothing for a run without cameras."""
    if not record.films:
        return ""
    judged = record.judges_success()
    shown = "".join(_film(film, judged) for film in record.films)
    which = "first successful and the first failed" if judged else "first"
    note = f"The {which} evaluation episode of each stage."
    films = f'<p class="note">{note}</p><div class="grid four">{shown}</div>'
    return details_html("What the cameras saw", f"{len(record.films)} films", films)


def _film(film: CameraFilm, judged: bool) -> str:
    stage, payload = STAGES[film.stage], base64.b64encode(film.path.read_bytes()).decode()
    word, mark = ("success", "✓") if film.success else ("failure", "✗")
    outcome = f"{mark} {word}, " if judged else ""
    seed = "" if film.seed is None else f" · seed {film.seed}"
    label = f"What {film.camera} saw after {stage}" + (f": {word}" if judged else "")
    return (
        f'<figure class="{film.stage}"><video src="data:video/mp4;base64,{payload}" controls muted '
        f'loop playsinline preload="metadata" aria-label="{escape(label)}"></video>'
        f"<figcaption><b>{escape(stage)}</b> · {escape(film.camera)}<br>"
        f'<span class="outcome">{outcome}{film.length:,} steps</span>{seed}</figcaption></figure>'
    )
