"""Rows as a Markdown table: methods × online episodes, pooled over seeds, with 95 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from benchmarks.peers.rows import Row
from softflow.utils.intervals import wilson_interval

HEADING = (
    "| task | method | online episodes | success | 95 % interval | per seed | steps to success | "
    "collected | robot steps | update, CPU ms | decision, CPU ms | CPU s |"
)


def markdown(rows: Sequence[Row]) -> str:
    """The table of these rows; mean over seeds where nothing else is said."""
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        name = f"{row.method} {row.settings}".rstrip()
        groups.setdefault((row.task, name, row.online_episodes), []).append(row)
    lines = [HEADING, "|---" * HEADING.count(" | ") + "|---|"]
    lines += [_line(*key, groups[key]) for key in sorted(groups)]
    return "\n".join(lines)


def _line(task: str, name: str, online_episodes: int, rows: list[Row]) -> str:
    rows = sorted(rows, key=lambda row: row.seed)
    successes, total = sum(r.successes for r in rows), sum(r.eval_episodes for r in rows)
    low, high = wilson_interval(successes, total)
    steps = sum((r.mean_steps or 0) * r.successes for r in rows) / successes if successes else None
    cells = (
        task,
        name,
        str(online_episodes),
        f"{successes / total:.3f}",
        f"{low:.3f}–{high:.3f}",
        ", ".join(f"{row.success:.2f}" for row in rows),
        _mean([steps], 0),
        _mean([row.collected_successes for row in rows], 1),
        _mean([row.robot_steps for row in rows], 0),
        _mean([row.update_cpu_ms for row in rows], 1),
        _mean([row.decision_cpu_ms for row in rows], 1),
        _mean([row.cpu_s for row in rows], 0),
    )
    return f"| {' | '.join(cells)} |"


def _mean(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    return f"{fmean(known):,.{digits}f}" if known else "–"
