"""Ctrl-C: the terminal sends SIGINT to the command and its workers alike."""

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

SCRIPT = str(Path(__file__).parent / "point_cli.py")
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


@pytest.mark.parametrize(
    ("words", "reached"),
    [
        (("--imitation.num-updates", "100000"), has_trained),
        (("--imitation.num-updates", "1", "--eval-episodes", "500"), has_played),
    ],
    ids=["training", "evaluating"],
)
def test_ctrl_c_says_how_to_go_on(
    demonstrations: Path, tmp_path: Path, words: tuple[str, ...], reached: Callable[[Path], bool]
) -> None:
    run = tmp_path / "run"
    command = [sys.executable, SCRIPT, "train", "small", "--dataset", str(demonstrations)]
    command += ["--run", str(run), *as_overrides(), *words]
    process = subprocess.Popen(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: reached(run), process)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    print("ERR", errors)
    assert process.returncode == 130
    assert "The same command continues from the last checkpoint" in errors
    assert "Traceback" not in errors
    assert (run / "report.html").exists(), "what there is can be looked at"
