"""What an episode saw, at random: for every store that tests fill."""

from __future__ import annotations

import numpy as np

from softflow.data.data_spec import DataSpec


def random_observations(
    spec: DataSpec, length: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """key → `[length + 1, ...]`: states first, in their order, then frames."""
    observations: dict[str, np.ndarray] = {
        key: rng.normal(size=(length + 1, *spec.observation_shapes[key])).astype(np.float32)
        for key in spec.state_keys
    }
    for key in spec.image_keys:
        shape = (length + 1, *spec.observation_shapes[key])
        observations[key] = rng.integers(0, 256, shape, dtype=np.uint8)
    return observations
