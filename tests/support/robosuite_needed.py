"""Modules of tests that need robosuite skip where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def skip_without_robosuite() -> None:
    """Not `importorskip`: robosuite would load MuJoCo before softflow has chosen its OpenGL."""
    if find_spec("robosuite") is None:
        pytest.skip("needs robosuite: pip install 'softflow[robomimic]'", allow_module_level=True)
