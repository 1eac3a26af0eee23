"""Print the tables of runs/cube.sh and draw its figure, like Fig. 5 of the paper.

    python runs/cube_figure.py runs/cube/seed? --out runs/cube/cube.png

Turns a minute and turns a trajectory (until the cube drops, or 32 s), over minutes of hand time:
measured before the first round and after each, drops and all. Bands are 95 % bootstrap intervals
over the episodes of all seeds, dots single seeds; dashed are the episodes that were learned from,
which explore. Every quarter turn is 0.25 turns.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from softflow.data.episode_store import EpisodeStore
from softflow.data.files.episode_file import EpisodeSummary
from softflow.data.measures import EpisodeFacts, measure_episodes
from softflow.envs.orca_cube.settings import CONTROL_HZ
from softflow.envs.orca_cube.tasks import CUBE_PROFILE
from softflow.teacher.teacher_files import read_facts
from softflow.utils.intervals import bootstrap_ratio
from softflow.utils.metrics import read_metrics

Episodes = list[EpisodeFacts]
TITLES = {"turns_per_minute": "turns a minute", "turns_per_trajectory": "turns a trajectory"}
QUARTER = 0.25


@dataclass(frozen=True)
class Seed:
    """What a hand did.

    Attributes:
        measured: before the first round and after each, one entry more than rounds.
        learned_from: of each round.
    """

    measured: list[Episodes]
    learned_from: list[Episodes]


def seed_of(run: Path) -> Seed:
    """What happened in a run, as far as it has come."""
    learned_from: list[Episodes] = []
    for summary in _summaries(run / "online"):
        while len(learned_from) <= summary.metadata["round"]:
            learned_from.append([])
        learned_from[-1].append(EpisodeFacts.of(summary))
    evaluations = run / "evaluations"
    names = ["critic_warmup", *(path.stem for path in sorted(evaluations.glob("*_round_*.json")))]
    measured = [[EpisodeFacts.of(s) for s in _summaries(evaluations / name)] for name in names]
    return Seed(measured, learned_from[: len(measured) - 1])


def _summaries(path: Path) -> list[EpisodeSummary]:
    with EpisodeStore.open(path) as store:
        return list(store.summaries())


def measures_of(episodes: Episodes) -> dict[str, tuple[float, float, float]]:
    """The measures by name: value and 95 % interval, NaN where nothing can be said."""
    found = {
        one.measure.name: tuple(_known(getattr(one, end)) for end in ("value", "low", "high"))
        for one in measure_episodes(CUBE_PROFILE, episodes, CONTROL_HZ)
    }
    turns = [QUARTER * facts.events.count("rotated") for facts in episodes]
    ends = bootstrap_ratio(turns, [1.0] * len(turns))
    return found | {"turns_per_trajectory": (float(np.mean(turns)), ends.low, ends.high)}  # type: ignore[return-value]


def minutes_of(seeds: Sequence[Seed], rounds: int) -> list[float]:
    """Minutes of hand time [rounds + 1] behind each measurement, the mean of the seeds."""
    lasted = [
        sum(facts.length for seed in seeds for facts in seed.learned_from[index]) / len(seeds)
        for index in range(rounds)
    ]
    return [0.0, *(np.cumsum(lasted) / CONTROL_HZ / 60).tolist()]


def rounds_of(seeds: Sequence[Seed]) -> int:
    """Rounds that all seeds have behind them."""
    return min(len(seed.learned_from) for seed in seeds)


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


def print_rounds(seeds: Sequence[Seed]) -> None:
    """A row a round: the measures of all seeds' episodes, and every seed's turns a trajectory."""
    print(
        "\n| after round | minutes | " + " | ".join(f"{t} | 95 %" for t in TITLES.values()), end=""
    )
    print(" | dropped | turns a trajectory, every seed |")
    print("|" + "---|" * (4 + 2 * len(TITLES)))
    for index, minutes in enumerate(minutes_of(seeds, rounds_of(seeds))):
        found = measures_of([facts for seed in seeds for facts in seed.measured[index]])
        cells = [f"{value:.2f} | {low:.2f}–{high:.2f}" for value, low, high in _shown(found)]
        every = [measures_of(seed.measured[index])["turns_per_trajectory"][0] for seed in seeds]
        print(f"| {index or 'before'} | {minutes:.0f} | {' | '.join(cells)}", end="")
        print(f" | {found['drop_rate'][0]:.0%} | {', '.join(f'{one:.2f}' for one in every)} |")


def _shown(found: dict[str, tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    return [found[name] for name in TITLES]


def draw(axes: Axes, seeds: Sequence[Seed], name: str) -> None:
    """One measure over minutes of hand time."""
    rounds = rounds_of(seeds)
    x = minutes_of(seeds, rounds)
    pooled = [[facts for seed in seeds for facts in seed.measured[k]] for k in range(rounds + 1)]
    value, low, high = np.array([measures_of(episodes)[name] for episodes in pooled]).T
    axes.fill_between(x, low, high, color="#d2521d", alpha=0.2, linewidth=0)
    axes.plot(x, value, color="#d2521d", marker="o", label="measured")
    for seed in seeds:
        single = [measures_of(seed.measured[k])[name][0] for k in range(rounds + 1)]
        axes.scatter(x, single, s=10, color="#1d2024", alpha=0.6, zorder=3)
    trying = [[facts for seed in seeds for facts in seed.learned_from[k]] for k in range(rounds)]
    middle = [(before + after) / 2 for before, after in pairwise(x)]
    tried = [measures_of(episodes)[name][0] for episodes in trying]
    axes.plot(middle, tried, color="#4a7a9c", linestyle="--", label="while exploring")
    axes.set(xlabel="minutes of hand time", ylabel=TITLES[name], ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)


def _known(value: float | None) -> float:
    return float("nan") if value is None else value


def main() -> None:
    """Print and draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="runs/cube/seedS")
    parser.add_argument("--out", type=Path, default=Path("runs/cube/cube.png"))
    arguments = parser.parse_args()
    seeds = [seed_of(folder / "run") for folder in arguments.folders]
    print_before(arguments.folders)
    print_rounds(seeds)
    figure, both = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for axes, name in zip(both, TITLES, strict=True):
        draw(axes, seeds, name)
    both[0].legend(frameon=False)
    figure.savefig(arguments.out, dpi=150)
    print(f"\nfigure: {arguments.out}")


if __name__ == "__main__":
    main()
