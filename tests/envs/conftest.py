"""Simulators shared by the tests: each costs seconds to build."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from softflow.envs.ogbench.tasks import OGBenchManipulation
from softflow.envs.registry import make_env

SharedEnv = Callable[[str], OGBenchManipulation]


@pytest.fixture(scope="session")
def shared_env() -> SharedEnv:
    """One environment per id and test process; whoever takes it resets it."""
    built: dict[str, OGBenchManipulation] = {}

    def get(env_id: str) -> OGBenchManipulation:
        if env_id not in built:
            env = make_env(env_id)
            assert isinstance(env, OGBenchManipulation)
            built[env_id] = env
        return built[env_id]

    return get


@pytest.fixture(scope="session")
def cube_env(shared_env: SharedEnv) -> OGBenchManipulation:
    return shared_env("cube-single")


@pytest.fixture(scope="session", params=["cube-single", "cube-double", "scene", "puzzle-3x3"])
def any_env(request: pytest.FixtureRequest, shared_env: SharedEnv) -> OGBenchManipulation:
    return shared_env(request.param)
