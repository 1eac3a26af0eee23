"""Demonstrations for the measuring sticks."""

from __future__ import annotations

from pathlib import Path

import point_world
import pytest


@pytest.fixture(scope="session")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 walks to the goal and 8 away from it."""
    return point_world.write_demonstrations(
        tmp_path_factory.mktemp("walks") / "store", [True, True, True, False] * 8
    )
