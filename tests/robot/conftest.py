"""Demonstrations of the point world, for learners that robots send episodes to, and a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from point_world import write_demonstrations
from short_runs import exploring, imitated, wide

__all__ = ["demonstrations", "exploring", "imitated", "one_thread", "wide"]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny networks lose more than they gain by threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the point world that no test writes to."""
    path = tmp_path_factory.mktemp("data") / "demos"
    return write_demonstrations(path, [index % 4 != 3 for index in range(12)])
