"""A film in, poses and the film with the cube drawn into it out: `softflow cube-pose run`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from softflow.perception.camera import Calibration
from softflow.perception.drawing import (
    GREEN,
    WHITE,
    YELLOW,
    draw_axes,
    draw_corners,
    draw_cube,
    draw_text,
)
from softflow.perception.frames import frames_of
from softflow.perception.geometry import Pose, quat_wxyz
from softflow.perception.tracker import CubeTracker, Tracked
from softflow.utils.files import write_bytes
from softflow.utils.progress import ProgressReporter
from softflow.utils.video import opened_video

PoseFormat = Literal["csv", "jsonl"]
_POSE = ("x_m", "y_m", "z_m", "qw", "qx", "qy", "qz")
COLUMNS = (
    *("time_s", "score", "error_px", "confidence"),
    *(f"seen_{name}" for name in _POSE),
    *(f"filtered_{name}" for name in _POSE),
    *("age_s", "accepted"),
)
"""Of poses.csv; what is not known is empty. Poses are the cube's in the camera's optical frame."""


@dataclass(frozen=True)
class RunSummary:
    """How it went.

    Attributes:
        pictures: how many there were.
        seen: in how many a pose was found, and was sure enough.
        known: after how many the filter knew one.
        poses, video: the files.
    """

    pictures: int
    seen: int
    known: int
    poses: Path
    video: Path


def run_on(
    path: Path,
    tracker: CubeTracker,
    out: Path,
    progress: ProgressReporter,
    pose_format: PoseFormat = "csv",
    fps: float | None = None,
) -> RunSummary:
    """Follow the cube through a film; both files are written whole when it ends.

    Args:
        path: a video file or a folder of pictures.
        tracker: fresh.
        out: folder for `poses.csv` (or `.jsonl`) and `poses.mp4`.
        progress: told of every picture.
        pose_format: of the poses.
        fps: pictures a second, for a folder.

    Raises:
        ConfigError, DataError: as `frames_of` and `CubeTracker.step`.
        StoreError: the system refuses to write.
    """
    film = frames_of(path, fps)
    rows: list[dict[str, Any]] = []
    believed = 0
    out.mkdir(parents=True, exist_ok=True)
    video = out / "poses.mp4"
    progress.begin("find the cube", film.count)
    with opened_video(video, film.fps) as write:
        for time_s, picture in film.frames:
            tracked = tracker.step(time_s, picture)
            rows.append(row_of(tracked))
            believed += tracked.believed
            assert tracker.camera is not None
            write(annotated(picture, tracked, tracker.camera, tracker.cube_side_m))
            if film.count:
                progress.advance(len(rows), _said(tracked))
    poses = out / f"poses.{pose_format}"
    write_bytes(poses, _encoded(rows, pose_format))
    known = sum(row["filtered_x_m"] is not None for row in rows)
    return RunSummary(len(rows), believed, known, poses, video)


def row_of(tracked: Tracked) -> dict[str, Any]:
    """One picture as a row: a value or None for each of `COLUMNS`."""
    seen, filtered = tracked.seen, tracked.filtered
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row["time_s"] = tracked.time_s
    if seen.detection is not None:
        row["score"] = seen.detection.score
    if seen.fit is not None and seen.pose is not None:
        row |= {"error_px": seen.fit.error_px, "confidence": seen.confidence}
        row |= _pose_columns("seen", seen.pose)
    if filtered is not None:
        row |= _pose_columns("filtered", filtered.pose)
        row["age_s"], row["accepted"] = filtered.age_s, filtered.accepted
    return row


def annotated(
    picture: np.ndarray, tracked: Tracked, camera: Calibration, side_m: float
) -> np.ndarray:
    """The picture with corners (yellow), the pose if it is sure (white), and filtered (green)."""
    shown = picture.copy()
    if tracked.seen.detection is not None:
        draw_corners(shown, tracked.seen.detection.corners, YELLOW)
    if tracked.believed and tracked.seen.pose is not None:
        draw_cube(shown, tracked.seen.pose, camera, side_m, WHITE)
    if tracked.filtered is not None:
        draw_cube(shown, tracked.filtered.pose, camera, side_m, GREEN)
        draw_axes(shown, tracked.filtered.pose, camera, side_m)
    draw_text(shown, [f"{tracked.time_s:.2f} s", _said(tracked)])
    return shown


def _said(tracked: Tracked) -> str:
    filtered = tracked.filtered
    if filtered is None:
        return "no cube"
    if filtered.accepted:
        return "seen"
    what = "not seen" if filtered.accepted is None else "not believed"
    return f"{what} for {filtered.age_s:.2f} s"


def _pose_columns(name: str, pose: Pose) -> Mapping[str, float]:
    numbers = (*pose.position_m, *quat_wxyz(pose.rotation))
    return {f"{name}_{part}": float(n) for part, n in zip(_POSE, numbers, strict=True)}


def _encoded(rows: list[dict[str, Any]], pose_format: PoseFormat) -> bytes:
    if pose_format == "jsonl":
        return "".join(json.dumps(row) + "\n" for row in rows).encode()
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    for row in rows:
        table.writerow({key: _cell(value) for key, value in row.items()})
    return text.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return f"{value:.6g}"
