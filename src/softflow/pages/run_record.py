"""Reads a run folder for the report: complete, still running, or killed in the middle."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np

from softflow.data.measures import (
    MAX_NUMBER,
    Count,
)
from softflow.data.task_profile import Measure
from softflow.errors import StoreError
from softflow.pages.camera_record import CameraFilm, Look, read_films, read_looks
from softflow.pages.evaluations.record import Evaluation, evaluation_of
from softflow.pages.evaluations.stages import STAGES, known_stage, label_words, stage_of
from softflow.pages.held_out.record import (
    HeldOutCurve,
    StageOverlays,
    read_curve,
    read_overlays,
)
from softflow.pages.history.record import RunHistory, read_run_history
from softflow.pages.robot.rollouts import Rollouts, read_rollouts
from softflow.pages.run_files import is_own, read_all, read_own_object
from softflow.utils.documents import misfit
from softflow.utils.files import entries_of
from softflow.utils.metrics import MetricSeries, read_metrics

_Staged = TypeVar("_Staged", "Evaluation", "Video")


@dataclass(frozen=True)
class Diagnostics:
    """One `diagnostics/<label>.json`: its finite numbers, and its flat lists of numbers."""

    label: str
    stage: str
    numbers: dict[str, float]
    arrays: dict[str, np.ndarray]

    @property
    def title(self) -> str:
        """What people call these diagnostics."""
        return label_words(self.label)


@dataclass(frozen=True)
class Video:
    """One `videos/<label>.mp4`, with what `videos/<label>.json` says of that episode, if there."""

    label: str
    stage: str
    path: Path
    episode: dict[str, Any]


CHECKPOINT = "MANIFEST.json"
"""What tells a checkpoint, or its policy alone, from a run."""
PARTS = {"config.json", "metrics.csv", "run.lock", "checkpoints", "evaluations", "diagnostics"}
"""What tells a run folder from others: one of these is in it."""


@dataclass(frozen=True)
class RunRecord:
    """Everything a run folder holds that the report shows, in the order of the stages."""

    path: Path
    config: dict[str, Any]
    versions: dict[str, Any]
    metrics: list[MetricSeries]
    evaluations: list[Evaluation]
    diagnostics: list[Diagnostics]
    videos: list[Video]
    rollouts: Rollouts | None
    looks: list[Look] = field(default_factory=list)
    films: list[CameraFilm] = field(default_factory=list)
    history: RunHistory = field(default_factory=RunHistory)
    held_out: HeldOutCurve | None = None
    overlays: list[StageOverlays] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def final(self, stage: str) -> Evaluation | None:
        """The evaluation that ends a stage, or the latest one within it so far."""
        return _final(self.evaluations, stage)

    def shown_videos(self, stage: str) -> list[Video]:
        """The video that ends a stage, or the latest one so far, and one that ended otherwise."""
        last = _final(self.videos, stage)
        others = (f"{stage}.success", f"{stage}.failure")
        other = [video for video in self.videos if video.label in others and video is not last]
        return [last, *other] if last else []

    def measures(self) -> list[Measure]:
        """What this run's evaluations measure, the most important first; the newest one decides."""
        found = {m.measure.name: m.measure for e in reversed(self.evaluations) for m in e.measures}
        return list(found.values())

    def judges_success(self) -> bool:
        """Whether success is among what this task measures; of a count it says nothing."""
        rates = any(measure.kind == "success_rate" for measure in self.measures())
        return rates or not self.evaluations

    def planned_stages(self) -> list[str]:
        """The stages this run was asked for (`stages` in its configuration; else all four)."""
        planned = find_key(self.config, "stages")
        if not isinstance(planned, list):
            return list(STAGES)
        return [stage for stage in STAGES if stage in planned]

    def stages_had(self) -> set[str]:
        """The stages that have begun, and those that the last command asked for."""
        begun = {item.stage for item in (*self.metrics, *self.evaluations)}
        return begun | set(self.planned_stages())

    def measures_success(self) -> bool:
        """Whether episodes are run to evaluate this run; not so on data without an environment."""
        return self.config.get("eval_episodes") != 0

    def missing(self) -> list[str]:
        """What a complete run would hold and this one does not (yet), in words."""
        measured = self.measures_success()
        done = {item.label for item in (self.evaluations if measured else self.diagnostics)}
        stages = [STAGES[stage] for stage in self.planned_stages() if stage not in done]
        parts = {
            "configuration": self.config,
            "versions": self.versions,
            "metrics": self.metrics,
            "diagnostics": self.diagnostics,
        }
        absent = [name for name, part in parts.items() if not part]
        if measured and not self.videos:
            absent.append("videos")
        lacking: list[str] = []
        if stages:
            lacking.append(f"Not {'evaluated' if measured else 'ended'}: {', '.join(stages)}.")
        if absent:
            lacking.append(f"Not in the run folder: {', '.join(absent)}.")
        return lacking + self.problems


def read_run(run_dir: str | Path) -> RunRecord:
    """Read a run folder; damaged files are named in `problems` instead of stopping the report.

    Raises:
        StoreError: if there is no such folder, or it holds something else than a run.
    """
    path = Path(run_dir)
    if not path.is_dir():
        raise StoreError(
            f"no run folder at {path}; give the folder that `softflow train` or `softflow demo` "
            "printed (it holds config.json and metrics.csv)"
        )
    names = {entry.name for entry in entries_of(path)}
    if CHECKPOINT in names:
        raise StoreError(
            f"{path} is a checkpoint, or the policy of one; give the run that it is of, the folder "
            "that holds checkpoints/"
        )
    if names and not names & PARTS:
        raise StoreError(
            f"{path} holds no run, but other files ({', '.join(sorted(names)[:3])}); give the "
            "folder that `softflow train` or `softflow demo` printed"
        )
    problems: list[str] = []
    evaluations = read_all(path / "evaluations", evaluation_of, problems)
    steps = {e.label: (e.online_episodes, e.robot_steps, e.update_step) for e in evaluations}
    films = [f for f in sorted((path / "videos").glob("*.mp4")) if is_own(f, problems)]
    videos = [_video(file, problems) for file in films]
    metrics = _read_metrics(path, problems)
    return RunRecord(
        path=path,
        config=read_own_object(path / "config.json", problems),
        versions=read_own_object(path / "versions.json", problems),
        metrics=metrics,
        evaluations=sorted(evaluations, key=lambda e: _order(e, steps)),
        diagnostics=sorted(
            read_all(path / "diagnostics", _diagnostics, problems), key=lambda d: _order(d, steps)
        ),
        videos=sorted(videos, key=lambda v: _order(v, steps)),
        rollouts=read_rollouts(path / "online", problems),
        looks=read_looks(path, tuple(STAGES), problems),
        films=read_films(path, tuple(STAGES), problems),
        history=read_run_history(path, problems),
        held_out=read_curve(path, metrics, problems),
        overlays=read_overlays(path, tuple(STAGES), problems),
        problems=list(dict.fromkeys(problems)),
    )


def find_key(tree: Any, key: str) -> Any:
    """The value of the first `key` in nested dictionaries (shallow ones first), or None."""
    level = [tree]
    while level:
        for node in level:
            if isinstance(node, dict) and key in node:
                return node[key]
        level = [child for node in level if isinstance(node, dict) for child in node.values()]
    return None


def _final(items: list[_Staged], stage: str) -> _Staged | None:
    of_stage = [item for item in items if item.stage == stage]
    return of_stage[-1] if of_stage else None


def _order(
    item: Evaluation | Diagnostics | Video, steps: dict[str, tuple[int, int, int]]
) -> tuple[Any, ...]:
    position = list(STAGES).index(item.stage) if item.stage in STAGES else len(STAGES)
    is_final = item.label == item.stage
    return position, is_final, steps.get(item.label, (0, 0, 0)), item.label


def _read_metrics(path: Path, problems: list[str]) -> list[MetricSeries]:
    try:
        return read_metrics(path)
    except StoreError as error:
        problems.append(str(error))
        return []


class _VideoDocument(msgspec.Struct):
    """videos/LABEL.json."""

    success: bool | None = None
    seed: int | None = None
    length: Count | None = None
    events: tuple[tuple[int, str], ...] | None = None


def _diagnostics(label: str, value: dict[str, Any]) -> Diagnostics:
    numbers: dict[str, float] = {}
    arrays: dict[str, np.ndarray] = {}
    for name, entry in value.items():
        if name == "update_step":
            continue
        if _is_number(entry):
            numbers[name] = float(entry)
        elif isinstance(entry, list) and all(map(_is_number, entry)):
            arrays[name] = np.asarray(entry, float)
    return Diagnostics(label, known_stage(str(value.get("stage")), label), numbers, arrays)


def _is_number(value: Any) -> bool:
    """Whether a page can draw it."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= MAX_NUMBER


def _video(path: Path, problems: list[str]) -> Video:
    file = path.with_suffix(".json")
    value = read_own_object(file, problems)
    try:
        msgspec.convert(value, _VideoDocument)
    except msgspec.ValidationError as error:
        problems.append(f"'{file}' cannot be used: {misfit(error, value)}; remove it")
        value = {}
    return Video(path.stem, stage_of(path.stem), path, value)
