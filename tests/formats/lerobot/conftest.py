"""Healthy datasets of each version, for tests that damage them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from lerobot_datasets import (
    episode_of,
    store_with,
    write_v21,
)
from strange_lerobot import SPEC

from softflow.formats.lerobot.export import export_lerobot
from softflow.utils.progress import SilentProgress


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small dataset of each version, pictures in the table of the second."""
    folder = tmp_path_factory.mktemp("healthy")
    store = store_with(folder / "store", SPEC, [episode_of(SPEC, 5, n, n == 0) for n in (0, 1)])
    export_lerobot(store, folder / "v3.0", SilentProgress(), cameras_as="video")
    export_lerobot(store, folder / "pictures", SilentProgress(), cameras_as="images")
    write_v21(folder / "v2.1", (5, 6))
    return {name: folder / name for name in ("v2.1", "v3.0", "pictures")}


LONGER = [pytest.param(name, marks=pytest.mark.slow) for name in ("v3.0", "pictures")]


@pytest.fixture(params=["v2.1", *LONGER])
def copy(request: pytest.FixtureRequest, healthy: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(healthy[request.param], tmp_path / "dataset"))
