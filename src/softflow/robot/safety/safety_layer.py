"""What is asked for on one side, what is commanded on the other: inside every limit, or a stop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.errors import ConfigError, RobotStoppedError
from softflow.robot.safety.limits import Limits, Workspace
from softflow.robot.safety.limits_file import component_numbers, require_observed
from softflow.robot.safety.motion_filter import MotionFilter
from softflow.robot.safety.rotation_filter import RotationFilter

_ROUNDING = 1e-6
"""Share of a range by which a command may be moved without being called clipped."""


class SafeAction(NamedTuple):
    """What may be commanded.

    Attributes:
        action: `[A]` float32, inside every limit.
        clipped: what was changed, in words; empty if nothing was.
    """

    action: np.ndarray
    clipped: str


class SafetyLayer:
    """Limits of one robot, and the state of its last command. No clock inside.

    Args:
        limits: of the robot; the data's range always counts.
        spec: what its actions and observations are.

    Raises:
        ConfigError: a limit names what the robot has not, or no command would be inside.
    """

    def __init__(self, limits: Limits, spec: DataSpec) -> None:
        self._limits, self._spec = limits, spec
        self._names = spec.names.get("action", tuple(map(str, range(spec.action_dim))))
        self._boxes = [
            (box, component_numbers(box.components, spec))
            for box in limits.workspace
            if box.observation
        ]
        period_s = 1 / spec.control_hz
        self._motion = _motion_filter(limits, spec, period_s)
        self._rotations = [
            RotationFilter(
                component_numbers(turn.components, spec), turn.kind, turn.rate_rad_s, period_s
            )
            for turn in limits.rotation
        ]
        for force in limits.force:
            require_observed(force.observation, force.observed, spec)
        for box, _ in self._boxes:
            require_observed(box.observation, box.observed, spec)

    def begin(self, action: np.ndarray) -> None:
        """Start from rest.

        Args:
            action: `[A]` with which the robot stands still.

        Raises:
            RobotStoppedError: it stands outside its limits.
        """
        self._require_all_components(action)
        outside = self._names_where((action < self._motion.low) | (action > self._motion.high))
        if outside or not np.isfinite(action).all():
            raise RobotStoppedError(
                f"the robot stands outside its limits ({outside or 'not finite'}); move it inside, "
                "or correct the limits, then start again"
            )
        self._motion.begin(action)
        for rotation in self._rotations:
            rotation.begin(action)

    def watch(self, values: Mapping[str, np.ndarray]) -> None:
        """Look at an observation before anything is commanded.

        Raises:
            RobotStoppedError: too much force, or the robot is outside its workspace.
        """
        for limit in self._limits.force:
            force = values[limit.observation]
            size = float(np.linalg.norm(force[list(limit.observed)] if limit.observed else force))
            if not size <= limit.most:
                raise RobotStoppedError(
                    f"the force in '{limit.observation}' is {size:.4g}, above {limit.most:g}; free "
                    "the robot, look what it touched, then start again"
                )
        for box, _ in self._boxes:
            position = values[box.observation][list(box.observed)]
            low, high = np.asarray(box.low), np.asarray(box.high)
            outside = np.maximum(low - position, position - high).max()
            if not outside <= box.tolerance:
                raise RobotStoppedError(
                    f"'{box.observation}' is {outside:.4g} outside the workspace, of which "
                    f"{box.tolerance:g} are tolerated; move the robot inside, or correct the box, "
                    "then start again"
                )

    def command(
        self, wanted: np.ndarray, values: Mapping[str, np.ndarray], elapsed_s: float
    ) -> SafeAction:
        """What may be commanded in place of what is wanted.

        Args:
            wanted: `[A]`; what is not finite in it is replaced by what was commanded last.
            values: the newest observation.
            elapsed_s: since the command before.

        Raises:
            RobotStoppedError: whatever keeps the other limits would leave the workspace, or it is
                no action of this robot.
        """
        asked = np.asarray(wanted, np.float64)
        self._require_all_components(asked)
        goal = np.where(np.isfinite(asked), asked, self._motion.last)
        for box, components in self._boxes:
            goal[components] = _inside(box, goal[components], values)
        goal = self._motion.command(goal, elapsed_s)
        for rotation in self._rotations:
            goal[rotation.components] = rotation.command(goal, elapsed_s)
        action = goal.astype(np.float32)
        self._require_inside(action, values)
        self._motion.commanded(action, elapsed_s)
        for rotation in self._rotations:
            rotation.commanded(action)
        moved = ~(np.abs(action - asked) <= _ROUNDING * (self._motion.high - self._motion.low))
        return SafeAction(action, self._names_where(moved))

    def _require_all_components(self, action: np.ndarray) -> None:
        """Numpy would make one number an action of as many as are needed."""
        shape = (self._spec.action_dim,)
        if action.shape != shape:
            raise RobotStoppedError(
                f"an action of shape {action.shape} is to be commanded, the robot takes {shape}; "
                "mend what takes over, or the robot's hold()"
            )

    def _require_inside(self, action: np.ndarray, values: Mapping[str, np.ndarray]) -> None:
        """A limit of velocity may keep a step from turning back in time."""
        for box, components in self._boxes:
            wanted = action[components].astype(np.float64)
            beyond = np.abs(wanted - _inside(box, wanted, values)).max() * box.step
            if beyond > max(box.tolerance, _ROUNDING):
                raise RobotStoppedError(
                    f"the robot cannot turn back within its velocity limits before it is "
                    f"{beyond:.4g} outside the workspace; make the box smaller than the room there "
                    "is, or the limits wider"
                )

    def _names_where(self, which: np.ndarray) -> str:
        return ", ".join(self._names[number] for number in np.flatnonzero(which))


def _inside(box: Workspace, action: np.ndarray, values: Mapping[str, np.ndarray]) -> np.ndarray:
    """The steps nearest to `action` that stay in the box, or lead back to it."""
    position = values[box.observation][list(box.observed)].astype(np.float64)
    low, high = np.minimum(box.low, position), np.maximum(box.high, position)
    wanted = position + action * box.step
    nearest = np.clip(wanted, low, high)
    return np.where(nearest == wanted, action, (nearest - position) / box.step)


def _motion_filter(limits: Limits, spec: DataSpec, period_s: float) -> MotionFilter:
    """Ranges of the data, of single components and of boxes, with velocities and accelerations."""
    low, high = np.asarray(spec.action_low, float), np.asarray(spec.action_high, float)
    velocity, acceleration = np.full_like(low, np.inf), np.full_like(low, np.inf)
    turning = {n for turn in limits.rotation for n in component_numbers(turn.components, spec)}
    for limit in limits.component:
        (number,) = component_numbers([limit.component], spec)
        _narrow(low, high, number, limit.low, limit.high)
        if number in turning and (limit.velocity or limit.acceleration):
            raise ConfigError(
                f"component {limit.component!r} is part of a rotation, whose rate is limited; give "
                "it low and high alone"
            )
        velocity[number] = limit.velocity or np.inf
        acceleration[number] = limit.acceleration or np.inf
    for box in limits.workspace:
        if not box.observation:
            numbers = component_numbers(box.components, spec)
            for number, least, most in zip(numbers, box.low, box.high, strict=True):
                _narrow(low, high, number, least, most)
    if not (low <= high).all():
        where = int(np.flatnonzero(low > high)[0])
        raise ConfigError(
            f"component {where} of the action may only lie in [{low[where]:g}, {high[where]:g}] "
            "by the limits and the data together; correct the limits"
        )
    return MotionFilter(low, high, velocity, acceleration, period_s)


def _narrow(
    low: np.ndarray, high: np.ndarray, number: int, least: float | None, most: float | None
) -> None:
    """Make the range of a component smaller, in place."""
    low[number] = low[number] if least is None else max(low[number], least)
    high[number] = high[number] if most is None else min(high[number], most)
