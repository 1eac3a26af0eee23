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

from softflow.control.latency import NO_LATENCY, Latency
from softflow.data.action_space import goes_on_as
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
from softflow.data.task_profile import Measure, TaskProfile
from softflow.errors import DataError, StoreError
from softflow.models.action_selection import SelectionConfig
from softflow.models.checkpoint import weights_identity
from softflow.training.planned_work import EVALUATE
from softflow.training.rollouts import RolloutPool, RolloutTask
from softflow.utils.files import is_there, read_object, write_json
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
    declares, the most important first; `rule`, `num_candidates` and `sampling_std` how chunks were
    chosen (std of the latents); `latency_ms` the delay of decisions it was measured with,
    and `stops_to_think` whether the robot stood still meanwhile.
    """

    label: str
    stage: str
    policy_version: str
    update_step: int
    online_episodes: int
    robot_steps: int
    rule: str
    num_candidates: int
    sampling_std: float
    success_rate: float
    interval_low: float
    interval_high: float
    wall_time_s: float
    episodes: tuple[EpisodeOutcome, ...]
    measures: tuple[Measured, ...]
    latency_ms: tuple[float, float] = (0.0, 0.0)
    stops_to_think: bool = False

    def to_json(self) -> dict[str, Any]:
        """The form on disk."""
        return asdict(self) | {
            "num_episodes": len(self.episodes),
            "episodes": [episode.to_json() for episode in self.episodes],
            "measures": [measured.to_json() for measured in self.measures],
        }


@dataclass(frozen=True)
class EvaluationPlan:
    """What is measured, and what the result shall say of it.

    Attributes:
        label: name of the result; stage: after which the policy stands.
        checkpoint: the policy; selection: how it chooses.
        spec: what the episodes hold, and in which environment.
        num_episodes: how many.
        seed: the episodes' seeds depend on it alone, so every stage meets the same initial states.
        update_step, online_episodes, robot_steps: how far the run had come.
        device: where the policy decides.
        latency: after which decisions arrive.
    """

    label: str
    stage: str
    checkpoint: Path
    selection: SelectionConfig
    spec: DataSpec
    num_episodes: int
    seed: int
    update_step: int
    online_episodes: int
    robot_steps: int
    device: str = "cpu"
    latency: Latency = NO_LATENCY

    @property
    def policy_version(self) -> str:
        """Name of the checkpoint, also where a link such as `last` leads to it."""
        return self.checkpoint.resolve().name


def reported(path: Path) -> tuple[dict[str, float], str]:
    """What a run reports of evaluations/LABEL.json: rows of metrics.csv, and a few words."""
    try:
        measures = measures_of(read_object(path))
    except DataError as error:
        raise StoreError(f"'{path}' is damaged: {error}; delete it to measure again") from error
    rows = {name: number for found in measures for name, number in found.metrics().items()}
    return rows, f"{measures[0].measure.short_title} {_number(measures[0].value)}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def episode_seed(seed: int, purpose: str, index: int) -> int:
    """Seed of an episode: a pure function of the run's seed, the purpose and its number."""
    sequence = np.random.SeedSequence([seed, zlib.crc32(purpose.encode()), index])
    return int(sequence.generate_state(1)[0])


def episode_seeds(seed: int, purpose: str, num_episodes: int) -> list[int]:
    """Seeds of the first episodes of a purpose."""
    return [episode_seed(seed, purpose, index) for index in range(num_episodes)]


def episode_tasks(
    checkpoint: Path,
    selection: SelectionConfig,
    spec: DataSpec,
    seeds: Sequence[int],
    facts: dict[str, Any],
    device: str = "cpu",
    latency: Latency = NO_LATENCY,
) -> list[RolloutTask]:
    """An episode for each seed, played by one checkpoint on a device.

    `facts` are kept with every episode.
    """
    how = (str(checkpoint.resolve()), selection, spec.env_id)
    return [
        RolloutTask(*how, seed, facts, spec.image_size, latency=latency, device=device)
        for seed in seeds
    ]


def run_into_store(
    pool: RolloutPool,
    store: EpisodeStore,
    tasks: Sequence[RolloutTask],
    title: str,
    progress: ProgressReporter,
    earlier: int = 0,
) -> None:
    """Run the tasks whose seed has no episode yet and append each episode as it comes.

    Progress counts from episode `earlier` on: those before it belong to earlier rounds.
    """
    profile = pool.environment_profile(tasks[0].env_id, tasks[0].image_size)
    summaries = store.summaries()
    facts = [EpisodeFacts.of(summary) for summary in summaries]
    played = {summary.metadata.get("seed") for summary in summaries}
    progress.begin(title, len(tasks) - earlier, len(facts) - earlier)
    for result in pool.run([task for task in tasks if task.seed not in played]):
        store.append(result.episode)
        if lost := result.episode.metadata.get("lost_seeds"):
            progress.say(f"physics gave way in {len(lost)} episodes, which count nowhere")
        facts.append(EpisodeFacts.of(result.episode))
        so_far = _so_far(profile.measures[0], facts[earlier:], store.spec.control_hz)
        progress.advance(len(facts) - earlier, so_far)


def _so_far(measure: Measure, facts: Sequence[EpisodeFacts], control_hz: float) -> str:
    """A measure of the episodes that are finished: success 3/5, turns per minute 1.25."""
    above, below = (float(part.sum()) for part in parts(measure, facts, control_hz))
    if measure.is_rate:
        return f"{measure.short_title} {above:.0f}/{below:.0f}"
    return f"{measure.title} {_number(above / below if below > 0 else None)}"


def open_following(path: Path, spec: DataSpec) -> EpisodeStore:
    """A store of a run, which follows the data where those were given wider bounds or another name.

    Raises:
        DataError: it holds other data.
    """
    if is_there(path / "store.json"):
        store = EpisodeStore.open(path, writable=True)
        if store.spec != spec and goes_on_as(store.spec, spec):
            store.redeclare(spec)
        store.close()
    return EpisodeStore.open_or_create(path, spec)


def evaluate(
    pool: RolloutPool, folder: Path, plan: EvaluationPlan, progress: ProgressReporter
) -> EvaluationResult:
    """Measure a checkpoint and write `folder/LABEL.json`; the episodes stay beside it."""
    start_s = time.monotonic()
    identity = weights_identity(plan.checkpoint)
    facts = {
        "source": "evaluation",
        "label": plan.label,
        "policy_version": plan.policy_version,
        "policy_sha256": identity,
        "sampling_std": plan.selection.sampling_std,
    }
    _forget_other_policies(folder / plan.label, facts)
    seeds = episode_seeds(plan.seed, "evaluation", plan.num_episodes)
    how = (plan.checkpoint, plan.selection, plan.spec)
    tasks = episode_tasks(*how, seeds, facts, plan.device, plan.latency)
    with open_following(folder / plan.label, plan.spec) as store:
        run_into_store(pool, store, tasks, f"{EVALUATE} {plan.label}", progress)
        played = _played(store, seeds)
    profile = pool.environment_profile(plan.spec.env_id, plan.spec.image_size)
    result = _result(plan, profile, played, time.monotonic() - start_s)
    write_json(folder / f"{plan.label}.json", result.to_json())
    for found in result.measures:
        progress.say(f"{plan.label}: {_in_words(found)}")
    return result


_DECIDES = ("policy_sha256", "sampling_std")
"""Metadata of an evaluation's episodes: what decides them beside seed and label."""


def _forget_other_policies(path: Path, facts: Mapping[str, Any]) -> None:
    """Episodes kept under this label are continued only if the very same policy played them.

    Softflow 0.1 did not note the spread of the samples.

    Raises:
        DataError: there are episodes that no evaluation left as they are; those are not deleted.
    """
    if not is_there(path / "store.json"):
        return
    store = EpisodeStore.open(path)
    played = [summary.metadata for summary in store.summaries()]
    times = Counter(metadata.get("seed") for metadata in played)
    for index, metadata in enumerate(played):
        foreign = metadata.get("source") != "evaluation" or times[metadata.get("seed")] > 1
        if foreign or store.newest_label(index):
            raise DataError(
                f"episode {index} of {path} is not as an evaluation left it (labelled since, "
                "there twice, or of another origin); restore the folder or take the label back, "
                "move the folder away, or choose another --out"
            )
    theirs = [{"sampling_std": facts["sampling_std"]} | metadata for metadata in played]
    if any(one.get(what) != facts[what] for one in theirs for what in _DECIDES):
        shutil.rmtree(path)


def _played(store: EpisodeStore, seeds: Sequence[int]) -> list[tuple[EpisodeFacts, EpisodeOutcome]]:
    """What happened in the episodes of these seeds, in their order."""
    episodes = (store.episode(index, with_images=False) for index in range(len(store)))
    found = {int(episode.metadata["seed"]): _facts(episode) for episode in episodes}
    return [found[seed] for seed in seeds]


def _facts(episode: Episode) -> tuple[EpisodeFacts, EpisodeOutcome]:
    facts = EpisodeFacts.of(episode)
    outcome = EpisodeOutcome(
        int(episode.metadata["seed"]),
        facts.success,
        facts.length,
        float(episode.rewards.sum()),
        dict(Counter(facts.events)) if EVENTS_KEY in episode.metadata else None,
    )
    return facts, outcome


def _result(
    plan: EvaluationPlan,
    profile: TaskProfile,
    played: Sequence[tuple[EpisodeFacts, EpisodeOutcome]],
    wall_time_s: float,
) -> EvaluationResult:
    successes = sum(facts.success for facts, _ in played)
    interval = wilson_interval(successes, len(played))
    return EvaluationResult(
        label=plan.label,
        stage=plan.stage,
        policy_version=plan.policy_version,
        update_step=plan.update_step,
        online_episodes=plan.online_episodes,
        robot_steps=plan.robot_steps,
        rule=plan.selection.rule,
        num_candidates=plan.selection.num_candidates,
        sampling_std=plan.selection.sampling_std,
        success_rate=successes / len(played),
        interval_low=interval.low,
        interval_high=interval.high,
        wall_time_s=wall_time_s,
        episodes=tuple(outcome for _, outcome in played),
        measures=measure_episodes(profile, [facts for facts, _ in played], plan.spec.control_hz),
        latency_ms=(plan.latency.low_ms, plan.latency.high_ms),
        stops_to_think=plan.latency.stops_to_think,
    )


def _in_words(found: Measured) -> str:
    """What the console says of a measure: success 5/8 = 0.62 (95 % interval 0.31-0.86)."""
    text = _number(found.value)
    if found.value is not None:
        if found.measure.is_rate:
            text = f"{round(found.value * found.num_episodes)}/{found.num_episodes} = {text}"
        text = f"{text} {found.measure.unit}".rstrip()
    interval = f"95 % interval {_number(found.low)}-{_number(found.high)}"
    return f"{found.measure.short_title} {text} ({interval})"
