"""Reads what an evaluation measured: `evaluations/LABEL.json` of a run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec

from softflow.data.measures import Count, Measured, Number, measures_of
from softflow.pages.evaluations.stages import known_stage, label_words
from softflow.utils.intervals import wilson_interval

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


@dataclass(frozen=True)
class EpisodeResult:
    """One evaluation episode; `events`: how often each happened, None where none are declared."""

    seed: int
    success: bool
    length: int
    return_: float
    events: dict[str, int] | None = None


@dataclass(frozen=True)
class Evaluation:
    """One `evaluations/<label>.json`: rates and interval ends lie within [0, 1].

    `measures` is what its task declares, the most important first; of an older file, or a task that
    declares nothing, the success rate. `rule` is "value", "likelihood", or "" where nobody says.
    """

    label: str
    stage: str
    update_step: int
    online_episodes: int
    robot_steps: int
    num_episodes: int
    success_rate: float
    interval_low: float
    interval_high: float
    wall_time_s: float
    episodes: tuple[EpisodeResult, ...]
    measures: tuple[Measured, ...]
    rule: str = ""
    num_candidates: int | None = None
    sampling_std: float | None = None

    @property
    def title(self) -> str:
        """What people call this evaluation."""
        return label_words(self.label)

    @property
    def chosen_by(self) -> str:
        """How a chunk was chosen, in words: critic, of 32, std 0.7."""
        parts = [{"value": "critic", "": "–"}.get(self.rule, self.rule)]
        parts += [f"of {self.num_candidates}"] if self.num_candidates is not None else []
        parts += [f"std {self.sampling_std:g}"] if self.sampling_std is not None else []
        return ", ".join(parts)

    def measured(self, name: str) -> Measured | None:
        """The measure of that name, if this evaluation has it."""
        return next((found for found in self.measures if found.measure.name == name), None)


class _EpisodeDocument(msgspec.Struct, rename={"return_": "return"}):
    seed: int
    success: bool
    length: Count
    return_: float = math.nan
    events: dict[str, Count] | None = None


class _EvaluationDocument(msgspec.Struct):
    """evaluations/LABEL.json, as far as the report shows it; measures are checked by themselves."""

    success_rate: Share
    episodes: tuple[_EpisodeDocument, ...] = ()
    num_episodes: Count | None = None
    interval_low: Share | None = None
    interval_high: Share | None = None
    stage: str = ""
    update_step: Count = 0
    online_episodes: Count = 0
    robot_steps: Count = 0
    wall_time_s: Number = 0.0
    rule: str = ""
    num_candidates: Count | None = None
    sampling_std: Number | None = None


def evaluation_of(label: str, value: dict[str, Any]) -> Evaluation:
    """An evaluation from its JSON.

    Raises:
        msgspec.ValidationError, DataError: it is damaged.
    """
    told = msgspec.convert(value, _EvaluationDocument)
    count = len(told.episodes) if told.num_episodes is None else told.num_episodes
    interval = wilson_interval(round(told.success_rate * count), count)
    low = interval.low if told.interval_low is None else told.interval_low
    high = interval.high if told.interval_high is None else told.interval_high
    known = {"interval_low": low, "interval_high": high, "num_episodes": count}
    return Evaluation(
        label=label,
        stage=known_stage(told.stage, label),
        update_step=told.update_step,
        online_episodes=told.online_episodes,
        robot_steps=told.robot_steps,
        num_episodes=count,
        success_rate=told.success_rate,
        interval_low=low,
        interval_high=high,
        wall_time_s=told.wall_time_s,
        episodes=tuple(
            EpisodeResult(e.seed, e.success, e.length, e.return_, e.events) for e in told.episodes
        ),
        measures=measures_of(value | known),
        rule=told.rule,
        num_candidates=told.num_candidates,
        sampling_std=told.sampling_std,
    )
