"""Print the table of a rehearsal and draw its figure: `python runs/rehearsal_table.py FOLDER`.

FOLDER is that of runs/robot_rehearsal.sh. A row is a round: of its episodes, those that succeeded,
with a 95 % Wilson interval, on the robot and in the simulator alone. Episodes that were cut because
a process was killed are learned from, and not counted here.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from softflow.data.episode_store import EpisodeStore
from softflow.pages.evaluations.stages import STAGES
from softflow.pages.run_record import read_run
from softflow.utils.intervals import wilson_interval

RUNS = {"on_robot": "on the robot", "in_simulator": "in the simulator"}
COLOURS = {"on_robot": "#d2521d", "in_simulator": "#2473c6"}
Rounds = dict[int, list[bool]]


def rounds_of(run: Path) -> tuple[Rounds, int]:
    """Round -> whether each of its episodes succeeded, and how many were cut by a kill."""
    rounds: Rounds = {}
    cut = 0
    with EpisodeStore.open(run / "online") as store:
        for summary in store.summaries():
            if summary.metadata.get("ended") == "stopped":
                cut += 1
            else:
                rounds.setdefault(summary.metadata["round"], []).append(bool(summary.success))
    return rounds, cut


def rate(results: list[bool]) -> str:
    """Successes of episodes, and the interval."""
    interval = wilson_interval(sum(results), len(results))
    return f"{sum(results)} of {len(results)} | {interval.low:.2f}–{interval.high:.2f}"


def print_rounds(found: dict[str, Rounds]) -> None:
    """The table: a row a round, and both halves together."""
    names = " | ".join(f"{RUNS[name]} | 95 %" for name in found)
    print(f"| round | {names} |\n|---|{'---|---|' * len(found)}")
    numbers = sorted(set.intersection(*(set(rounds) for rounds in found.values())))
    half = len(numbers) // 2
    rows = {str(number + 1): [number] for number in numbers}
    rows |= {"first half": numbers[:half], "second half": numbers[half:]}
    for label, chosen in rows.items():
        cells = (rate([r for n in chosen for r in rounds[n]]) for rounds in found.values())
        print(f"| {label} | {' | '.join(cells)} |")


def print_evaluations(folder: Path) -> None:
    """The policies after each stage, measured in the simulator without any delay."""
    print("\n| evaluated after | on the robot | in the simulator |\n|---|---|---|")
    records = [read_run(folder / name) for name in RUNS]
    for stage, title in STAGES.items():
        finals = [record.final(stage) for record in records]
        cells = (
            f"{f.success_rate:.2f} ({f.interval_low:.2f}–{f.interval_high:.2f})" if f else "–"
            for f in finals
        )
        if any(finals):
            print(f"| {title} | {' | '.join(cells)} |")


def print_loop(folder: Path, cut: int) -> None:
    """What happened on the way: kills, missed ticks, latencies."""
    with (folder / "logs" / "kills.csv").open() as file:
        ends = Counter((row[0], row[1]) for row in csv.reader(file))
    killed = ", ".join(f"{name} {n}" for (name, what), n in ends.items() if what == "killed")
    with EpisodeStore.open(folder / "episodes") as store:
        loops = [summary.metadata["loop"] for summary in store.summaries()]
    steps = sum(loop["lateness"]["number"] for loop in loops)
    decisions = sum(loop["latency"]["number"] for loop in loops)
    latency = sum(loop["latency"]["mean_ms"] * loop["latency"]["number"] for loop in loops)
    thought = sum(loop["deciding"]["mean_ms"] * loop["deciding"]["number"] for loop in loops)
    print(f"\nkilled -9: {killed}; episodes cut by that, and learned from: {cut}")
    print(
        f"{steps} control steps, {sum(loop['missed_ticks'] for loop in loops)} missed, "
        f"{sum(loop['held_steps'] for loop in loops)} held, "
        f"{sum(loop['skipped_actions'] for loop in loops)} actions skipped; {decisions} decisions, "
        f"{latency / max(decisions, 1):.0f} ms from question to answer, "
        f"{thought / max(decisions, 1):.0f} ms of it inference"
    )


def draw(found: dict[str, Rounds], path: Path) -> None:
    """Success of every round, with intervals."""
    figure, axes = plt.subplots(figsize=(6.4, 3.0), dpi=110)
    for offset, (name, rounds) in zip((-0.08, 0.08), found.items(), strict=True):
        numbers = sorted(rounds)
        means = [sum(rounds[n]) / len(rounds[n]) for n in numbers]
        ends = [wilson_interval(sum(rounds[n]), len(rounds[n])) for n in numbers]
        below = [mean - end.low for mean, end in zip(means, ends, strict=True)]
        above = [end.high - mean for mean, end in zip(means, ends, strict=True)]
        places = [number + 1 + offset for number in numbers]
        bars = axes.errorbar(places, means, (below, above), color=COLOURS[name], capsize=3)
        bars.lines[0].set(marker="o", markersize=4, linewidth=1.2, label=RUNS[name])
    axes.set(ylim=(0, 1.02), xlabel="online round", ylabel="success of its episodes")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    figure.savefig(path)


def main(folder: Path) -> None:
    """Table and figure."""
    both = {name: rounds_of(folder / name) for name in RUNS}
    found = {name: rounds for name, (rounds, _) in both.items()}
    print_rounds(found)
    print_evaluations(folder)
    print_loop(folder, both["on_robot"][1])
    draw(found, folder / "rehearsal.png")
    print(f"\n{folder / 'rehearsal.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
