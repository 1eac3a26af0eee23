"""Views of made-up hands, and the ORCA hand where its package is installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from simulator_needed import skip_without_orca_hand

pytest.importorskip("rsl_rl", reason="rsl-rl-lib is not installed")

from softflow.teacher.hand_view import HandView

skip_without_orca_hand()


@pytest.fixture
def make_view() -> Callable[..., HandView]:
    """One hand of two joints and two tips at rest, with what is given changed."""
    rest = HandView(
        joints=np.zeros((1, 2)),
        joint_vel=np.zeros((1, 2)),
        tips=np.array([[[0.03, 0.0, 0.0], [-0.03, 0.0, 0.0]]]),
        cube_pos=np.zeros((1, 3)),
        home=np.zeros(3),
        cube_quat_wxyz=np.array([[1.0, 0, 0, 0]]),
        cube_vel=np.zeros((1, 3)),
        cube_spin=np.zeros((1, 3)),
        actions=np.zeros((1, 2)),
        command=np.array([1.0]),
    )
    return lambda **changes: replace(rest, **{k: np.array(v) for k, v in changes.items()})
