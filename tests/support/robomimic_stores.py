"""Stores with everything that a RoboMimic file has a place for, and has not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from random_observations import random_observations

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode
from softflow.data.episode_store import EpisodeStore
from softflow.formats.robomimic.export import export_robomimic
from softflow.utils.progress import SilentProgress

STATE, TOUCH = "observation.state", "observation.touch"
FRONT, WRIST = "observation.images.front", "observation.images.wrist_image"

RICH = DataSpec(
    {
        STATE: (6,),
        "observation.phase": (1,),
        "observation.object": (2,),
        TOUCH: (2, 3),
        FRONT: (8, 10, 3),
        WRIST: (8, 10, 3),
    },
    2,
    (-1.0, -0.25),
    (1.0, 2.0),
    12.5,
    "cube-single-task1",
    {
        STATE: ("object.0", "object.1", "arm/x", "height", "eef.1", "."),
        "observation.object": ("object.0", "object.1"),
        "action": ("turn", "grip"),
    },
)
"""Everything a store can hold that a RoboMimic file has no place of its own for."""


def episode_of(spec: DataSpec, steps: int, seed: int, **facts: Any) -> Episode:
    rng = np.random.default_rng(seed)
    facts = {"terminated": False, "truncated": True, "success": False, "metadata": {}} | facts
    return Episode(
        random_observations(spec, steps, rng),
        rng.uniform(spec.action_low, spec.action_high, (steps, spec.action_dim)).astype(np.float32),
        rng.normal(size=steps).astype(np.float32),
        **facts,
    )


def exported(store: EpisodeStore, path: Path, **options: Any) -> Path:
    assert export_robomimic(store, path, SilentProgress(), **options) == len(store)
    return path
