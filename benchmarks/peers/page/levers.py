"""The table of levers: what one setting changes, beside the defaults with the same seeds."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.peers.page.cells import estimate, number, table
from benchmarks.peers.page.estimates import Estimate
from benchmarks.peers.page.summary import Runs, counts_of, order_of
from benchmarks.peers.page.tables import COSTS, commands


def lever_tables(runs: Sequence[Runs], usual: Sequence[Runs], csv: str) -> str:
    """A table for every method and task whose settings were changed.

    Args:
        runs: with changed settings; of what has the defaults, nothing is shown by itself.
        usual: where the rows of the defaults are looked for.
        csv: the file of the changed ones, for the commands.
    """
    parts: list[str] = []
    for task, (_, method) in sorted({(r.task, order_of(r.method)) for r in runs if r.settings}):
        here = [r for r in runs if (r.task, r.method) == (task, method) and r.settings]
        changed = sorted(here, key=lambda one: one.settings)
        seeds = {seed for one in changed for seed in one.seeds}
        name = task, method, ""
        defaults = [r for r in [*runs, *usual] if (r.task, r.method, r.settings) == name]
        shown = [*(_of_seeds(one, seeds) for one in defaults[:1]), *changed]
        parts += [f"### {method} on {task}", _lever_table(shown)]
        parts.append(commands(changed, f" --csv {csv}"))
    return "\n\n".join(parts)


def _lever_table(shown: Sequence[Runs]) -> str:
    counts = counts_of(shown)
    defaults = next((one for one in shown if not one.settings), None)
    lines: list[list[str]] = []
    for one in shown:
        line = [f"`{one.settings}`" if one.settings else "defaults", str(len(one.seeds))]
        for count in counts:
            value = one.success(count)
            usual = defaults.success(count) if defaults else None
            line.append(estimate(value, len(one.seeds)) + _arrow(value, usual))
        line += [number(cost(one, counts[-1]), digits) for cost, digits in COSTS.values()]
        lines.append(line)
    return table(["setting", "seeds", *map(str, counts), *COSTS], lines)


def _of_seeds(runs: Runs, seeds: set[int]) -> Runs:
    rows = tuple(row for row in runs.rows if row.seed in seeds)
    return Runs(runs.task, runs.method, runs.settings, rows)


def _arrow(value: Estimate | None, usual: Estimate | None) -> str:
    """Whether an interval lies wholly above or below that of the defaults."""
    if value is None or usual is None or value.overlaps(usual):
        return ""
    return " ↑" if value.rate > usual.rate else " ↓"
