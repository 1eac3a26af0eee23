"""Ctrl-C, which the terminal sends to the command and its workers alike, and a worker's death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from runs_compared import as_overrides
from training_processes import SCRIPT

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


def start(dataset: Path, run: Path, *words: str) -> subprocess.Popen[str]:
    """`softflow train` in a process group of its own, as in a terminal."""
    command = [sys.executable, SCRIPT, "train", "small", "--dataset", str(dataset)]
    return subprocess.Popen(
        [*command, "--run", str(run), *as_overrides(), *words],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def errors_after(process: subprocess.Popen[str], disturb: Callable[[], None]) -> str:
    """What the command says in the end."""
    try:
        disturb()
        return process.communicate(timeout=60)[1]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "reached"),
    [
        (("--imitation.num-updates", "100000"), has_trained),
        (("--imitation.num-updates", "100000", "--data.prefetch-workers", "2"), has_trained),
        (("--imitation.num-updates", "1", "--eval-episodes", "500"), has_played),
    ],
    ids=["training", "training with batches prepared ahead", "evaluating"],
)
def test_ctrl_c_says_how_to_go_on(
    demonstrations: Path, tmp_path: Path, words: tuple[str, ...], reached: Callable[[Path], bool]
) -> None:
    run = tmp_path / "run"
    process = start(demonstrations, run, *words)

    def interrupt() -> None:
        wait_until(lambda: reached(run), process)
        os.killpg(process.pid, signal.SIGINT)

    errors = errors_after(process, interrupt)
    assert process.returncode == 130
    assert "The same command continues from the last checkpoint" in errors
    assert "Traceback" not in errors
    assert (run / "report.html").exists(), "what there is can be looked at"


@pytest.mark.slow
def test_a_worker_that_dies_is_reported_and_its_episodes_are_kept(
    demonstrations: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = ("--imitation.num-updates", "1", "--eval-episodes", "500", "--stages", "imitation")
    process = start(demonstrations, run, *words)

    def kill_the_worker() -> None:
        wait_until(lambda: has_played(run), process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        for child in children:
            if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
                os.kill(int(child), signal.SIGKILL)

    errors = errors_after(process, kill_the_worker)
    assert process.returncode == 2
    assert "a worker process died" in errors
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    assert has_played(run)
