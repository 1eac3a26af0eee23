"""Bags with recognisable content, written by the real `rosbags` package."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from ros_bags import Ros
from strange_bags import KINDS, written


@pytest.fixture(scope="session")
def ros() -> Ros:
    return Ros()


@pytest.fixture(params=["mcap", "sqlite3"])
def storage(request: pytest.FixtureRequest) -> str:
    return request.param


# ---- bags for tests that damage them ---------------------------------------------------------


@pytest.fixture(scope="session")
def healthy(ros: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("healthy")
    return {kind: written(ros, folder / kind.replace(" ", "_"), kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def bag(request: pytest.FixtureRequest, healthy: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(healthy[request.param], tmp_path / healthy[request.param].name))


@pytest.fixture
def mcap(healthy: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(healthy["mcap"], tmp_path / "mcap"))
