"""Success rates with intervals: many episodes in parallel, every one of them kept.

The episodes go into a store of their own as they finish, so an interrupted evaluation continues,
and a rate can always be traced to the episodes behind it.
"""

from __future__ import annotations

import shutil
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.models.action_selection import SelectionConfig
from softflow.models.checkpoint import weights_identity
from softflow.training.rollouts import RolloutPool, RolloutTask
from softflow.utils.files import write_json
from softflow.utils.metrics import wilson_interval
from softflow.utils.progress import ProgressReporter


@dataclass(frozen=True)
class EpisodeOutcome:
    """One evaluation episode: what it depended on and how it ended."""

    seed: int
    success: bool
    length: int
    return_: float


@dataclass(frozen=True)
class EvaluationResult:
    """A success rate, where it was measured, and its episodes (see evaluations/LABEL.json)."""

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

    def to_json(self) -> dict[str, Any]:
        """The form on disk."""
        value = asdict(self) | {"num_episodes": len(self.episodes)}
        value["episodes"] = [
            {"seed": e.seed, "success": e.success, "length": e.length, "return": e.return_}
            for e in self.episodes
        ]
        return value


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
    done = len(store)
    summaries = store.summaries()
    successes = sum(summary.success for summary in summaries)
    played = {summary.metadata["seed"] for summary in summaries}
    progress.begin(title, len(tasks), done)
    for result in pool.run([task for task in tasks if task.seed not in played]):
        store.append(result.episode)
        done += 1
        successes += result.episode.success
        progress.advance(done, f"success {successes}/{done}")


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
    policy_version = checkpoint.resolve().name
    identity = weights_identity(checkpoint)
    _forget_other_policies(folder / label, identity)
    tasks = [
        RolloutTask(
            str(checkpoint.resolve()),
            selection,
            spec.env_id,
            episode_seed(seed, "evaluation", index),
            {
                "source": "evaluation",
                "label": label,
                "policy_version": policy_version,
                "policy_sha256": identity,
            },
            spec.image_size,
        )
        for index in range(num_episodes)
    ]
    with EpisodeStore.open_or_create(folder / label, spec) as store:
        run_into_store(pool, store, tasks, f"evaluate {label}", progress)
        episodes = (store.episode(index, with_images=False) for index in range(len(store)))
        outcome_of = {outcome.seed: outcome for outcome in map(_outcome, episodes)}
        outcomes = tuple(outcome_of[task.seed] for task in tasks)
    successes = sum(outcome.success for outcome in outcomes)
    interval = wilson_interval(successes, num_episodes)
    result = EvaluationResult(
        label,
        stage,
        policy_version,
        update_step,
        online_episodes,
        robot_steps,
        selection.rule,
        selection.num_candidates,
        successes / num_episodes,
        interval.low,
        interval.high,
        time.monotonic() - start_s,
        outcomes,
    )
    write_json(folder / f"{label}.json", result.to_json())
    progress.say(
        f"[bold]{label}[/]: success {successes}/{num_episodes} = {result.success_rate:.2f} "
        f"(95 % interval {interval.low:.2f}-{interval.high:.2f})"
    )
    return result


def _forget_other_policies(path: Path, identity: str) -> None:
    """Episodes kept under this label are continued only if the very same weights played them."""
    if (path / "store.json").exists():
        summaries = EpisodeStore.open(path).summaries()
        if any(summary.metadata.get("policy_sha256") != identity for summary in summaries):
            shutil.rmtree(path)


def _outcome(episode: Episode) -> EpisodeOutcome:
    return EpisodeOutcome(
        int(episode.metadata["seed"]),
        bool(episode.success),
        episode.length,
        float(episode.rewards.sum()),
    )
