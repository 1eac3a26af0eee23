"""Episodes in which nothing is wrong, to be broken on purpose."""

from __future__ import annotations

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode

STATE, CAMERA = "observation.state", "observation.images.front"
LENGTH = 60
SPEC = DataSpec(
    {STATE: (3,), CAMERA: (8, 10, 3)},
    2,
    (-1.0, -1.0),
    (1.0, 1.0),
    20.0,
    "toy",
    {STATE: ("x", "y", "z")},
)


def smooth(seed: int, success: bool = True, length: int = LENGTH) -> Episode:
    """An episode as a healthy robot records it: everything moves, and moves smoothly."""
    rng = np.random.default_rng(seed)
    rewards = np.zeros(length, np.float32)
    rewards[-1] = success
    state = np.cumsum(rng.normal(0, 0.01, (length + 1, 3)), axis=0).astype(np.float32)
    frames = rng.integers(0, 256, (length + 1, 8, 10, 3), dtype=np.uint8)
    return Episode(
        {STATE: state, CAMERA: frames},
        rng.uniform(-1, 1, (length, 2)).astype(np.float32),
        rewards,
        terminated=success,
        truncated=not success,
        success=success,
        metadata={"seed": seed, "source": "toy"},
    )


def good(count: int = 12) -> list[Episode]:
    return [smooth(seed, success=seed % 3 > 0) for seed in range(count)]
