"""Simulators shared by the tests: each costs seconds to build."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from shared_envs import built_once

from softflow.envs.ogbench.tasks import OGBenchManipulation

SharedEnv = Callable[[str], OGBenchManipulation]


@pytest.fixture(scope="session")
def shared_env() -> SharedEnv:
    """One environment per id and test process; whoever takes it resets it."""
    return built_once(OGBenchManipulation)


@pytest.fixture(scope="session")
def cube_env(shared_env: SharedEnv) -> OGBenchManipulation:
    return shared_env("cube-single")


@pytest.fixture(scope="session", params=["cube-single", "cube-double", "scene", "puzzle-3x3"])
def any_env(request: pytest.FixtureRequest, shared_env: SharedEnv) -> OGBenchManipulation:
    return shared_env(request.param)
