"""What runs/robot_rehearsal.sh leans on: killing and starting again, and what is counted."""

from __future__ import annotations

import csv
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from exchange_parts import SPEC, recorded

from softflow.data.episode_store import EpisodeStore

RUNS = Path(__file__).parents[2] / "runs"
KILLED_TWICE = """
import sys, time
from pathlib import Path
table = Path(sys.argv[1])
time.sleep(0 if table.exists() and table.read_text().count("killed") == 2 else 60)
"""


def keeping(table: Path, kills: int) -> subprocess.Popen[bytes]:
    """A command that succeeds when it has been killed twice, and is killed so often."""
    command = [sys.executable, "-c", KILLED_TWICE, str(table)]
    words = ["sleeper", str(kills), "0.8", str(table.parent), *command]
    return subprocess.Popen([sys.executable, str(RUNS / "kept_running.py"), *words])


@pytest.mark.slow
def test_it_is_killed_so_often_and_started_again_also_by_a_second_call(tmp_path: Path) -> None:
    table = tmp_path / "kills.csv"
    first = keeping(table, kills=1)
    deadline_s = time.monotonic() + 60
    while not table.exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    first.send_signal(signal.SIGTERM)
    assert first.wait(20) == 0
    assert keeping(table, kills=2).wait(60) == 0
    with table.open() as file:
        assert [row[:2] for row in csv.reader(file)] == 2 * [["sleeper", "killed"]]


def test_rounds_count_what_ended_by_itself(tmp_path: Path) -> None:
    with EpisodeStore.create(tmp_path / "online", SPEC) as store:
        for seed, (ended, number) in enumerate([("time limit", 0), ("stopped", 0), ("success", 1)]):
            store.append(recorded(seed, ended=ended, round=number))
    table = runpy.run_path(str(RUNS / "rehearsal_table.py"))
    assert table["rounds_of"](tmp_path) == ({0: [False], 1: [False]}, 1)
    assert table["rate"]([True, True, False, True]) == "3 of 4 | 0.30–0.95"
