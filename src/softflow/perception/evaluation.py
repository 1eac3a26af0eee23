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
from softflow.perception.pose.confidence import SURE, require_confidence
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
        confidence: how sure the pose is, 0 to 1; None if none was found.
        error_m, error_rad: how far it is off; infinite if none was found.
        time_s: from picture to pose.
        busy_s: of that, time of processors, all threads together.
    """

    index: int
    present: bool
    visible: int
    confidence: float | None
    error_m: float
    error_rad: float
    time_s: float
    busy_s: float

    @property
    def found(self) -> bool:
        """Whether a pose was found."""
        return self.confidence is not None

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
        found: share in which a pose was found, or was sure.
        median_mm, high_mm: of the distance; `high` is what 95 % stay below. Among all poses missed
            ones count as infinitely far, None says that so many are; among sure ones as nothing.
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
        sure: the same of the poses alone that are sure enough.
        min_confidence: how sure that is.
        false_alarms: share of pictures without a cube in which one was found; None without any.
        sure_alarms: share in which that was sure.
        hz: pictures a second, from picture to pose, by the median time.
        slow_hz: by the time that 95 % stay below.
        busy_ms: median time of processors for a picture, which other programs do not change much.
        judged: every picture.
    """

    lines: list[Line]
    sure: list[Line]
    min_confidence: float
    false_alarms: float | None
    sure_alarms: float | None
    hz: float
    slow_hz: float
    busy_ms: float
    judged: list[Judged]

    def to_json(self) -> dict[str, Any]:
        """All numbers but those of single pictures."""
        return {
            "lines": [asdict(line) for line in self.lines],
            "sure": [asdict(line) for line in self.sure],
            "min_confidence": self.min_confidence,
            "false_alarms": self.false_alarms,
            "sure_alarms": self.sure_alarms,
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
    detector: Detector,
    pictures: HeldOut,
    progress: ProgressReporter,
    count: int | None = None,
    min_confidence: float = SURE,
) -> Evaluation:
    """Judge the first `count` pictures, or all.

    Raises:
        ConfigError: `min_confidence` is no share, or the detector was trained on another cube.
    """
    require_confidence(min_confidence)
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
    return summarised(judged, min_confidence)


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
    sure = None if found is None else seen.confidence
    return Judged(index, labels.present, visible, sure, *off, *times)


def summarised(judged: list[Judged], min_confidence: float = SURE) -> Evaluation:
    """The tables of what was judged, at least one picture."""
    there = [one for one in judged if one.present]
    empty = [one for one in judged if not one.present]
    timed = judged[WARM_UP:] or judged
    times, busy = [one.time_s for one in timed], [one.busy_s for one in timed]
    rates = 1 / float(np.median(times)), 1 / float(np.quantile(times, 0.95))
    found, sure = ([_is_sure(one, least) for one in empty] for least in (0.0, min_confidence))
    return Evaluation(
        _lines(there, None),
        _lines(there, min_confidence),
        min_confidence,
        float(np.mean(found)) if empty else None,
        float(np.mean(sure)) if empty else None,
        *rates,
        1000 * float(np.median(busy)),
        judged,
    )


def _is_sure(one: Judged, least: float) -> bool:
    return one.confidence is not None and one.confidence >= least


def _lines(there: list[Judged], least: float | None) -> list[Line]:
    """A line for so many corners each, of pictures with a cube in them; None: of all poses."""
    lines = [_line(f"{LEAST_SEEN} or more", [j for j in there if j.visible >= LEAST_SEEN], least)]
    lines += [_line(f"{n}", [j for j in there if j.visible == n], least) for n in range(7, 2, -1)]
    return [*lines, _line("0 to 2", [j for j in there if j.visible < LEAST_SEEN], least)]


def _line(name: str, judged: Sequence[Judged], least: float | None) -> Line:
    sure = [one for one in judged if _is_sure(one, least or 0.0)]
    counted = judged if least is None else sure
    share = len(sure) / len(judged) if judged else 0.0
    if not counted:
        return Line(name, len(judged), share, None, None, None, None, 0.0)
    mm = np.array([1000 * one.error_m for one in counted])
    deg = np.rad2deg([one.error_rad for one in counted])
    flipped = np.mean([one.error_rad > FLIPPED_RAD for one in sure]) if sure else 0.0
    numbers = (_quantile(mm, 0.5), _quantile(mm, 0.95), _quantile(deg, 0.5), _quantile(deg, 0.95))
    return Line(name, len(judged), share, *numbers, float(flipped))


def _quantile(values: np.ndarray, share: float) -> float | None:
    """The smallest value that at least this share does not exceed; None if it is infinite."""
    value = float(np.sort(values)[int(np.ceil(share * len(values))) - 1])
    return value if np.isfinite(value) else None
