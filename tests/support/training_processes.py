"""`softflow train` on the point world in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from runs_compared import as_overrides

SCRIPT = str(Path(__file__).parent / "point_cli.py")


def train(
    dataset: Path, run: Path, *words: str, die_at: str = "", preset_only: bool = False
) -> tuple[int, str]:
    """`softflow train` in a process of its own, by default tiny; its status and what it said."""
    command = [sys.executable, SCRIPT, "train", "small", "--dataset", str(dataset)]
    command += ["--run", str(run), *([] if preset_only else as_overrides()), *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | ({"DIE_AT": die_at} if die_at else {})
    process = subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said, _ = process.communicate(timeout=300)
    wait_for_the_end_of_session(process.pid)
    return process.returncode, said


def wait_for_the_end_of_session(session: int) -> None:
    """No worker may outlive the learner it works for."""
    for _ in range(200):
        if not any(session_of(process) == session for process in Path("/proc").glob("[0-9]*")):
            return
        time.sleep(0.05)
    raise AssertionError(f"processes of session {session} are still running")


def session_of(process: Path) -> int:
    try:
        facts = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return -1
    return -1 if facts[0] == "Z" else int(facts[3])
