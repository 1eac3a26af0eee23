"""The ORCA hand, loaded once; a few grasps of it; small batches of hands."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from simulator_needed import skip_without_orca_hand

from softflow.envs.orca_cube.batched import BatchedHand
from softflow.envs.orca_cube.hand_model import load_hand
from softflow.envs.orca_cube.scene import CubeScene, build_scene
from softflow.envs.orca_cube.settings import CubeSettings

skip_without_orca_hand()


@pytest.fixture(scope="session")
def scene() -> CubeScene:
    return build_scene(load_hand(), CubeSettings())


@pytest.fixture
def make_hands() -> Callable[..., BatchedHand]:
    def make(num: int = 4, seed: int = 0, **settings: object) -> BatchedHand:
        return BatchedHand(CubeSettings(**settings), num, seed)  # type: ignore[arg-type]

    return make
