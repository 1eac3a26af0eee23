"""What a robot may be commanded: limits of its components, its orientation, its place, its force.

They are read from a file (`limits_file.py`), so every name in here is a name there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from softflow.errors import ConfigError

RotationKind = Literal["quat_wxyz", "quat_xyzw", "rotation_vector"]
_SIZES: dict[RotationKind, int] = {"quat_wxyz": 4, "quat_xyzw": 4, "rotation_vector": 3}


def _require(holds: bool, what: str, fix: str) -> None:
    if not holds:
        raise ConfigError(f"{what}; {fix}")


def _is_positive(value: float | None) -> bool:
    return value is None or (math.isfinite(value) and value > 0)


class ComponentLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of one component of the action, in its units.

    Of a target, `velocity` is how fast the target moves; of an action that is itself a velocity or
    a step, it is how fast that changes.

    Args:
        component: its name in the data (`DataSpec.names`), or its number.
        low, high: what it may be; None: as in the data.
        velocity: most change a second.
        acceleration: most change of that velocity a second.

    Raises:
        ConfigError: a number that limits nothing.
    """

    component: str | int
    low: float | None = None
    high: float | None = None
    velocity: float | None = None
    acceleration: float | None = None

    def __post_init__(self) -> None:
        what = f"component {self.component!r}"
        for name in ("velocity", "acceleration"):
            value = getattr(self, name)
            _require(_is_positive(value), f"{what} has {name} {value}", "give a number above 0")
        low = -math.inf if self.low is None else self.low
        high = math.inf if self.high is None else self.high
        _require(low < high, f"{what} has low {self.low} and high {self.high}", "give low < high")


class RotationLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How fast an orientation in the action may turn.

    Args:
        components: names or numbers, in the order of `kind`.
        kind: what they are.
        rate_rad_s: most radians a second.

    Raises:
        ConfigError: another number of components, or no rate.
    """

    components: Sequence[str | int]
    kind: RotationKind
    rate_rad_s: float

    def __post_init__(self) -> None:
        size = _SIZES[self.kind]
        found = f"the rotation has {len(self.components)} components"
        _require(len(self.components) == size, found, f"a {self.kind} has {size}")
        told = f"the rotation has rate_rad_s {self.rate_rad_s}"
        _require(_is_positive(self.rate_rad_s), told, "give a number above 0")


class Workspace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A box that a point of the robot stays in.

    Args:
        components: of the action, that move the point: names or numbers.
        low, high: corners of the box, in the units of the position.
        observation: key that holds the position, for actions that are steps; empty: the action is
            the position.
        observed: numbers in that observation, in the order of `components`.
        step: position units that an action of 1 moves the point by in a control step.
        tolerance: how far outside the point may be seen before the robot is stopped.

    Raises:
        ConfigError: sizes that differ, or a box without inside.
    """

    components: Sequence[str | int]
    low: Sequence[float]
    high: Sequence[float]
    observation: str = ""
    observed: Sequence[int] = ()
    step: float = 0.0
    tolerance: float = 0.0

    def __post_init__(self) -> None:
        sizes = {len(self.components), len(self.low), len(self.high)}
        sizes |= {len(self.observed)} if self.observation else set()
        _require(len(sizes) == 1, f"the workspace has lists of {sorted(sizes)}", "give equal ones")
        for low, high in zip(self.low, self.high, strict=True):
            _require(low < high, f"the workspace reaches from {low} to {high}", "give low < high")
        if self.observation:
            _require(
                math.isfinite(self.step) and self.step > 0,
                f"the workspace has step {self.step}",
                "give how far an action of 1 moves",
            )
        told = f"the workspace has tolerance {self.tolerance}"
        _require(self.tolerance >= 0, told, "give 0 or more")


class ForceLimit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A contact force that stops the robot.

    Args:
        observation: key that holds it; observed: numbers in it, all of them when empty.
        most: its largest size (Euclidean), in the units of the observation.

    Raises:
        ConfigError: no positive number.
    """

    observation: str
    most: float
    observed: Sequence[int] = ()

    def __post_init__(self) -> None:
        told = f"the force limit is {self.most}"
        _require(_is_positive(self.most), told, "give a number above 0")


class Patience(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long something may be missing: first the robot holds still, then it is stopped.

    Args:
        hold_s, stop_s: seconds without it.

    Raises:
        ConfigError: not 0 < hold_s <= stop_s.
    """

    hold_s: float
    stop_s: float

    def __post_init__(self) -> None:
        holds = 0 < self.hold_s <= self.stop_s < math.inf
        _require(holds, f"{self}", "give 0 < hold_s <= stop_s")


class Watchdogs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is watched, and how patiently.

    Args:
        observation: age of the newest observation.
        decision_s: how long the robot holds still, as nothing is planned, before it is stopped; for
            the first decision of an episode `first_decision_s`, as it stands still anyway.
        heartbeat: of who is watched from outside (`--heartbeat-file`).
        frozen_s: how long an observation may stay the same to the last digit; 0 does not watch, as
            simulators and robots that stand still may do so.
        missed_ticks: control steps in a row that the loop may miss before it stops.
    """

    observation: Patience = Patience(0.2, 1.0)
    decision_s: float = 2.0
    first_decision_s: float = 30.0
    heartbeat: Patience = Patience(0.5, 2.0)
    frozen_s: float = 0.0
    missed_ticks: int = 20


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that stands between a decision and the robot; the data's own range always does.

    Args:
        component: limits of single components.
        rotation: of orientations.
        workspace: boxes.
        force: contact forces.
        watchdogs: what may be missing, and how long.
    """

    component: Sequence[ComponentLimit] = ()
    rotation: Sequence[RotationLimit] = ()
    workspace: Sequence[Workspace] = ()
    force: Sequence[ForceLimit] = ()
    watchdogs: Watchdogs = Watchdogs()
