"""Print the table of the delay study in docs/results.md, and draw its figure.

    python runs/delay_table.py runs/delay_study/seed? --figure docs/figures/delay_study.png

Reads the evaluations that `runs/delay_study.sh` left in every seed's folder. Rates are pooled over
seeds and episodes with a 95 % Wilson interval; steps are the mean over successful episodes. How far
the action goes from one control step to the next (mean over components) is told where one chunk
follows another, or the robot stops and starts, and everywhere else. A policy with P prefix actions
acts alike at every delay up to P control steps, and is measured at P.
"""

from __future__ import annotations

import argparse
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from softflow.data.episode_store import EpisodeStore
from softflow.utils.files import read_object
from softflow.utils.intervals import Interval, wilson_interval

STEP_MS, HORIZON = 50, 5
"""A control step of cube-single, 20 Hz; control steps from a decision to the next."""
METHODS = {
    "prefix": ("trained with prefix actions", "#2473c6"),
    "goes on": ("without prefix, goes on with what is left", "#d2521d"),
    "stops": ("without prefix, stops to think", "#7b838e"),
}
Cells = Mapping[tuple[str, int], Mapping[str, list[dict[str, Any]]]]
"""(method, delay in control steps) -> seed folder -> its episodes."""


def cell_of(prefix: int, result: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Which cells an evaluation counts for: without any delay all three methods are one."""
    delay = round(result["latency_ms"][1] / STEP_MS)
    if delay == 0:
        return [(method, 0) for method in METHODS]
    if prefix:
        return [("prefix", delay)]
    return [("stops" if result["stops_to_think"] else "goes on", delay)]


def read_cells(folders: Sequence[Path]) -> Cells:
    """The episodes of every cell."""
    cells: dict[tuple[str, int], dict[str, list[dict[str, Any]]]] = defaultdict(dict)
    for folder in folders:
        for file in sorted(folder.glob("prefix*/delays/*.json")):
            prefix = int(re.sub(r"\D", "", file.parent.parent.name))
            result = read_object(file)
            delay = round(result["latency_ms"][1] / STEP_MS)
            seams = Seams(prefix, delay, result["stops_to_think"])
            changes = changes_of(file.parent / result["label"], seams)
            episodes = [e | changes[e["seed"]] for e in result["episodes"]]
            for cell in cell_of(prefix, result):
                cells[cell].setdefault(folder.name, []).extend(episodes)
    return cells


class Seams(NamedTuple):
    """Where one chunk follows another: worked out from when decisions are taken and arrive."""

    prefix: int
    delay: int
    stops: bool

    def among(self, count: int) -> np.ndarray:
        """`[count]`: whether the step from action i to i + 1 is one."""
        step = np.arange(count)
        if self.stops and self.delay:
            ends = (self.delay - 1, self.delay - 1 + HORIZON)
            return np.isin(step % (HORIZON + self.delay), ends)
        # The first decision is waited for, so later ones are asked for a delay later.
        begins = self.prefix or 2 * self.delay
        return (step + 1 - begins) % HORIZON == 0


def changes_of(store: Path, seams: Seams) -> dict[int, dict[str, np.ndarray]]:
    """Seed of an episode -> how far its action goes from each control step to the next."""
    found: dict[int, dict[str, np.ndarray]] = {}
    with EpisodeStore.open(store) as opened:
        for index in range(len(opened)):
            episode = opened.episode(index)
            change = np.abs(np.diff(episode.actions, axis=0)).mean(axis=1)
            there = seams.among(len(change))
            found[episode.metadata["seed"]] = {"at": change[there], "else": change[~there]}
    return found


def rate_of(episodes: Sequence[Mapping[str, Any]]) -> tuple[float, Interval]:
    """Success rate of episodes with its interval."""
    successes = sum(bool(episode["success"]) for episode in episodes)
    return successes / len(episodes), wilson_interval(successes, len(episodes))


def print_table(cells: Cells) -> None:
    """A line a method and delay."""
    print(
        "| delay, control steps | method | success | 95 % interval | episodes | per seed | "
        "steps | change at seams | elsewhere |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for (method, delay), seeds in sorted(cells.items(), key=lambda item: item[0][1]):
        if delay == 0 and method != "prefix":
            continue
        episodes = [episode for of_seed in seeds.values() for episode in of_seed]
        rate, interval = rate_of(episodes)
        each = ", ".join(f"{rate_of(of_seed)[0]:.2f}" for of_seed in seeds.values())
        lengths = [episode["length"] for episode in episodes if episode["success"]]
        steps = f"{sum(lengths) / len(lengths):.0f}" if lengths else "–"
        at, elsewhere = (
            np.concatenate([episode[where] for episode in episodes]).mean()
            for where in ("at", "else")
        )
        name = METHODS[method][0] if delay else "P = 0, decisions at once"
        print(
            f"| {delay} | {name} | {rate:.2f} | {interval.low:.2f}–{interval.high:.2f} | "
            f"{len(episodes)} | {each} | {steps} | {at:.3f} | {elsewhere:.3f} |"
        )


def draw(cells: Cells, out: Path) -> None:
    """Success against delay, a line a method."""
    figure, axes = plt.subplots(figsize=(6.4, 3.2), dpi=110)
    for index, (method, (name, colour)) in enumerate(METHODS.items()):
        delays = sorted(delay for kind, delay in cells if kind == method)
        rates = [
            rate_of([episode for seed in cells[method, delay].values() for episode in seed])
            for delay in delays
        ]
        low = [rate - interval.low for rate, interval in rates]
        high = [interval.high - rate for rate, interval in rates]
        where = [delay + 0.06 * (index - 1) for delay in delays]
        values = [rate for rate, _ in rates]
        axes.errorbar(where, values, [low, high], color=colour, marker="o", capsize=3, label=name)
    axes.set(xlabel="delay of a decision, control steps of 50 ms", ylabel="success", ylim=(0, 1))
    axes.set_xticks(sorted({delay for _, delay in cells}))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    axes.set_title("cube-single: decisions that take time", fontsize=10, loc="left")
    figure.tight_layout()
    out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out)


def main() -> None:
    """Print the table, draw the figure if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="runs/delay_study/seedS")
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    cells = read_cells(arguments.folders)
    print_table(cells)
    if arguments.figure:
        draw(cells, arguments.figure)


if __name__ == "__main__":
    main()
