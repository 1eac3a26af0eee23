"""What one run is asked for, whichever method it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.clock import CpuClock
from benchmarks.peers.rows import Results, Row, RunName, commit, steps_to_success, versions
from softflow.data.episode_store import EpisodeStore
from softflow.utils.intervals import wilson_interval


@dataclass(frozen=True)
class Job:
    """One seed of one method.

    Attributes:
        method, settings: its name, and every setting that is not its default.
        task: name of the environment.
        seed: of weights, batches, episodes and evaluations.
        store: the demonstrations.
        folder: where the run keeps its state.
        csv: where its rows go.
        counts: online episodes at which it is evaluated, ascending.
        eval_episodes: of every evaluation.
        command: that asked for it.
        commit: that the code is of.
    """

    method: str
    settings: str
    task: str
    seed: int
    store: Path
    folder: Path
    csv: Path
    counts: tuple[int, ...]
    eval_episodes: int
    command: str
    commit: str = field(default_factory=commit)

    @property
    def results(self) -> Results:
        """The rows so far."""
        return Results(self.csv)

    @property
    def name(self) -> RunName:
        """What the rows of this run have in common."""
        count = len(EpisodeStore.open(self.store))
        what = self.method, self.settings, self.task, self.seed
        return RunName(*what, count, self.eval_episodes)

    @property
    def missing(self) -> tuple[int, ...]:
        """The evaluations of which there is no row yet."""
        name, results = self.name, self.results
        return tuple(count for count in self.counts if not results.has(name, count))


@dataclass
class Progress:
    """How far a run has come."""

    offline_updates: int = 0
    online_updates: int = 0
    online_episodes: int = 0
    robot_steps: int = 0
    collected_successes: int = 0


def record(
    job: Job, progress: Progress, clock: CpuClock, outcomes: Sequence[tuple[bool, int]]
) -> Row:
    """Write the row of an evaluation, from its episodes' successes and lengths."""
    lengths = [length for success, length in outcomes if success]
    mean_steps, median_steps = steps_to_success(lengths)
    row = Row(
        method=job.method,
        settings=job.settings,
        task=job.task,
        seed=job.seed,
        demonstrations=job.name.demonstrations,
        **vars(progress),
        eval_episodes=len(outcomes),
        successes=len(lengths),
        success=len(lengths) / len(outcomes),
        mean_steps=_rounded(mean_steps, 1),
        median_steps=median_steps,
        update_cpu_ms=_rounded(clock.mean_ms("update"), 2),
        decision_cpu_ms=_rounded(clock.mean_ms("decision"), 2),
        cpu_s=round(clock.spent_s, 1),
        command=job.command,
        commit=job.commit,
        versions=versions(),
    )
    job.results.append(row)
    return row


def in_words(row: Row) -> str:
    """A row as a line of a log."""
    low, high = wilson_interval(row.successes, row.eval_episodes)
    return (
        f"{row.method} {row.settings} seed {row.seed}, {row.online_episodes} online episodes: "
        f"{row.successes}/{row.eval_episodes} ({low:.2f}-{high:.2f}), "
        f"{row.mean_steps or float('nan'):.0f} steps to success, "
        f"collected {row.collected_successes}, {row.robot_steps} robot steps, {row.cpu_s:.0f} CPU s"
    )


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
