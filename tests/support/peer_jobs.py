"""Measuring sticks in the point world: what they are asked for, in sizes that learn in seconds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import point_world

from benchmarks.peers.job import Job
from benchmarks.peers.method import MethodConfig
from benchmarks.peers.registry import METHODS
from benchmarks.peers.replay import Replay, Windows
from softflow.data.episode_store import EpisodeStore

STICKS = {name: config for name, config in METHODS.items() if isinstance(config, MethodConfig)}


SMALLER = {"flow_steps": 5, "num_candidates": 4, "target_candidates": 2}


def small(config: MethodConfig, **changes: Any) -> MethodConfig:
    """A method for the point world that learns in a second or two."""
    tiny: dict[str, Any] = {name: n for name, n in SMALLER.items() if hasattr(config, name)}
    tiny |= {"hidden": (48, 48), "batch_size": 48, "learning_rate": 2e-3, "tau": 0.05}
    if config.chunk_length > 1:
        tiny["chunk_length"] = 3
    return replace(config, **(tiny | changes))


def replay_of(store: Path, config: MethodConfig) -> Replay:
    opened = EpisodeStore.open(store)
    windows = Windows.of(opened.spec, config.chunk_length, config.discount, config.reward_offset)
    return Replay(windows, [opened.episode(i) for i in range(len(opened))])


def job(demonstrations: Path, place: Path, **changes: Any) -> Job:
    values: dict[str, Any] = {
        "method": "qc",
        "settings": "",
        "task": point_world.ENV_ID,
        "seed": 3,
        "store": demonstrations,
        "folder": place / "run",
        "csv": place / "rows.csv",
        "counts": (0, 2, 4),
        "eval_episodes": 5,
        "command": "test",
        "commit": "abc",
    }
    return Job(**(values | changes))
