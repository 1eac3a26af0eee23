"""Settings shared by all tests, and where real recordings lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Tests run in several processes; more threads than cores only slow each other down.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The same examples on every run, and no failure because a machine was busy.
settings.register_profile("softflow", derandomize=True, deadline=None, database=None)
settings.load_profile("softflow")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    path = Path(os.environ.get("SOFTFLOW_SHARED_DATA", default))
    if not path.is_dir():
        pytest.skip(f"no real recordings at {path}; set SOFTFLOW_SHARED_DATA")
    return path
