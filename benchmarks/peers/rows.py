"""What was measured, a row a result, in a CSV file that only grows."""

from __future__ import annotations

import csv
import fcntl
import importlib.metadata
import io
import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from statistics import fmean, median

from softflow.errors import StoreError

PACKAGES = ("torch", "numpy", "ogbench", "mujoco", "gymnasium")


@dataclass(frozen=True)
class Row:
    """One evaluation of one run.

    Attributes:
        method, settings: the measuring stick, and every setting that is not its default.
        task, seed, demonstrations: what it learned from.
        offline_updates, online_updates: gradient updates so far.
        online_episodes, robot_steps, collected_successes: collected so far.
        eval_episodes, successes, success: evaluation episodes, how many and which share succeeded.
        mean_steps, median_steps: control steps of those that succeeded; empty if none did.
        update_cpu_ms, decision_cpu_ms: CPU time of an update since the last row, and of a decision
            in this evaluation; empty where there was none.
        cpu_s: CPU time of learning and collecting so far, without evaluations.
        command, commit, versions: how the row came about; + marks changes to a commit.
    """

    method: str
    settings: str
    task: str
    seed: int
    demonstrations: int
    offline_updates: int
    online_updates: int
    online_episodes: int
    robot_steps: int
    collected_successes: int
    eval_episodes: int
    successes: int
    success: float
    mean_steps: float | None
    median_steps: float | None
    update_cpu_ms: float | None
    decision_cpu_ms: float | None
    cpu_s: float
    command: str
    commit: str
    versions: str


@dataclass(frozen=True)
class RunName:
    """Which run a row belongs to."""

    method: str
    settings: str
    task: str
    seed: int
    demonstrations: int
    eval_episodes: int

    def of(self, row: Row) -> bool:
        """Whether the row is one of this run's."""
        return all(getattr(row, name) == value for name, value in asdict(self).items())


class Results:
    """The rows in a file; several processes may append at the same time.

    Args:
        path: the CSV file, made with its heading if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self) -> list[Row]:
        """All rows so far.

        Raises:
            StoreError: the file has other columns.
        """
        if not self.path.exists():
            return []
        with self.path.open(newline="") as file:
            reader = csv.DictReader(file)
            wanted = [item.name for item in fields(Row)]
            if reader.fieldnames is not None and list(reader.fieldnames) != wanted:
                raise StoreError(
                    f"'{self.path}' has the columns {reader.fieldnames}, not {wanted}; choose "
                    "another --csv file"
                )
            return [_parsed(line) for line in reader]

    def has(self, run: RunName, online_episodes: int) -> bool:
        """Whether a run's evaluation after so many episodes is there."""
        return any(run.of(row) and row.online_episodes == online_episodes for row in self.rows())

    def append(self, row: Row) -> None:
        """Add a row: it is there whole, or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            heading = file.seek(0, os.SEEK_END) == 0
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, [item.name for item in fields(Row)], lineterminator="\n")
            if heading:
                writer.writeheader()
            writer.writerow(asdict(row))
            file.write(text.getvalue().encode())
            file.flush()
            os.fsync(file.fileno())


def _parsed(line: dict[str, str]) -> Row:
    kinds = {"int": int, "float": float, "str": str}
    values = {
        item.name: None
        if line[item.name] == "" and str(item.type).endswith("None")
        else kinds[str(item.type).split(" ")[0]](line[item.name])
        for item in fields(Row)
    }
    return Row(**values)  # type: ignore[arg-type]


def steps_to_success(lengths: Sequence[int]) -> tuple[float | None, float | None]:
    """Mean and median of the lengths of successful episodes."""
    return (fmean(lengths), float(median(lengths))) if lengths else (None, None)


def commit() -> str:
    """The commit of this checkout, with + if files that it tracks have changed."""
    here = Path(__file__).parent
    try:
        asked = [["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "-uno"]]
        head, changes = (
            subprocess.run(words, cwd=here, capture_output=True, text=True, check=True).stdout
            for words in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.strip()[:12] + "+" * bool(changes.strip())


def versions() -> str:
    """The packages that decide the numbers."""
    return " ".join(f"{name}=={importlib.metadata.version(name)}" for name in PACKAGES)
