"""Draw docs/figures/demo.png from finished run folders, one per seed.

    python runs/figure.py runs/cube_single/seed? --out docs/figures/demo.png

Left: success after each stage, pooled over the seeds, with its 95 % Wilson interval; a dot a seed;
the dashed line is the demonstrations. Right: a rollout of the first run's last policy.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import av
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from table import finals_of, pooled

from softflow.data.episode_store import EpisodeStore
from softflow.pages.evaluations.stages import STAGES
from softflow.pages.run_record import RunRecord, read_run

COLOURS = {
    "imitation": "#7b838e",
    "critic_warmup": "#319a63",
    "offline_rl": "#2473c6",
    "online_rl": "#d2521d",
}
"""The report's."""
STRIP_FRAMES = 6


def demonstrated(records: Sequence[RunRecord]) -> float:
    """Share of the demonstrations of all runs that succeed."""
    results: list[bool] = []
    for record in records:
        with EpisodeStore.open(record.path / "demonstrations") as store:
            results += [bool(summary.success) for summary in store.summaries()]
    return sum(results) / len(results)


def draw_success(axes: Axes, records: Sequence[RunRecord]) -> None:
    """A bar a stage with its interval, and a dot a seed."""
    for x, (stage, name) in enumerate(STAGES.items()):
        finals = finals_of(records, stage)
        rate, interval, _ = pooled(finals)
        axes.bar(x, rate, width=0.62, color=COLOURS[stage], alpha=0.85)
        error = [[rate - interval.low], [interval.high - rate]]
        axes.errorbar(x, rate, error, color="#1d2024", capsize=4, linewidth=1.2)
        offsets = np.linspace(-0.18, 0.18, len(finals))
        axes.scatter(x + offsets, [f.success_rate for f in finals], s=14, color="#1d2024", zorder=3)
        axes.text(x, 0.03, f"{rate:.0%}", ha="center", color="white", weight="bold")
        axes.text(x, -0.06, name, ha="center", va="top", fontsize=9)
    rate = demonstrated(records)
    axes.axhline(rate, color="#686f78", linestyle="--", linewidth=1)
    axes.text(-0.45, rate + 0.015, f"demonstrations {rate:.0%}", fontsize=8, color="#686f78")
    axes.set(ylim=(0, 1), xticks=[], yticks=[0, 0.5, 1], yticklabels=["0", "50 %", "100 %"])
    axes.spines[["top", "right"]].set_visible(False)
    episodes = max(final.online_episodes for record in records for final in record.evaluations)
    axes.set_title(
        f"Success after each stage ({len(records)} seeds, {episodes} online episodes each)",
        fontsize=10,
        loc="left",
    )


def draw_rollout(panel: SubFigure, record: RunRecord) -> None:
    """Frames at equal distances from the video of the last stage."""
    videos = record.shown_videos("online_rl")
    if not videos:
        raise SystemExit(f"{record.path} has no video of its last stage")
    video = videos[0]
    with av.open(str(video.path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    chosen = np.linspace(0, len(frames) - 1, STRIP_FRAMES).round().astype(int)
    for cell, index in zip(panel.subplots(2, STRIP_FRAMES // 2).flat, chosen, strict=True):
        cell.imshow(frames[index])
        cell.set_axis_off()
    panel.subplots_adjust(left=0.02, right=0.98, top=0.87, bottom=0.02, wspace=0.04, hspace=0.04)
    panel.suptitle("One rollout after online RL", fontsize=10, y=0.97)


def main() -> None:
    """Draw the figure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, help="run folders, one per seed")
    parser.add_argument("--out", type=Path, default=Path("docs/figures/demo.png"))
    arguments = parser.parse_args()
    records = [read_run(folder) for folder in arguments.folders]
    figure = plt.figure(figsize=(9.6, 3.0), dpi=110)
    grid = figure.add_gridspec(1, 2, width_ratios=[1.15, 1])
    left, right = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    axes = left.subplots()
    left.subplots_adjust(left=0.12, right=0.97, top=0.88, bottom=0.14)
    draw_success(axes, records)
    draw_rollout(right, records[0])
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(arguments.out)


if __name__ == "__main__":
    main()
