"""Several seeds of one training, side by side, in RUN/seed0, RUN/seed1, …, and their comparison.

Every seed is a `softflow train` of its own, a process of one thread: it writes what it says into
RUN/seed0.log, can be looked at while it runs, and continues from its last checkpoint. So the same
command goes on with what is missing, and one that fails takes none of the others with it. If this
process is killed, they end as after Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from softflow.cli.parent_death import VARIABLE
from softflow.cli.run_options import Train
from softflow.errors import ConfigError, SeedsFailedError, SoftflowError
from softflow.jobs.opening import open_store
from softflow.jobs.targets import require_run_folder
from softflow.jobs.train import starting_from
from softflow.pages.comparing.page import NAME, write_comparison
from softflow.utils.console import plain, say
from softflow.utils.files import entries_of
from softflow.utils.progress import ConsoleProgress, ProgressReporter

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
POLL_S = 0.5
STOPPING_S = 120.0
"""How long a seed may take to end after Ctrl-C: it writes its checkpoint and report."""
_SHOWN = 60
_ERROR = "\nsoftflow: "
"""How a command begins to say why it failed."""


@dataclass
class SeedRun:
    """One seed: its folder, its log, and its process while there is one."""

    seed: int
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    begun_at: int = 0

    @property
    def log(self) -> Path:
        """What its process says, of every attempt."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def start(self, words: Sequence[str]) -> None:
        """Train, or go on."""
        own = ["--run", str(self.folder), "--seed", str(self.seed)]
        command = [sys.executable, "-m", "softflow", "train", *words, *own]
        with self.log.open("ab") as log:
            self.begun_at = log.tell()
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | ONE_THREAD | {VARIABLE: str(os.getpid())},
                # Ctrl-C of the terminal reaches this process alone, which passes it on once.
                process_group=0,
            )

    def said(self) -> str:
        """What this attempt has said so far."""
        with self.log.open("rb") as log:
            log.seek(self.begun_at)
            return log.read().decode(errors="replace")

    def last_line(self) -> str:
        """The last thing it said, shortened."""
        lines = [line for line in self.said().splitlines() if line.strip()]
        return plain(lines[-1].strip())[:_SHOWN] if lines else "starting"

    def why_it_failed(self) -> str:
        """Its error message, or the last line before it died."""
        said = self.said()
        if _ERROR in said:
            return plain(said.rpartition(_ERROR)[2].strip())
        code = self.process.returncode if self.process else 0
        return f"it ended with status {code}; the last it said: {self.last_line()}"

    def signal(self, number: int) -> None:
        """To its process and its simulators."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)


def train_seeds(options: Train, words: Sequence[str]) -> None:
    """Train `options.seeds` seeds, `options.jobs` at a time, and compare them.

    Args:
        options: the command.
        words: it was read from, without "train".

    Raises:
        ConfigError: the folder holds a run of one seed, the seeds would not be runs, or cannot
            start from what `--from` names.
        CheckpointError: that is none, or damaged.
        SeedsFailedError: some seeds failed; names each with its reason. The others are done.
    """
    runs = [_seed_run(options, options.config.seed + i) for i in range(options.seeds)]
    spec, how = open_store(options.dataset).spec, options.from_critic
    for run in runs:  # told once, before anything is written
        starting_from(options.start, run.folder, options.config, spec, how)
    options.run.mkdir(parents=True, exist_ok=True)
    jobs = min(options.jobs or len(os.sched_getaffinity(0)), len(runs))
    try:
        with ConsoleProgress() as progress:
            failed = _train_all(runs, without_own_options(words), jobs, progress)
    finally:
        _compare([run.folder for run in runs if _holds_a_run(run.folder)], options.run / NAME)
    if failed:
        told = "\n".join(f"seed {run.seed}: {run.why_it_failed()}\n  ({run.log})" for run in failed)
        raise SeedsFailedError(
            f"{len(failed)} of {len(runs)} seeds failed; the same command tries them again:\n{told}"
        )


def _compare(there: Sequence[Path], page: Path) -> None:
    """The page of the runs that there are; one that cannot be written hides no seed's failure."""
    try:
        if there:
            say(f"comparison: {write_comparison(there, page)}")
    except SoftflowError as error:
        say(f"no comparison: {error}", to_errors=True)


def _seed_run(options: Train, seed: int) -> SeedRun:
    """The run of a seed, in its folder.

    Raises:
        ConfigError: it cannot be there.
    """
    if _holds_a_run(options.run):
        raise ConfigError(
            f"--run {options.run} holds the run of one seed already; choose another folder for "
            "several, whose runs will be its folders seed0, seed1, …"
        )
    folder = options.run / f"seed{seed}"
    require_run_folder(folder, options.dataset)
    return SeedRun(seed, folder)


def _holds_a_run(folder: Path) -> bool:
    return folder.is_dir() and any(
        e.name in ("config.json", "metrics.csv") for e in entries_of(folder)
    )


def without_own_options(words: Sequence[str]) -> list[str]:
    """The words of one seed's command: without those that say which seeds and where."""
    kept: list[str] = []
    skip = False
    for word in words:
        name, equals, _ = word.partition("=")
        if skip or name in ("--seeds", "--jobs", "--run", "--seed"):
            skip = not skip and not equals
            continue
        kept.append(word)
    return kept


def _train_all(
    runs: Sequence[SeedRun], words: Sequence[str], jobs: int, progress: ProgressReporter
) -> list[SeedRun]:
    """Those that failed, when all have ended; a stop ends them all."""
    waiting, going, failed = list(runs), list[SeedRun](), list[SeedRun]()
    progress.begin("seeds", len(runs))
    try:
        while waiting or going:
            while waiting and len(going) < jobs:
                going.append(waiting.pop(0))
                going[-1].start(words)
            time.sleep(POLL_S)
            for run in [run for run in going if run.process and run.process.poll() is not None]:
                going.remove(run)
                failed += [run] * _has_failed(run, progress)
            status = "  ".join(f"seed{run.seed}: {run.last_line()}" for run in going)
            progress.advance(len(runs) - len(waiting) - len(going), status)
    except BaseException:
        _stop(going)
        raise
    return failed


def _has_failed(run: SeedRun, progress: ProgressReporter) -> bool:
    """Whether an ended seed failed; says how it ended."""
    if run.process is not None and run.process.returncode == 0:
        progress.say(f"seed {run.seed}: done, {run.folder / 'report.html'}")
        return False
    progress.say(f"seed {run.seed} failed, the others go on: {run.why_it_failed()}")
    return True


def _stop(going: Sequence[SeedRun]) -> None:
    """Let every seed end as after Ctrl-C; who asks again, or waits too long, gets it killed."""
    for run in going:
        run.signal(signal.SIGINT)
    deadline = time.monotonic() + STOPPING_S
    try:
        for run in going:
            if run.process is not None:
                with suppress(subprocess.TimeoutExpired):
                    run.process.wait(max(deadline - time.monotonic(), 0.0))
    finally:
        for run in going:
            run.signal(signal.SIGKILL)
