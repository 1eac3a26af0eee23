"""The tables of methods: all tasks together, and each task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from benchmarks.peers.page.cells import NOTHING, compared, lowest, number, share, table
from benchmarks.peers.page.estimates import Estimate, joined
from benchmarks.peers.page.summary import Runs, counts_of, order_of, tasks_of
from benchmarks.peers.rows import Row

OVERVIEW_COUNTS = (50, 100)
"""Online episodes in the table of all tasks."""
COSTS: dict[str, tuple[Callable[[Runs, int], float | None], int]] = {
    "steps to success": (Runs.steps_to_success, 0),
    "robot steps": (lambda runs, at: runs.mean(at, lambda row: row.robot_steps), 0),
    "update, CPU ms": (lambda runs, at: runs.mean(at, lambda row: row.update_cpu_ms), 1),
    "decision, CPU ms": (lambda runs, at: runs.mean(at, lambda row: row.decision_cpu_ms), 2),
    "CPU s": (lambda runs, at: runs.mean(at, lambda row: row.cpu_s), 0),
}
"""What is the better the less of it, after so many online episodes; and digits shown."""


def overview(runs: Sequence[Runs]) -> str:
    """Success after 50 and 100 online episodes: methods × tasks, and all tasks together."""
    tasks = tasks_of(runs)
    names = sorted({one.name for one in runs}, key=order_of)
    heading = ["online episodes", "method", *tasks]
    if len(tasks) > 1:
        heading.append(f"all {len(tasks)}")
    lines: list[Sequence[str]] = []
    for count in OVERVIEW_COUNTS:
        columns = [_task_column(methods, names, count) for methods in tasks.values()]
        if len(tasks) > 1:
            together = [_together(tasks, name, count) for name in names]
            columns.append(compared(together, [0] * len(names)))
        lines += zip([str(count)] * len(names), names, *columns, strict=True)
    return table(heading, lines)


def _task_column(methods: Sequence[Runs], names: Sequence[str], count: int) -> list[str]:
    named = {one.name: one for one in methods}
    values = [named[name].success(count) if name in named else None for name in names]
    return compared(values, [len(named[name].seeds) if name in named else 0 for name in names])


def _together(tasks: Mapping[str, Sequence[Runs]], name: str, count: int) -> Estimate | None:
    """Over all tasks, of a method that has been measured on all of them."""
    found = [one.at(count) for runs in tasks.values() for one in runs if one.name == name]
    return joined(found) if len(found) == len(tasks) and all(found) else None


def task_tables(runs: Sequence[Runs]) -> str:
    """Success after every number of online episodes, and what it cost, on one task."""
    last = counts_of(runs)[-1]
    return (
        f"Success after so many online episodes:\n\n{success_table(runs)}\n\n"
        f"What {last} online episodes cost, and how soon a method is good:\n\n{cost_table(runs)}"
    )


def success_table(runs: Sequence[Runs]) -> str:
    """Methods × online episodes, and every seed at the end."""
    counts = counts_of(runs)
    seeds = [len(one.seeds) for one in runs]
    columns = [compared([one.success(count) for one in runs], seeds) for count in counts]
    ends = [[share(row.success, 2) for row in one.at(counts[-1])] or [NOTHING] for one in runs]
    every = [", ".join(end) for end in ends]
    names = [one.name for one in runs]
    heading = ["method", "seeds", *map(str, counts), f"every seed after {counts[-1]}"]
    return table(heading, list(zip(names, map(str, seeds), *columns, every, strict=True)))


def cost_table(runs: Sequence[Runs]) -> str:
    """Methods × robot steps, CPU time, and what it took to be good."""
    last = counts_of(runs)[-1]
    columns = [lowest([cost(one, last) for one in runs], digits) for cost, digits in COSTS.values()]
    columns += [
        [number(one.mean(last, lambda row: row.collected_successes), 1) for one in runs],
        _until(runs, 0.9, lambda row: row.cpu_s),
        _until(runs, 0.8, lambda row: row.online_episodes),
    ]
    heading = ["method", *COSTS, f"succeeded of {last}", "CPU s to .9", "episodes to .8"]
    return table(heading, list(zip([one.name for one in runs], *columns, strict=True)))


def _until(runs: Sequence[Runs], success: float, value: Callable[[Row], float]) -> list[str]:
    """The median over seeds, and how many of them came so far."""
    found = [one.first(success, value) for one in runs]
    medians = lowest([median for median, _ in found], 0)
    return [
        f"{cell} ({reached} of {len(one.seeds)})"
        for cell, (_, reached), one in zip(medians, found, runs, strict=True)
    ]


def commands(runs: Sequence[Runs], options: str = "") -> str:
    """What was run, with the commits and versions, folded away.

    Args:
        runs: what is shown.
        options: more of them, for every command.
    """
    lines = "\n".join(command + options for one in runs for command in one.commands)
    commits = ", ".join(sorted({row.commit for one in runs for row in one.rows}))
    versions = "; ".join(sorted({row.versions for one in runs for row in one.rows}))
    return (
        f"<details><summary>Commands</summary>\n\n```\n{lines}\n```\n\n"
        f"Commits: {commits}. {versions}.\n\n</details>"
    )
