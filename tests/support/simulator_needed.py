"""Modules of tests that need a simulator's package skip where it is not installed."""

from __future__ import annotations

from importlib.util import find_spec

import pytest


def skip_without_robosuite() -> None:
    """For the tests of Lift, Can and Square."""
    _skip_without("robosuite", "robomimic")


def skip_without_orca_hand() -> None:
    """For the tests of the cube in the hand."""
    _skip_without("orca_sim", "cube")


def _skip_without(package: str, extra: str) -> None:
    """Not `importorskip`: both would load MuJoCo before softflow has chosen its OpenGL."""
    if find_spec(package) is None:
        why = f"needs {package}: pip install 'softflow[{extra}]'"
        pytest.skip(why, allow_module_level=True)
