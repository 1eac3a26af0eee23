"""`python -m benchmarks.peers`: methods on the same episodes, a row of a CSV file a result."""

from __future__ import annotations

import fcntl
import re
import shlex
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, make_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import tyro

from benchmarks.peers.command import run_command
from benchmarks.peers.job import Job
from benchmarks.peers.method import MethodConfig
from benchmarks.peers.page.summary import runs_of, tasks_of
from benchmarks.peers.page.tables import task_tables
from benchmarks.peers.registry import METHODS
from benchmarks.peers.rows import Results
from benchmarks.peers.running import Config, run_jobs
from softflow.cli.option_types import OPTION_TYPES
from softflow.data.episode_store import EpisodeStore
from softflow.envs.demonstrations import collect_demonstrations
from softflow.errors import ConfigError
from softflow.utils.imports import trust

DESCRIPTION = """\
Learn a task with one method from the same demonstrations, episodes and seeds as every other.

Every evaluation is a row of the CSV file. A row that is there is not measured again, and a run that
was stopped goes on from its last evaluation. One thread a process.
"""

LONGEST_NAME = 150
"""Of a folder; file systems take 255 bytes."""


@dataclass(frozen=True)
class Options:
    """What every method is asked for."""

    method: str = "qc-fql"
    """One of METHODS; decides which settings there are below."""
    task: str = "cube-single"
    """Name of the environment."""
    seed: tuple[int, ...] = (0,)
    """One run each. Demonstrations, weights and episodes follow from it."""
    data: Path = Path("data/peers")
    """Folder of the demonstrations, in TASK/seedN; those of OGBench's tasks are collected there if
    they are missing, others are stores that you put there (softflow data import, or
    benchmarks.peers.adroit_demos)."""
    demonstrations: int = 120
    """How many are collected."""
    counts: tuple[int, ...] = (0, 10, 25, 50, 100)
    """Online episodes after which the method is evaluated."""
    eval_episodes: int = 100
    """Episodes of every evaluation, with softflow's seeds."""
    runs: Path = Path("runs/peers")
    """Folder of unfinished runs."""
    csv: Path = Path("docs/results/peers.csv")
    """File of the rows."""
    jobs: int = 1
    """Seeds that learn at the same time."""
    table: bool = False
    """Print the tables of the rows so far, and do nothing else."""

    def __post_init__(self) -> None:
        if self.jobs < 1 or self.eval_episodes < 1 or self.demonstrations < 1:
            raise ConfigError(
                f"--jobs {self.jobs}, --eval-episodes {self.eval_episodes} and --demonstrations "
                f"{self.demonstrations} must be >= 1"
            )
        counts = self.counts
        if not counts or counts[0] < 0 or any(a >= b for a, b in pairwise(counts)):
            raise ConfigError(f"--counts {counts}: give numbers >= 0 in ascending order")


def parse(words: Sequence[str]) -> tuple[Options, Config]:
    """Options, and the settings of the method that they name."""
    given = [after for word, after in pairwise(words) if word == "--method"]
    given += [word.removeprefix("--method=") for word in words if word.startswith("--method=")]
    name = given[-1] if given else Options.method
    if name not in METHODS:
        raise ConfigError(f"--method {name}: choose one of {', '.join(METHODS)}")
    default = METHODS[name]
    # softflow's own settings keep a prefix: some are called as the options of this command.
    prefix = "" if isinstance(default, MethodConfig) else "config"
    settings = Annotated[type(default), tyro.conf.arg(name=prefix)]
    kind: Any = make_dataclass(
        "PeerOptions",
        [("config", settings, field(default_factory=lambda: default))],
        bases=(Options,),
        frozen=True,
    )
    description = f"{DESCRIPTION}\nMethods: {', '.join(METHODS)}; these are the settings of {name}."
    options = tyro.cli(
        kind,
        args=list(words),
        prog="python -m benchmarks.peers",
        description=description,
        registry=OPTION_TYPES,
    )
    return options, options.config


def settings_of(config: Any, default: Any) -> str:
    """Every setting that is not the default: "discount=0.995 tau=0.01"."""
    flat, usual = _flat(asdict(config)), _flat(asdict(default))
    changed = [f"{name}={value}" for name, value in flat.items() if usual.get(name) != value]
    return " ".join(changed).replace(", ", ",")


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, dict) and value
        flat |= _flat(value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return flat


def jobs_of(options: Options, config: Any, command: str) -> list[Job]:
    """A job a seed; demonstrations that are missing are collected first."""
    settings = settings_of(config, METHODS[options.method])
    folder = folder_of(f"{options.method} {settings}".strip())
    jobs = []
    for seed in options.seed:
        store = options.data / options.task / f"seed{seed}"
        require_demonstrations(store, options.task, options.demonstrations, seed)
        run = options.runs / options.task / folder / f"seed{seed}"
        what = options.method, settings, options.task, seed, store, run
        jobs.append(Job(*what, options.csv, options.counts, options.eval_episodes, command))
    return jobs


def folder_of(settings: str) -> str:
    """A name that a file system takes: of many settings the first, and a number for all of them."""
    name = re.sub(r"[^\w.=-]+", "_", settings)
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME]}_{zlib.crc32(name.encode()):08x}"


def require_demonstrations(store: Path, task: str, count: int, seed: int) -> None:
    """Collect what is missing, where operators know the task; a store of other data is kept.

    Of several processes that need them, one collects and the others wait.
    """
    if _has_demonstrations(store, count):
        return
    if task.startswith("adroit-"):
        raise ConfigError(
            f"no demonstrations in {store}: record some (python -m benchmarks.peers.adroit_demos "
            "--help), or put recordings of people there (softflow data import, or "
            "examples/import_adroit_door.py)"
        )
    store.parent.mkdir(parents=True, exist_ok=True)
    with store.with_name(f"{store.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _has_demonstrations(store, count):
            collect_demonstrations(task, count, seed, store)


def _has_demonstrations(store: Path, count: int) -> bool:
    if not (store / "store.json").exists():
        return False
    there = EpisodeStore.open(store)
    collected = any("collection" in summary.metadata for summary in there.summaries())
    return len(there) >= count or (len(there) > 0 and not collected)


def main(words: Sequence[str]) -> None:
    """Run the command.

    Raises:
        SoftflowError: says what is wrong with the options, or with a file.
    """
    options, config = parse(words)
    if options.table:
        for task, runs in tasks_of(runs_of(Results(options.csv).rows())).items():
            print(f"## {task}\n\n{task_tables(runs)}\n")
        return
    command = shlex.join(["python", "-m", "benchmarks.peers", *words])
    trust(options.task)
    jobs = jobs_of(options, config, command)
    run_jobs(jobs, config, options.jobs)


if __name__ == "__main__":
    run_command(main, "benchmarks.peers")
