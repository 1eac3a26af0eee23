"""What two runs must share to be called the same: all that lasts, but no clock."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from point_world import tiny_config

from softflow.data.episode_store import EpisodeStore
from softflow.presets import small
from softflow.training.config import TrainingConfig

FREE = ("num_workers", "checkpoint_interval_s")
"""Settings that the result must not depend on."""


def everything_that_lasts(run: Path) -> dict[str, Any]:
    """Final weights, optimisers and position, metrics, evaluations and episodes of a run."""
    last = run / "checkpoints/last"
    facts: dict[str, Any] = {
        "last": last.resolve().name,
        "metrics": metric_rows(run),
        "online": episodes(run / "online"),
    }
    digests = json.loads((last / "MANIFEST.json").read_text())["files"]
    facts |= {name: d for name, d in digests.items() if name != "pretrained_model/config.json"}
    config = json.loads((last / "pretrained_model/config.json").read_text())
    facts["config"] = {key: value for key, value in config.items() if key not in FREE}
    for path in sorted((run / "evaluations").glob("*.json")):
        result = json.loads(path.read_text())
        del result["wall_time_s"]
        facts[f"evaluation {path.stem}"] = result
        facts[f"episodes {path.stem}"] = episodes(path.with_suffix(""))
    for path in sorted((run / "diagnostics").rglob("*.json")):
        facts[f"{path.parent.name} {path.stem}"] = json.loads(path.read_text())
    if (held_out := run / "held_out.json").exists():
        facts["held out"] = json.loads(held_out.read_text())
    for path in sorted((run / "videos").glob("*.json")):
        facts[f"video {path.stem}"] = json.loads(path.read_text())
    return facts


def metric_rows(run: Path) -> list[tuple[str, ...]]:
    """Rows of metrics.csv without time_s."""
    with (run / "metrics.csv").open() as file:
        return [tuple(row[1:]) for row in csv.reader(file)]


def episodes(store: Path) -> list[tuple[Any, ...]]:
    """All episodes, bit for bit."""
    opened = EpisodeStore.open(store)
    return [
        (
            {key: value.tobytes() for key, value in episode.observations.items()},
            episode.actions.tobytes(),
            episode.rewards.tobytes(),
            episode.terminated,
            episode.success,
            episode.metadata,
        )
        for episode in (opened.episode(index) for index in range(len(opened)))
    ]


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Names of what differs."""
    return [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]


def as_overrides(config: TrainingConfig | None = None) -> list[str]:
    """A configuration as options of `softflow train small`."""
    return _overrides(asdict(small()), asdict(config or tiny_config()), "-")


def _overrides(old: dict[str, Any], new: dict[str, Any], where: str) -> list[str]:
    words: list[str] = []
    for key, value in new.items():
        name = f"{where}{'.' if where != '-' else '-'}{key.replace('_', '-')}"
        if isinstance(value, dict):
            words += _overrides(old[key], value, name)
        elif value != old[key]:
            words += [name, str(value)]
    return words
