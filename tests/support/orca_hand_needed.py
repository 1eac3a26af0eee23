"""Modules of tests that need the model of the ORCA hand skip where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def skip_without_orca_hand() -> None:
    """Not `importorskip`: orca_sim would load MuJoCo before softflow has chosen its OpenGL."""
    if find_spec("orca_sim") is None:
        pytest.skip("needs orca_sim: pip install 'softflow[cube]'", allow_module_level=True)
