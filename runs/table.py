"""Print the Markdown table of docs/results.md from finished run folders, one per seed.

    python runs/table.py runs/cube_single/seed*

Rates are pooled over the seeds (successes of all episodes) with a 95 % Wilson interval; the rate of
every seed stands beside, so the spread between seeds stays visible. Steps to success are control
steps, the mean over successful episodes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from softflow.pages.evaluations.record import Evaluation
from softflow.pages.evaluations.stages import STAGES
from softflow.pages.run_record import RunRecord, read_run
from softflow.utils.intervals import Interval, wilson_interval


def finals_of(records: Sequence[RunRecord], stage: str) -> list[Evaluation]:
    """The evaluation that ends a stage, of every run that has one."""
    return [final for record in records if (final := record.final(stage))]


def pooled(finals: Sequence[Evaluation]) -> tuple[float, Interval, int]:
    """Success rate over the episodes of all seeds, its interval, and their number."""
    successes = sum(episode.success for final in finals for episode in final.episodes)
    total = sum(final.num_episodes for final in finals)
    return successes / total, wilson_interval(successes, total), total


def stage_row(records: Sequence[RunRecord], stage: str, name: str) -> str | None:
    """One line of the table, or None where no run has measured the stage."""
    finals = finals_of(records, stage)
    if not finals:
        return None
    rate, interval, total = pooled(finals)
    seeds = ", ".join(f"{final.success_rate:.2f}" for final in finals)
    lengths = [e.length for final in finals for e in final.episodes if e.success]
    length = f"{sum(lengths) / len(lengths):.0f}" if lengths else "–"
    steps = sum(final.robot_steps for final in finals) / len(finals)
    online = sum(final.online_episodes for final in finals) / len(finals)
    return (
        f"| {name} | {rate:.3f} | {interval.low:.3f}–{interval.high:.3f} | {total} | "
        f"{seeds} | {length} | {online:.0f} | {steps:.0f} |"
    )


def main(folders: Sequence[str]) -> None:
    """Print the table of these run folders."""
    records = [read_run(Path(folder)) for folder in folders]
    print(
        "| stage | success | 95 % interval | episodes | per seed | steps to success | "
        "online episodes | robot steps |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for stage, name in STAGES.items():
        if row := stage_row(records, stage, name):
            print(row)


if __name__ == "__main__":
    main(sys.argv[1:])
