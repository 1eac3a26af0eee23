"""Keep a command running until it succeeds, and kill it -9 at random times meanwhile.

    python runs/kept_running.py NAME KILLS EVERY_S FOLDER COMMAND...

After about EVERY_S seconds (half to one and a half of that) the command is killed and started again
2 s later, KILLS times in all; so it is when it fails. What it says goes to FOLDER/NAME.log, each
kill is a line of FOLDER/kills.csv, and those count when this is called again.
"""

from __future__ import annotations

import csv
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

PAUSE_S = 2.0


def earlier_kills(table: Path, name: str) -> int:
    """How often it was killed so far."""
    if not table.exists():
        return 0
    with table.open() as file:
        return sum(row[:2] == [name, "killed"] for row in csv.reader(file))


def note(table: Path, name: str, what: str) -> None:
    """One line: when, and what happened to whom."""
    with table.open("a") as file:
        csv.writer(file).writerow([name, what, f"{time.time():.0f}"])


def once(command: list[str], log: Path, within_s: float | None) -> int | None:
    """Run it; its exit status, or None if it was killed because its time had come."""
    with log.open("a") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        try:
            return process.wait(within_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return None
        except SystemExit:
            process.terminate()
            process.wait()
            raise


def keep(name: str, kills: int, every_s: float, folder: Path, command: list[str]) -> None:
    """See the module."""
    table, log = folder / "kills.csv", folder / f"{name}.log"
    while True:
        due = earlier_kills(table, name) < kills
        within_s = every_s * random.SystemRandom().uniform(0.5, 1.5) if due else None
        status = once(command, log, within_s)
        if status == 0:
            return
        note(table, name, "killed" if status is None else f"ended with {status}")
        time.sleep(PAUSE_S)


def ended(*_: object) -> None:
    """Whoever started this does not need the command any more."""
    raise SystemExit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, ended)
    name, kills, every_s, folder, *command = sys.argv[1:]
    keep(name, int(kills), float(every_s), Path(folder), command)
