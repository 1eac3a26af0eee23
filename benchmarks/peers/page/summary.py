"""Rows by task and method: what the figure draws and the tables list."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, median

from benchmarks.peers.page.estimates import Estimate, pooled
from benchmarks.peers.rows import Row
from softflow.errors import StoreError

_OWN_OPTIONS = ("--seed", "--jobs", "--csv", "--runs", "--data")
"""Options that say which run and where, not what is done in it."""


@dataclass(frozen=True)
class Runs:
    """All seeds of one method with one choice of settings on one task.

    Attributes:
        task, method, settings: as in the rows.
        rows: theirs.
    """

    task: str
    method: str
    settings: str
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        """The method, with the settings that are not its defaults."""
        return f"{self.method} {self.settings}".rstrip()

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Ascending."""
        return tuple(sorted({row.seed for row in self.rows}))

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Online episodes at which at least one seed was evaluated, ascending."""
        return tuple(sorted({row.online_episodes for row in self.rows}))

    def at(self, count: int) -> list[Row]:
        """The evaluation after so many online episodes: a row for every seed that has it."""
        found = [row for row in self.rows if row.online_episodes == count]
        return sorted(found, key=lambda row: row.seed)

    @cached_property
    def _successes(self) -> dict[int, Estimate]:
        return {count: pooled(self.at(count)) for count in self.counts}

    def success(self, count: int) -> Estimate | None:
        """Over the seeds that have come so far; None if none has."""
        return self._successes.get(count)

    def mean(self, count: int, value: Callable[[Row], float | None]) -> float | None:
        """Mean over the seeds that have the value; None if none has."""
        known = [number for row in self.at(count) if (number := value(row)) is not None]
        return fmean(known) if known else None

    def steps_to_success(self, count: int) -> float | None:
        """Mean control steps of all successful evaluation episodes."""
        rows = [row for row in self.at(count) if row.mean_steps is not None]
        successes = sum(row.successes for row in rows)
        return (
            sum((row.mean_steps or 0) * row.successes for row in rows) / successes if rows else None
        )

    def first(self, success: float, value: Callable[[Row], float]) -> tuple[float, int]:
        """Of each seed the value at its first evaluation with so much success.

        Returns:
            Their median, infinite seeds among them that never reached it, so that seeds that fail
            do not make a method look fast; and how many seeds did.
        """
        reached: list[float] = []
        for seed in self.seeds:
            good = [row for row in self.rows if row.seed == seed and row.success >= success]
            first = min(good, key=lambda row: row.online_episodes, default=None)
            reached.append(math.inf if first is None else value(first))
        return median(reached), sum(map(math.isfinite, reached))

    @property
    def commands(self) -> list[str]:
        """What was run, one command for all the seeds that had the same options."""
        seeds: dict[str, set[int]] = {}
        for row in self.rows:
            seeds.setdefault(_without_own_options(row.command), set()).add(row.seed)
        return [
            f"{command} --seed {' '.join(map(str, sorted(found)))}"
            for command, found in seeds.items()
        ]


def runs_of(rows: Sequence[Row]) -> list[Runs]:
    """The rows by task, in the order of the rows, and method: softflow's first, then by name.

    Raises:
        StoreError: two rows say how the same seed did after the same number of episodes.
    """
    groups: dict[tuple[str, str, str], dict[tuple[int, int], Row]] = {}
    for row in rows:
        group = groups.setdefault((row.task, row.method, row.settings), {})
        if (row.seed, row.online_episodes) in group:
            raise StoreError(
                f"two rows of {row.method} '{row.settings}' on {row.task}, seed {row.seed}, "
                f"{row.online_episodes} online episodes: only one can be shown; move the other "
                "(of other demonstrations or evaluation episodes) to a CSV file of its own"
            )
        group[row.seed, row.online_episodes] = row
    found = [Runs(*key, tuple(group.values())) for key, group in groups.items()]
    tasks = list(dict.fromkeys(row.task for row in rows))
    return sorted(found, key=lambda runs: (tasks.index(runs.task), order_of(runs.name)))


def order_of(name: str) -> tuple[bool, str]:
    """Sorts methods: softflow's first."""
    return not name.startswith("softflow"), name


def tasks_of(runs: Sequence[Runs]) -> dict[str, list[Runs]]:
    """The methods of every task."""
    found: dict[str, list[Runs]] = {}
    for one in runs:
        found.setdefault(one.task, []).append(one)
    return found


def counts_of(runs: Sequence[Runs]) -> list[int]:
    """Online episodes at which at least one of them was evaluated, ascending."""
    return sorted({count for one in runs for count in one.counts})


def _without_own_options(command: str) -> str:
    """A command without seeds and places."""
    kept: list[str] = []
    skipping = False
    for word in shlex.split(command):
        if word.startswith("--"):
            skipping = word.split("=")[0] in _OWN_OPTIONS
        if not skipping:
            kept.append(word)
    return shlex.join(kept)
