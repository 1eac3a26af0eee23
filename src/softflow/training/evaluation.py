"""What a task measures, with intervals: many episodes in parallel, every one of them kept.

The episodes go into a store of their own as they finish, so an interrupted evaluation continues,
and a number can always be traced to the episodes behind it. Which numbers, the environment's
profile says; a task that declares nothing has its success rate.
"""

from __future__ import annotations

import shutil
import time
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.data.measures import (
    EVENTS_KEY,
    EpisodeFacts,
    Measured,
    measure_episodes,
    measures_of,
    parts,
)
from softflow.data.task_profile import Measure
from softflow.models.action_selection import SelectionConfig
from softflow.models.checkpoint import weights_identity
from softflow.training.rollouts import RolloutPool, RolloutTask
from softflow.utils.files import read_json, write_json
from softflow.utils.intervals import wilson_interval
from softflow.utils.progress import ProgressReporter


@dataclass(frozen=True)
class EpisodeOutcome:
    """One evaluation episode: what it depended on and how it ended.

    Args:
        seed: of the episode; success: whether it succeeded; length: control steps.
        return_: undiscounted sum of rewards.
        events: how often each event happened; None where the task declares none.
    """

    seed: int
    success: bool
    length: int
    return_: float
    events: Mapping[str, int] | None = None

    def to_json(self) -> dict[str, Any]:
        """The form on disk."""
        value = {"seed": self.seed, "success": self.success, "length": self.length}
        counted = {} if self.events is None else {"events": dict(self.events)}
        return value | {"return": self.return_} | counted


@dataclass(frozen=True)
class EvaluationResult:
    """What was measured of a policy, and its episodes (see evaluations/LABEL.json).

    The success rate and its Wilson interval are there for every task; `measures` is what the task
    declares, the most important first.
    """

    label: str
    stage: str
    policy_version: str
    update_step: int
    online_episodes: int
    robot_steps: int
    rule: str
    num_candidates: int
    success_rate: float
    interval_low: float
    interval_high: float
    wall_time_s: float
    episodes: tuple[EpisodeOutcome, ...]
    measures: tuple[Measured, ...]

    def to_json(self) -> dict[str, Any]:
        """The form on disk."""
        return asdict(self) | {
            "num_episodes": len(self.episodes),
            "episodes": [episode.to_json() for episode in self.episodes],
            "measures": [measured.to_json() for measured in self.measures],
        }


def reported(path: Path) -> tuple[dict[str, float], str]:
    """What a run reports of evaluations/LABEL.json: rows of metrics.csv, and a few words."""
    measures = measures_of(read_json(path))
    rows = {name: number for found in measures for name, number in found.metrics().items()}
    return rows, _short(measures[0])


def _short(measured: Measured) -> str:
    measure = measured.measure
    name = "success" if measure.kind == "success_rate" else measure.title
    return f"{name} {_number(measured.value)}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def episode_seed(seed: int, purpose: str, index: int) -> int:
    """Seed of an episode: a pure function of the run's seed, the purpose and its number."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), index])
    return int(sequence.generate_state(1)[0])


def run_into_store(
    pool: RolloutPool,
    store: EpisodeStore,
    tasks: Sequence[RolloutTask],
    title: str,
    progress: ProgressReporter,
) -> None:
    """Run the tasks whose seed has no episode yet and append each episode as it comes."""
    profile = pool.environment_profile(tasks[0].env_id, tasks[0].image_size)
    summaries = store.summaries()
    facts = [EpisodeFacts.of(summary) for summary in summaries]
    played = {summary.metadata["seed"] for summary in summaries}
    progress.begin(title, len(tasks), len(facts))
    for result in pool.run([task for task in tasks if task.seed not in played]):
        store.append(result.episode)
        facts.append(EpisodeFacts.of(result.episode))
        progress.advance(len(facts), _so_far(profile.measures[0], facts, store.spec.control_hz))


def _so_far(measure: Measure, facts: Sequence[EpisodeFacts], control_hz: float) -> str:
    """A measure of the episodes that are finished: success 3/5, turns per minute 1.25."""
    above, below = (float(part.sum()) for part in parts(measure, facts, control_hz))
    if measure.is_rate:
        name = "success" if measure.kind == "success_rate" else measure.title
        return f"{name} {above:.0f}/{below:.0f}"
    return f"{measure.title} {_number(above / below if below > 0 else None)}"


def evaluate(
    pool: RolloutPool,
    folder: Path,
    *,
    label: str,
    stage: str,
    checkpoint: Path,
    selection: SelectionConfig,
    spec: DataSpec,
    num_episodes: int,
    seed: int,
    update_step: int,
    online_episodes: int,
    robot_steps: int,
    progress: ProgressReporter,
) -> EvaluationResult:
    """Measure a checkpoint over `num_episodes` episodes and write `folder/label.json`.

    The seeds depend on `seed` alone, so every stage of a run meets the same initial states.
    """
    start_s = time.monotonic()
    identity = weights_identity(checkpoint)
    _forget_other_policies(folder / label, identity)
    facts = {
        "source": "evaluation",
        "label": label,
        "policy_version": checkpoint.resolve().name,
        "policy_sha256": identity,
    }
    tasks = [
        RolloutTask(
            str(checkpoint.resolve()),
            selection,
            spec.env_id,
            episode_seed(seed, "evaluation", index),
            facts,
            spec.image_size,
        )
        for index in range(num_episodes)
    ]
    with EpisodeStore.open_or_create(folder / label, spec) as store:
        run_into_store(pool, store, tasks, f"evaluate {label}", progress)
        played = _played(store, [task.seed for task in tasks])
    profile = pool.environment_profile(spec.env_id, spec.image_size)
    successes = sum(episode.success for episode, _ in played)
    interval = wilson_interval(successes, num_episodes)
    result = EvaluationResult(
        label,
        stage,
        facts["policy_version"],
        update_step,
        online_episodes,
        robot_steps,
        selection.rule,
        selection.num_candidates,
        successes / num_episodes,
        interval.low,
        interval.high,
        time.monotonic() - start_s,
        tuple(outcome for _, outcome in played),
        measure_episodes(profile, [episode for episode, _ in played], spec.control_hz),
    )
    write_json(folder / f"{label}.json", result.to_json())
    for line in _lines(label, result.measures):
        progress.say(line)
    return result


def _played(store: EpisodeStore, seeds: Sequence[int]) -> list[tuple[EpisodeFacts, EpisodeOutcome]]:
    """What happened in the episodes of these seeds, in their order."""
    found: dict[int, tuple[EpisodeFacts, EpisodeOutcome]] = {}
    for index in range(len(store)):
        episode = store.episode(index, with_images=False)
        outcome = _outcome(episode)
        found[outcome.seed] = EpisodeFacts.of(episode), outcome
    return [found[seed] for seed in seeds]


def _lines(label: str, measures: Sequence[Measured]) -> list[str]:
    """What the console says of an evaluation, a line for each measure."""
    lines = []
    for found in measures:
        text = _short(found)
        if found.measure.is_rate and found.value is not None:
            share = f"{round(found.value * found.num_episodes)}/{found.num_episodes}"
            text = text.replace(f" {found.value:.2f}", f" {share} = {found.value:.2f}")
        unit = f" {found.measure.unit}" * (found.value is not None and bool(found.measure.unit))
        interval = f"95 % interval {_number(found.low)}-{_number(found.high)}"
        lines.append(f"[bold]{label}[/]: {text}{unit} ({interval})")
    return lines


def _forget_other_policies(path: Path, identity: str) -> None:
    """Episodes kept under this label are continued only if the very same weights played them."""
    if (path / "store.json").exists():
        summaries = EpisodeStore.open(path).summaries()
        if any(summary.metadata.get("policy_sha256") != identity for summary in summaries):
            shutil.rmtree(path)


def _outcome(episode: Episode) -> EpisodeOutcome:
    happened = EpisodeFacts.of(episode).events
    return EpisodeOutcome(
        int(episode.metadata["seed"]),
        bool(episode.success),
        episode.length,
        float(episode.rewards.sum()),
        dict(Counter(happened)) if EVENTS_KEY in episode.metadata else None,
    )
