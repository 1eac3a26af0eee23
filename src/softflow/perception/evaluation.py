"""How far poses are off on held-out renders, by how much of the cube is seen, and how fast it goes.

Each picture is judged by itself, without the filter: `softflow cube-pose evaluate`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from softflow.errors import ConfigError
from softflow.perception.detectors.augmentation import occluded
from softflow.perception.detectors.checkpoints import Detector
from softflow.perception.geometry import Pose, pose_errors
from softflow.perception.renders import Render, Renders
from softflow.perception.tracker import Seen, see
from softflow.utils.progress import ProgressReporter

FAR_M, FAR_RAD = 0.010, np.deg2rad(15.0)
"""A pose further off than either has failed."""
LEAST_SEEN = 3
"""Corners that must be seen for the numbers that count."""
FLIPPED_RAD = np.deg2rad(45.0)
"""Further off than this, a face was taken for another."""
WARM_UP = 3
"""Pictures whose time is not counted."""


@dataclass(frozen=True)
class Judged:
    """One picture, and what was made of it.

    Attributes:
        index: of the picture in its folder.
        present: whether the cube is in it.
        visible: corners that are seen.
        found: whether a pose was found.
        error_m, error_rad: how far it is off; infinite if none was found.
        time_s: from picture to pose.
        busy_s: of that, time of processors, all threads together.
    """

    index: int
    present: bool
    visible: int
    found: bool
    error_m: float
    error_rad: float
    time_s: float
    busy_s: float

    @property
    def failed(self) -> bool:
        """Whether a cube of which enough is seen was not found where it is."""
        enough = self.present and self.visible >= LEAST_SEEN
        return enough and (self.error_m > FAR_M or self.error_rad > FAR_RAD)


@dataclass(frozen=True)
class Line:
    """Errors of the pictures in which so many corners are seen.

    Attributes:
        name: which pictures.
        pictures: how many.
        found: share in which a pose was found.
        median_mm, high_mm: of the distance; `high` is what 95 % stay below, missed ones counted
            as infinitely far, None where that is not known.
        median_deg, high_deg: of the rotation.
        flipped: share of poses that are off by more than 45 degrees.
    """

    name: str
    pictures: int
    found: float
    median_mm: float | None
    high_mm: float | None
    median_deg: float | None
    high_deg: float | None
    flipped: float


@dataclass(frozen=True)
class Evaluation:
    """What `softflow cube-pose evaluate` says.

    Attributes:
        lines: by visible corners; the first is of all pictures with three or more.
        false_alarms: share of pictures without a cube in which one was found; None without any.
        hz: pictures a second, from picture to pose, by the median time.
        slow_hz: by the time that 95 % stay below.
        busy_ms: median time of processors for a picture, which other programs do not change much.
        judged: every picture.
    """

    lines: list[Line]
    false_alarms: float | None
    hz: float
    slow_hz: float
    busy_ms: float
    judged: list[Judged]

    def to_json(self) -> dict[str, Any]:
        """All numbers but those of single pictures."""
        return {
            "lines": [asdict(line) for line in self.lines],
            "false_alarms": self.false_alarms,
            "hz": self.hz,
            "slow_hz": self.slow_hz,
            "busy_ms": self.busy_ms,
        }


class HeldOut:
    """Held-out pictures, some of them with more put before the cube than the hand.

    Args:
        renders: of another seed than the detector learned from.
        occlusion: share of pictures in which rods and patches are put before the cube.

    Raises:
        ConfigError: the share is none.
    """

    def __init__(self, renders: Renders, occlusion: float) -> None:
        if not 0 <= occlusion <= 1:
            raise ConfigError(f"--occlusion is {occlusion}; give 0 to 1")
        self.renders, self.occlusion = renders, occlusion

    def __len__(self) -> int:
        return len(self.renders)

    def __getitem__(self, index: int) -> Render:
        """The same picture every time."""
        render, rng = self.renders[index], np.random.default_rng([7, index])
        return occluded(render, rng) if rng.random() < self.occlusion else render


def evaluate(
    detector: Detector, pictures: HeldOut, progress: ProgressReporter, count: int | None = None
) -> Evaluation:
    """Judge the first `count` pictures, or all.

    Raises:
        ConfigError: the detector was trained on another cube.
    """
    if detector.cube != pictures.renders.record.cube:
        raise ConfigError(
            f"the detector was trained on {detector.cube}, the renders show "
            f"{pictures.renders.record.cube}; give renders of the same cube"
        )
    total = min(count or len(pictures), len(pictures))
    progress.begin("evaluate", total)
    judged = []
    for index in range(total):
        judged.append(judge(detector, pictures[index], index))
        progress.advance(index + 1)
    return summarised(judged)


def judge(detector: Detector, render: Render, index: int) -> Judged:
    """One picture by itself."""
    started_s, busy_s = time.perf_counter(), time.process_time()
    seen = see(detector, render.camera, render.picture)
    times = time.perf_counter() - started_s, time.process_time() - busy_s
    return compared(seen, render, index, times)


def compared(seen: Seen, render: Render, index: int, times: tuple[float, float]) -> Judged:
    """What a picture says against what is true."""
    labels, found = render.labels, seen.pose
    off = (float("inf"), float("inf"))
    if labels.present and isinstance(found, Pose):
        off = pose_errors(found, labels.pose)
    visible = int(labels.visible.sum())
    return Judged(index, labels.present, visible, found is not None, *off, *times)


def summarised(judged: list[Judged]) -> Evaluation:
    """The table of what was judged, at least one picture."""
    there = [one for one in judged if one.present]
    lines = [_line(f"{LEAST_SEEN} or more", [j for j in there if j.visible >= LEAST_SEEN])]
    lines += [_line(f"{n}", [j for j in there if j.visible == n]) for n in range(7, 2, -1)]
    lines.append(_line("0 to 2", [j for j in there if j.visible < LEAST_SEEN]))
    empty = [one.found for one in judged if not one.present]
    timed = judged[WARM_UP:] or judged
    times, busy = [one.time_s for one in timed], [one.busy_s for one in timed]
    alarms = float(np.mean(empty)) if empty else None
    rates = 1 / float(np.median(times)), 1 / float(np.quantile(times, 0.95))
    return Evaluation(lines, alarms, *rates, 1000 * float(np.median(busy)), judged)


def _line(name: str, judged: Sequence[Judged]) -> Line:
    if not judged:
        return Line(name, 0, 0.0, None, None, None, None, 0.0)
    mm = np.array([1000 * one.error_m for one in judged])
    deg = np.rad2deg([one.error_rad for one in judged])
    found = np.array([one.found for one in judged])
    flipped = float((deg[found] > np.rad2deg(FLIPPED_RAD)).mean()) if found.any() else 0.0
    numbers = (_quantile(mm, 0.5), _quantile(mm, 0.95), _quantile(deg, 0.5), _quantile(deg, 0.95))
    return Line(name, len(judged), float(found.mean()), *numbers, flipped)


def _quantile(values: np.ndarray, share: float) -> float | None:
    """The smallest value that at least this share does not exceed; None if it is infinite."""
    value = float(np.sort(values)[int(np.ceil(share * len(values))) - 1])
    return value if np.isfinite(value) else None
