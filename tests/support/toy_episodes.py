"""Episodes with recognisable content, and their fixtures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from random_observations import random_observations

from softflow.data.data_spec import DataSpec
from softflow.data.episode import Episode

STATE = "observation.state"
CAMERA = "observation.images.front"
EpisodeMaker = Callable[..., Episode]


@pytest.fixture
def spec() -> DataSpec:
    return DataSpec({STATE: (3,)}, 2, (-1.0, -1.0), (1.0, 1.0), 20.0, "toy")


@pytest.fixture
def image_spec() -> DataSpec:
    return DataSpec({STATE: (3,), CAMERA: (64, 64, 3)}, 2, (-1.0, -1.0), (1.0, 1.0), 20.0, "toy")


@pytest.fixture(scope="session")
def make_episode() -> EpisodeMaker:
    """`make_episode(spec, length=…, seed=…, success=…)`: random, but valid content."""

    def make(spec: DataSpec, length: int = 7, seed: int = 0, success: bool = True) -> Episode:
        rng = np.random.default_rng(seed)
        rewards = np.zeros(length, np.float32)
        rewards[-1] = success
        return Episode(
            observations=random_observations(spec, length, rng),
            actions=rng.uniform(-1, 1, (length, spec.action_dim)).astype(np.float32),
            rewards=rewards,
            terminated=success,
            truncated=not success,
            success=success,
            metadata={"seed": seed, "operator": "oracle"},
        )

    return make
