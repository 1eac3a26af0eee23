"""Print the tables of runs/cube.sh and draw its figure, like Fig. 5 of the paper.

    python runs/cube_figure.py runs/cube/seed? --out runs/cube/cube.png

Turns a minute and turns before a drop, over minutes of hand time: before the first round, then in
the episodes of each round, drops and all. Bands are 95 % bootstrap intervals over the episodes of
all seeds, dots single seeds. Every quarter turn is 0.25 turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from softflow.data.episode_store import EpisodeStore
from softflow.data.measures import EpisodeFacts, Measured, measure_episodes
from softflow.envs.orca_cube.settings import CONTROL_HZ
from softflow.envs.orca_cube.tasks import CUBE_PROFILE
from softflow.teacher.teacher_files import read_facts
from softflow.utils.metrics import read_metrics

Phases = dict[int, list[EpisodeFacts]]
"""Round -> its episodes; -1 is before the first, in evaluation."""
SHOWN = ("turns_per_minute", "turns_before_drop")
TITLES = {"turns_per_minute": "turns a minute", "turns_before_drop": "turns before a drop"}


def phases_of(run: Path) -> Phases:
    """What the hand did in each round of a run."""
    phases: Phases = {}
    with EpisodeStore.open(run / "evaluations" / "critic_warmup") as store:
        phases[-1] = [EpisodeFacts.of(summary) for summary in store.summaries()]
    with EpisodeStore.open(run / "online") as store:
        for summary in store.summaries():
            phases.setdefault(summary.metadata["round"], []).append(EpisodeFacts.of(summary))
    return phases


def measured(episodes: Sequence[EpisodeFacts]) -> dict[str, Measured]:
    """The task's measures by name."""
    return {m.measure.name: m for m in measure_episodes(CUBE_PROFILE, episodes, CONTROL_HZ)}


def minutes_before(seeds: Sequence[Phases]) -> dict[int, float]:
    """Round -> minutes of hand time by its middle, the mean of the seeds; 0 before the first."""
    found, behind = {-1: 0.0}, 0.0
    for number in rounds_of(seeds)[1:]:
        steps = sum(episode.length for phases in seeds for episode in phases[number])
        lasted = steps / CONTROL_HZ / 60 / len(seeds)
        found[number], behind = behind + lasted / 2, behind + lasted
    return found


def rounds_of(seeds: Sequence[Phases]) -> list[int]:
    """Rounds that all seeds have played, before the first (-1) in front."""
    return sorted(set.intersection(*(set(phases) for phases in seeds)))


def print_before(folders: Sequence[Path]) -> None:
    """Teachers and students without the gap, a row a seed."""
    print("| seed | teacher, turns/min | turns in 60 s (median) | dropped | student, turns/min |")
    print("|---|---|---|---|---|")
    for folder in folders:
        facts = read_facts(folder / "teacher")
        best = max(facts.evaluations, key=lambda e: e["turns"])
        curves = {series.name: series for series in read_metrics(folder / "student")}
        last = curves["student/turns_per_minute"].value[-1]
        print(
            f"| {facts.seed} | {best['turns_per_minute']:.2f} | {best['turns_median']:.2f} | "
            f"{best['drop_rate']:.0%} | {last:.2f} |"
        )


def print_rounds(seeds: Sequence[Phases]) -> None:
    """A row a round: both measures of all seeds' episodes."""
    print("\n| round | minutes of hand time | turns/min | 95 % | turns before a drop | 95 % |")
    print("|---|---|---|---|---|---|")
    minutes = minutes_before(seeds)
    for number in rounds_of(seeds):
        found = measured([episode for phases in seeds for episode in phases[number]])
        cells = [
            f"{_number(found[name].value)} | {_number(found[name].low)}–{_number(found[name].high)}"
            for name in SHOWN
        ]
        label = "before" if number < 0 else str(number + 1)
        print(f"| {label} | {minutes[number]:.0f} | {' | '.join(cells)} |")


def draw(axes: Axes, seeds: Sequence[Phases], name: str) -> None:
    """One measure over minutes of hand time."""
    minutes = minutes_before(seeds)
    rounds = rounds_of(seeds)
    x = [minutes[number] for number in rounds]
    pooled = [measured([e for phases in seeds for e in phases[number]])[name] for number in rounds]
    values, low, high = (
        np.array([_known(getattr(m, end)) for m in pooled]) for end in ("value", "low", "high")
    )
    axes.fill_between(x, low, high, color="#d2521d", alpha=0.2, linewidth=0)
    axes.plot(x, values, color="#d2521d", marker="o")
    for phases in seeds:
        single = [_known(measured(phases[number])[name].value) for number in rounds]
        axes.scatter(x, single, s=10, color="#1d2024", alpha=0.6, zorder=3)
    axes.set(xlabel="minutes of hand time", ylabel=TITLES[name], ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)


def _known(value: float | None) -> float:
    return float("nan") if value is None else value


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def main() -> None:
    """Print and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="runs/cube/seedS")
    parser.add_argument("--out", type=Path, default=Path("runs/cube/cube.png"))
    arguments = parser.parse_args()
    seeds = [phases_of(folder / "run") for folder in arguments.folders]
    print_before(arguments.folders)
    print_rounds(seeds)
    figure, both = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axes, name in zip(both, SHOWN, strict=True):
        draw(axes, seeds, name)
    figure.savefig(arguments.out, dpi=150)
    print(f"\nfigure: {arguments.out}")


if __name__ == "__main__":
    main()
