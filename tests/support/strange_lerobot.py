"""Reads LeRobot datasets of strangers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lerobot_datasets import (
    CAMERA,
)
from strangers import MIB, Outside, outcome

from softflow.data.data_spec import DataSpec
from softflow.formats.lerobot.reading import LeRobotSource

SPEC = DataSpec({"observation.state": (3,), CAMERA: (48, 64, 3)}, 2, (-1, -1), (1, 1), 20.0)


def read_all(path: Path) -> list[Any]:
    source = LeRobotSource(path)
    return [source.read(name) for name in source.episodes()]


def refused(path: Path, outside: Outside, growth: int = 256 * MIB) -> str:
    with outside.watched(growth=growth):
        message = outcome(lambda: read_all(path))
    assert message, "it was read"
    return message
