"""Tiny runs in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
from grown_runs import Trainer


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """`softflow.train` on a store of its own."""
    return Trainer(tmp_path, monkeypatch)
