"""The point world under another name, and worlds that are not what its data hold."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces
from point_world import PointWorld

from softflow.data.data_spec import STATE_KEY

RENAMED_ID = "other_worlds:RenamedWorld"
LONGER_ID = "other_worlds:LongerWorld"
SLOWER_ID = "other_worlds:SlowerWorld"


class RenamedWorld(PointWorld):
    """The same world: its module was renamed."""


class LongerWorld(PointWorld):
    """A state of five numbers, where the data hold four."""

    observation_space = spaces.Dict({STATE_KEY: spaces.Box(-9.0, 9.0, (5,), np.float32)})


class SlowerWorld(PointWorld):
    """Five control steps a second, where the data hold ten."""

    control_hz = 5.0
