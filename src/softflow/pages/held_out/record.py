"""What a run folder says of held-out demonstrations: curve, best update, predicted chunks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from softflow.data.measures import MAX_NUMBER, Count
from softflow.errors import StoreError
from softflow.pages.run_files import read_all, read_own_object
from softflow.utils.documents import misfit
from softflow.utils.metrics import MetricSeries

PREFIX = "held_out/"
"""What the names of these metrics begin with."""
MAX_COMPONENTS = 256
MAX_STEPS = 10_000
_ERROR = re.compile(r"held_out/(median|p95)/([0-9]{1,3})")
Text = Annotated[str, msgspec.Meta(max_length=200)]
Value = Annotated[float, msgspec.Meta(ge=-MAX_NUMBER, le=MAX_NUMBER)]
Names = Annotated[tuple[Text, ...], msgspec.Meta(max_length=MAX_COMPONENTS)]
Row = Annotated[tuple[Value, ...], msgspec.Meta(min_length=1, max_length=MAX_COMPONENTS)]
Rows = Annotated[tuple[Row, ...], msgspec.Meta(min_length=1, max_length=MAX_STEPS)]


@dataclass(frozen=True)
class Line:
    """A number over the updates of imitation, both [N]."""

    update: np.ndarray
    value: np.ndarray

    def at(self, update: int | None) -> float | None:
        """The value after so many updates, if it was measured then."""
        found = self.value[self.update == update]
        return float(found[-1]) if found.size else None


@dataclass(frozen=True)
class Component:
    """Errors of one action component, in the data's units."""

    name: str
    median: Line
    most: Line


@dataclass(frozen=True)
class HeldOutCurve:
    """How imitation did on held-out demonstrations.

    `num_episodes` and `best_update` are None where held_out.json does not say; `best_checkpoint` is
    "" unless it is still there.
    """

    nats_per_dim: Line | None
    components: tuple[Component, ...]
    num_episodes: int | None
    candidates: int | None
    best_update: int | None
    best_checkpoint: str


@dataclass(frozen=True)
class Chunk:
    """Actions [H, A] that the policy predicted from step `start` on."""

    start: int
    actions: np.ndarray


@dataclass(frozen=True)
class Overlay:
    """One recorded episode [T, A] and the chunks predicted along it."""

    episode: int
    actions: np.ndarray
    chunks: tuple[Chunk, ...]


@dataclass(frozen=True)
class StageOverlays:
    """The overlays after one stage; `held_out`: of episodes that no stage learned from."""

    stage: str
    held_out: bool
    control_hz: float
    names: tuple[str, ...]
    episodes: tuple[Overlay, ...]


class _Best(msgspec.Struct):
    update_step: Count | None = None
    checkpoint: Text = ""


class _CurveDocument(msgspec.Struct):
    """held_out.json."""

    episodes: Annotated[tuple[Count, ...], msgspec.Meta(max_length=1_000_000)] = ()
    candidates: Count | None = None
    names: Names = ()
    best: _Best = msgspec.field(default_factory=_Best)


class _ChunkDocument(msgspec.Struct):
    start: Count
    actions: Rows


class _OverlayDocument(msgspec.Struct):
    episode: Count
    actions: Rows
    chunks: Annotated[tuple[_ChunkDocument, ...], msgspec.Meta(max_length=MAX_STEPS)]


class _OverlaysDocument(msgspec.Struct):
    """diagnostics/chunks/LABEL.json."""

    held_out: bool
    control_hz: Annotated[float, msgspec.Meta(gt=0, le=1e6)]
    episodes: Annotated[tuple[_OverlayDocument, ...], msgspec.Meta(max_length=8)]
    names: Names = ()


def read_curve(
    run: Path, metrics: Sequence[MetricSeries], problems: list[str]
) -> HeldOutCurve | None:
    """The curve of a run; None where nothing is held out. What is wrong is told in `problems`."""
    found = (series for series in metrics if series.name.startswith(PREFIX))
    lines = {series.name: Line(series.update_step, series.value) for series in found}
    if not lines:
        return None
    file = run / "held_out.json"
    value = read_own_object(file, problems)
    try:
        told = msgspec.convert(value, _CurveDocument)
    except msgspec.ValidationError as error:
        problems.append(f"'{file}' cannot be used: {misfit(error, value)}; remove it")
        told = _CurveDocument()
    name = told.best.checkpoint
    is_there = name in {path.parent.name for path in run.glob("checkpoints/[!.]*/MANIFEST.json")}
    return HeldOutCurve(
        nats_per_dim=lines.get("held_out/nats_per_dim"),
        components=_components(lines, told.names),
        num_episodes=len(told.episodes) or None,
        candidates=told.candidates,
        best_update=told.best.update_step,
        best_checkpoint=name if is_there else "",
    )


def _components(lines: dict[str, Line], names: Sequence[str]) -> tuple[Component, ...]:
    found: dict[int, dict[str, Line]] = {}
    for name, line in lines.items():
        if match := _ERROR.fullmatch(name):
            found.setdefault(int(match[2]), {})[match[1]] = line
    return tuple(
        Component(component_name(names, number), pair["median"], pair["p95"])
        for number, pair in sorted(found.items())[:MAX_COMPONENTS]
        if len(pair) == 2
    )


def component_name(names: Sequence[str], number: int) -> str:
    """What an action component is called."""
    return names[number] if number < len(names) else f"action[{number}]"


def read_overlays(run: Path, stages: Sequence[str], problems: list[str]) -> list[StageOverlays]:
    """Predicted chunks, stage by stage; what is wrong with a file is told in `problems`."""
    found = read_all(run / "diagnostics" / "chunks", partial(_overlays), problems)
    return [overlays for stage in stages for overlays in found if overlays.stage == stage]


def _overlays(label: str, value: dict[str, Any]) -> StageOverlays:
    told = msgspec.convert(value, _OverlaysDocument)
    episodes = tuple(_overlay(episode) for episode in told.episodes)
    return StageOverlays(label, told.held_out, told.control_hz, told.names, episodes)


def _overlay(told: _OverlayDocument) -> Overlay:
    """An episode whose rows all have as many components.

    Raises:
        StoreError: they have not.
    """
    rows = [told.actions, *(chunk.actions for chunk in told.chunks)]
    if len({len(row) for part in rows for row in part}) != 1:
        raise StoreError(f"the rows of episode {told.episode} are not of one length")
    chunks = (Chunk(chunk.start, np.asarray(chunk.actions)) for chunk in told.chunks)
    return Overlay(told.episode, np.asarray(told.actions), tuple(chunks))
