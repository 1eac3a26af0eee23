"""`python -m benchmarks`: measure, print the table, keep the numbers."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks import (
    action_selection,
    checkpoint_time,
    cube_hands,
    data_append,
    data_images,
    data_import,
    data_memory,
    data_throughput,
    deployed_decision,
    image_training,
    import_memory,
    label_page,
    paper_images,
    render_speed,
    robot_links,
    robot_loop,
    rollout_latency,
    update_beside_peers,
    update_time,
)
from benchmarks.measuring import Section, Spread
from softflow.presets import preset
from softflow.utils.files import write_json

Name = Literal[
    "action_selection",
    "update_small",
    "update_paper",
    "update_peers",
    "checkpoint",
    "data",
    "data_images",
    "data_memory",
    "data_append",
    "data_import",
    "import_memory",
    "images",
    "paper_images_84",
    "paper_images_224",
    "rollout",
    "deployed",
    "robot",
    "robot_links",
    "render",
    "label",
    "cube_hands",
]


@dataclass(frozen=True)
class Options:
    """Measure on this machine what sampling, updates, data and rollouts cost, as ratios."""

    only: tuple[Name, ...] = ()
    """Which benchmarks to run; all of them by default."""
    threads: int = 0
    """Threads of PyTorch; 0 keeps its own choice."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where the networks run; data and rollouts are measured on the CPU."""
    turns: int = 5
    """Timed turns of every comparison; the median and the quartiles are reported."""
    paper_batch: int = 48
    """Batch size of every update at `scissors` size (App. C2: 48 in the RL stages)."""
    frames_batch: int = 4
    """Batch size of updates from frames at the paper's sizes; 0: the presets' own, for GPUs."""
    json: Path | None = None
    """File for the numbers."""


def benchmarks(options: Options) -> dict[Name, Callable[[], Section]]:
    """What each name measures, at the sizes of the presets."""
    small, decision, robot = preset("small"), preset("robomimic-state"), preset("scissors")
    robot = replace(robot, model=replace(robot.model, encoder=decision.model.encoder))
    turns, device = options.turns, options.device
    sim, real = (
        paper_images.Case(name, preset(name), cameras, pixels, options.frames_batch or None)
        for name, cameras, pixels in (("robomimic-image", 2, 84), ("scissors", 3, 224))
    )
    size = action_selection.DecisionSize(decision.model)
    return {
        "action_selection": lambda: action_selection.run(size, turns, device),
        "update_small": lambda: update_time.run("small", small, "≤ 4", turns, None, device),
        "update_paper": lambda: update_time.run(
            "scissors", robot, "≤ 2", turns, options.paper_batch, device
        ),
        "update_peers": lambda: update_beside_peers.run(
            {name: preset(name) for name in ("small", "softflow-plus")}, turns
        ),
        "checkpoint": lambda: checkpoint_time.run("scissors", robot, turns, device),
        "data": lambda: data_throughput.run(small.imitation.batch_size, turns),
        "data_images": lambda: data_images.run(small.model.chunk, turns),
        "data_memory": lambda: data_memory.run(small.model.chunk, small.imitation.batch_size),
        "data_append": lambda: data_append.run(turns),
        "data_import": lambda: data_import.run(turns),
        "import_memory": import_memory.run,
        "images": lambda: image_training.run(preset("small-image"), turns, device),
        "paper_images_84": lambda: paper_images.run(sim, turns, device),
        "paper_images_224": lambda: paper_images.run(real, turns, device),
        "rollout": lambda: rollout_latency.run("small", small, turns),
        "deployed": lambda: deployed_decision.run("small", small, turns),
        "robot": lambda: robot_loop.run(turns),
        "robot_links": lambda: robot_links.run(turns),
        "render": lambda: render_speed.run(turns),
        "label": lambda: label_page.run(turns),
        "cube_hands": lambda: cube_hands.run(turns),
    }


def machine(device: str) -> dict[str, Any]:
    """What the numbers depend on besides the code."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def table(section: Section) -> Table:
    """One comparison: medians, with quartiles in brackets."""
    result = Table(title=section.title, title_justify="left", box=SIMPLE_HEAD, expand=True)
    for heading, width in zip(
        ("", "ms", section.ratio_heading, "aim"), (30, 20, 18, 5), strict=True
    ):
        justify = "right" if heading else "left"
        result.add_column(heading, justify=justify, min_width=width, no_wrap=True)
    result.add_column("", ratio=1)
    for row in section.rows:
        result.add_row(row.name, _cell(row.ms), _cell(row.ratio), row.aim, row.note)
    return result


def _cell(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"{_number(spread.median)} ({_number(spread.low)}–{_number(spread.high)})"


def _number(value: float) -> str:
    """Three digits that count, and never 4.51e+03."""
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def main(options: Options) -> list[Section]:
    """Run the chosen benchmarks, print their tables, write the JSON file; returns the sections."""
    if options.threads:
        torch.set_num_threads(options.threads)
    facts = machine(options.device)
    # Written into a file, a line shall not be cut.
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in facts.items()))
    sections: list[Section] = []
    for name, run in benchmarks(options).items():
        if not options.only or name in options.only:
            with console.status(f"measuring {name}"):
                sections.append(run())
            console.print(table(sections[-1]))
    if options.json:
        write_json(options.json, {"machine": facts, "sections": [asdict(s) for s in sections]})
    return sections


if __name__ == "__main__":
    main(tyro.cli(Options, prog="python -m benchmarks"))
