"""Where real recordings lie, for tests that read them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings; tests that need it skip where it is absent."""
    default = Path(__file__).resolve().parents[2].parent / "shared" / "data"
    path = Path(os.environ.get("SOFTFLOW_SHARED_DATA", default))
    if not path.is_dir():
        pytest.skip(f"no real recordings at {path}; set SOFTFLOW_SHARED_DATA")
    return path
