"""The parts of docs/results.md that follow from rows, between their markers."""

from __future__ import annotations

import hashlib
from pathlib import Path

from benchmarks.peers.page.levers import lever_tables
from benchmarks.peers.page.summary import Runs, runs_of, tasks_of
from benchmarks.peers.page.tables import commands, overview, task_tables
from benchmarks.peers.rows import Results
from softflow.errors import DataError

PARTS = ("peers", "tasks", "levers")
NOT_YET = "Not measured yet: there are no rows."


def written(page: str, csv: Path, levers: Path, figure: str) -> str:
    """The page with its three parts as the rows give them; the rest of it is kept.

    Args:
        page: text with the markers of every part.
        csv, levers: the rows of methods, and of changed settings.
        figure: where the page finds the drawing.

    Raises:
        SoftflowError: of the rows, or of the markers.
    """
    runs = runs_of(Results(csv).rows())
    changed = lever_tables(runs_of(Results(levers).rows()), runs, levers.as_posix())
    parts = (_all_tasks(runs, figure), _each_task(runs), changed)
    for name, part in zip(PARTS, parts, strict=True):
        page = _between_markers(page, name, part or NOT_YET)
    return page


def fingerprint(csv: Path) -> str:
    """Of the rows: kept in the figure, which so tells what it is of."""
    return "sha256:" + hashlib.sha256(csv.read_bytes()).hexdigest()


def _all_tasks(runs: list[Runs], figure: str) -> str:
    if not runs:
        return ""
    described = f"Success against episodes, robot steps and CPU time: {', '.join(tasks_of(runs))}"
    return f"![{described}]({figure})\n\n{overview(runs)}"


def _each_task(runs: list[Runs]) -> str:
    parts: list[str] = []
    for task, methods in tasks_of(runs).items():
        parts += [f"## {task}", task_tables(methods), commands(methods)]
    return "\n\n".join(parts)


def _between_markers(page: str, name: str, part: str) -> str:
    """The page with this part between <!-- name:begin --> and <!-- name:end -->."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, *rest = page.split(begin)
    if len(rest) != 1 or rest[0].count(end) != 1 or end in before:
        raise DataError(f"the page needs the lines '{begin}' and '{end}', once each, in this order")
    return f"{before}{begin}\n\n{part}\n\n{end}{rest[0].split(end)[1]}"
