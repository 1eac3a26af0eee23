"""The evaluation as one HTML page, with pictures of what fails and of what does not."""

from __future__ import annotations

from html import escape
from pathlib import Path

import numpy as np

from softflow.pages.html import picture_html, table_html, write_html
from softflow.perception.detectors.checkpoints import Detector
from softflow.perception.drawing import RED, WHITE, draw_corners, draw_cube
from softflow.perception.evaluation import Evaluation, HeldOut, Judged, Line
from softflow.perception.packages import load_cv2
from softflow.perception.tracker import see

HEAD = ("corners seen", "pictures", "found", "median", "95 %", "median", "95 %", "flipped")
SURE_HEAD = ("corners seen", "pictures", "sure", *HEAD[3:])
SHOWN = 12
TILE = 240
"""Side of a shown cut-out, pixels."""
ROOM = 1.8
"""What is shown of a picture around the cube, in sizes of the cube."""


def rows_of(lines: list[Line]) -> list[list[str]]:
    """The table's cells, as plain text."""
    return [
        [
            line.name,
            f"{line.pictures:,}",
            f"{line.found:.1%}" if line.pictures else "–",
            _number(line.median_mm, "mm"),
            _number(line.high_mm, "mm"),
            _number(line.median_deg, "°"),
            _number(line.high_deg, "°"),
            f"{line.flipped:.1%}" if line.pictures else "–",
        ]
        for line in lines
    ]


def _cells(lines: list[Line]) -> list[list[str]]:
    return [[escape(cell) for cell in row] for row in rows_of(lines)]


def _number(value: float | None, unit: str) -> str:
    return "–" if value is None else f"{value:.1f} {unit}"


def write_page(
    path: Path, evaluation: Evaluation, detector: Detector, pictures: HeldOut, title: str
) -> None:
    """Write the page.

    Raises:
        StoreError: it cannot be written.
    """
    failed = sorted((j for j in evaluation.judged if j.failed), key=lambda j: -_badness(j))
    fine = [j for j in evaluation.judged if j.present and not j.failed]
    alarms = evaluation.false_alarms
    said = "no pictures without a cube" if alarms is None else f"{alarms:.1%} false alarms"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="headline">{_headline(evaluation.lines[0])}</p>',
        f'<p class="under">{evaluation.hz:.0f} pictures a second (95 % of them within '
        f"{1000 / evaluation.slow_hz:.0f} ms, {evaluation.busy_ms:.0f} ms of processor time each); "
        f"{said}; {len(failed)} failures.</p>",
        "<h2>Poses that are sure</h2>",
        f'<p class="note">{_sure_headline(evaluation)}</p>',
        table_html(SURE_HEAD, _cells(evaluation.sure)),
        "<h2>All poses, by what is seen</h2>",
        table_html(HEAD, _cells(evaluation.lines)),
        "<h2>What fails</h2>",
        f'<p class="note">The {min(SHOWN, len(failed))} worst: white is where the cube is, red '
        "where it was taken to be; dots are corners as detected.</p>",
        _tiles(failed[:SHOWN], detector, pictures),
        "<h2>What does not</h2>",
        _tiles(fine[:SHOWN], detector, pictures),
    ]
    write_html(path, title, "\n".join(body))


def picture_of(judged: Judged, detector: Detector, pictures: HeldOut) -> np.ndarray:
    """A cut-out around the cube with where it is and where it was found, uint8 [TILE, TILE, 3]."""
    render = pictures[judged.index]
    cv2, picture, labels = load_cv2(), render.picture.copy(), render.labels
    seen = see(detector, render.camera, picture)
    scale = 3
    shown = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    camera = render.camera.resized(shown.shape[1], shown.shape[0])
    if labels.present:
        draw_cube(shown, labels.pose, camera, detector.cube.side_m, WHITE)
    if seen.pose is not None:
        draw_cube(shown, seen.pose, camera, detector.cube.side_m, RED)
    if seen.detection is not None:
        draw_corners(shown, (seen.detection.corners + 0.5) * scale - 0.5, RED)
    low, high = labels.box[:2] * scale, labels.box[2:] * scale
    half = max(int(ROOM * max(*(high - low), 60) / 2), 1)
    x, y = np.clip((low + high) / 2, half, None).astype(int)
    cut = shown[y - half : y + half, x - half : x + half]
    return cv2.resize(cut, (TILE, TILE), interpolation=cv2.INTER_AREA)


def _headline(line: Line) -> str:
    if not line.pictures:
        return "No picture shows three corners or more."
    return (
        f"With three corners or more in sight, the median pose is off by "
        f"{_number(line.median_mm, 'mm')} and {_number(line.median_deg, '°')}; 95 % are within "
        f"{_number(line.high_mm, 'mm')} and {_number(line.high_deg, '°')}."
    )


def _sure_headline(evaluation: Evaluation) -> str:
    line, alarms = evaluation.sure[0], evaluation.sure_alarms
    empty = "" if alarms is None else f" Without a cube, {alarms:.1%} give one."
    return (
        "What <code>run</code> and the ROS 2 node go by. Of the pictures with three corners or "
        f"more in sight {line.found:.0%} give a pose that is at least "
        f"{evaluation.min_confidence:g} sure (--min-confidence); 95 % of these are "
        f"within {_number(line.high_mm, 'mm')} and "
        f"{_number(line.high_deg, '°')}.{empty}"
    )


def _badness(judged: Judged) -> float:
    return judged.error_rad if np.isfinite(judged.error_rad) else 10.0


def _tiles(judged: list[Judged], detector: Detector, pictures: HeldOut) -> str:
    figures = []
    for one in judged:
        said = "not found"
        if one.found:
            said = f"{1000 * one.error_m:.1f} mm, {np.rad2deg(one.error_rad):.1f}°"
            said += f", {one.confidence:.0%} sure"
        said = f"#{one.index}: {one.visible} corners seen, {said}"
        image = picture_html(picture_of(one, detector, pictures), said)
        figures.append(f"<figure>{image}<figcaption>{escape(said)}</figcaption></figure>")
    return f'<div class="grid four">{"".join(figures)}</div>'
