"""Ctrl-C, which the terminal sends to the command and its workers alike, and a worker's death."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from training_processes import start

DEADLINE_S = 120.0


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    started_s = time.monotonic()
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - started_s < DEADLINE_S, "nothing happened"
        time.sleep(0.02)


def has_trained(run: Path) -> bool:
    """The first rows of metrics are there."""
    file = run / "metrics.csv"
    return file.exists() and file.read_text().count("\n") > 1


def has_played(run: Path) -> bool:
    """The first evaluation episode is there."""
    return any((run / "evaluations/imitation/episodes").glob("episode_*.zip"))


def errors_after(process: subprocess.Popen[str], disturb: Callable[[], None]) -> str:
    """What the command says in the end."""
    try:
        disturb()
        return process.communicate(timeout=60)[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


ENDLESS = ("--imitation.num-updates", "100000")


def ctrl_c(process: int) -> None:
    os.killpg(process, signal.SIGINT)


def kill(process: int) -> None:
    os.kill(process, signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "reached", "stop"),
    [
        (ENDLESS, has_trained, ctrl_c),
        ((*ENDLESS, "--data.prefetch-workers", "2"), has_trained, ctrl_c),
        (("--imitation.num-updates", "1", "--eval-episodes", "500"), has_played, ctrl_c),
        (ENDLESS, has_trained, kill),
    ],
    ids=["training", "training with batches prepared ahead", "evaluating", "killed softly"],
)
def test_a_stop_says_how_to_go_on(
    demonstrations: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    reached: Callable[[Path], bool],
    stop: Callable[[int], None],
) -> None:
    run = tmp_path / "run"
    process = start(demonstrations, run, *words)

    def interrupt() -> None:
        wait_until(lambda: reached(run), process)
        stop(process.pid)

    errors = errors_after(process, interrupt)
    assert process.returncode == 130
    assert "leaked" not in errors
    assert "The same command continues from the last checkpoint" in errors
    assert "Traceback" not in errors
    assert (run / "report.html").exists(), "what there is can be looked at"


def children_of(process: int) -> list[int]:
    file = Path(f"/proc/{process}/task/{process}/children")
    return [int(child) for child in file.read_text().split()]


@pytest.mark.slow
def test_a_worker_that_dies_is_reported_and_its_episodes_are_kept(
    demonstrations: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ("--imitation.num-updates", "1", "--eval-episodes", "500", "--stages", "imitation")
    process = start(demonstrations, run, *words)

    def kill_the_worker() -> None:
        wait_until(lambda: has_played(run), process)
        for child in children_of(process.pid):
            if "forkserver" in Path(f"/proc/{child}/cmdline").read_text():
                for worker in children_of(child):
                    os.kill(worker, signal.SIGKILL)

    errors = errors_after(process, kill_the_worker)
    assert process.returncode == 2
    assert "a worker process died" in errors
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    assert has_played(run)
