"""The teacher's rewards by name: Table III of the paper, and one of our own for two cores.

A term is a pure function of the state before and after a control step, [N] numbers; its weight
makes it a reward or a penalty. The paper names the terms and their weights, not their scales;
those here are ours, in the constants below. Every sum is multiplied by the control step's 0.05 s,
as is the custom of the library that the paper uses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from softflow.envs.orca_cube.settings import CONTROL_HZ
from softflow.errors import ConfigError
from softflow.teacher.hand_view import HandView

POSITION_SCALE_M = 0.02
SPIN_SCALE_RAD_S = 0.5
SPIN_CHANGE_SCALE_RAD_S2 = 40.0
REACH_SCALE_M = 0.03
_STEP_S = 1 / CONTROL_HZ

Term = Callable[[HandView, HandView], np.ndarray]
"""(before, after) a control step -> [N]."""


def object_position(before: HandView, after: HandView) -> np.ndarray:
    """1 with the cube at its home, less with the square of its distance: exp(-(d / 2 cm)²)."""
    away = np.linalg.norm(after.cube_pos - after.home, axis=1)
    return np.exp(-((away / POSITION_SCALE_M) ** 2))


def rotation_magnitude(before: HandView, after: HandView) -> np.ndarray:
    """1 with the asked speed, about whatever axis: exp(-((|ω| - |command|) / 0.5 rad/s)²)."""
    error = np.linalg.norm(after.cube_spin, axis=1) - np.abs(after.command)
    return np.exp(-((error / SPIN_SCALE_RAD_S) ** 2))


def rotation_direction(before: HandView, after: HandView) -> np.ndarray:
    """The cosine between the cube's spin and the commanded axis; 0 at rest."""
    speed = np.linalg.norm(after.cube_spin, axis=1)
    along = np.sign(after.command) * after.cube_spin[:, 2]
    return along / np.maximum(speed, 1e-6)


def angular_acceleration(before: HandView, after: HandView) -> np.ndarray:
    """0 with a steady spin, towards -1 with a jerky one: exp(-|α| / 40 rad/s²) - 1."""
    change = np.linalg.norm(after.cube_spin - before.cube_spin, axis=1) / _STEP_S
    return np.exp(-change / SPIN_CHANGE_SCALE_RAD_S2) - 1


def reaching_object(before: HandView, after: HandView) -> np.ndarray:
    """1 with all tips at the cube's centre: the mean of exp(-d / 3 cm)."""
    away = np.linalg.norm(after.tips - after.cube_pos[:, None], axis=2)
    return np.exp(-away / REACH_SCALE_M).mean(axis=1)


def pose_closure(before: HandView, after: HandView) -> np.ndarray:
    """1 with tips all around the cube, 0 with all on one side.

    One less the length of the mean direction from the tips to the cube's centre: opposite
    directions cancel.
    """
    towards = after.cube_pos[:, None] - after.tips
    unit = towards / np.maximum(np.linalg.norm(towards, axis=2, keepdims=True), 1e-6)
    return 1 - np.linalg.norm(unit.mean(axis=1), axis=1)


def joint_velocity(before: HandView, after: HandView) -> np.ndarray:
    """Squared joint velocities, summed."""
    return (after.joint_vel**2).sum(axis=1)


def action_size(before: HandView, after: HandView) -> np.ndarray:
    """Squared actions, summed."""
    return (after.actions**2).sum(axis=1)


def action_rate(before: HandView, after: HandView) -> np.ndarray:
    """Squared differences between this action and the last, summed."""
    return ((after.actions - before.actions) ** 2).sum(axis=1)


def joint_acceleration(before: HandView, after: HandView) -> np.ndarray:
    """Squared joint accelerations over the control step, summed."""
    return (((after.joint_vel - before.joint_vel) / _STEP_S) ** 2).sum(axis=1)


class WeightedTerm(NamedTuple):
    """A term and its weight."""

    term: Term
    weight: float


TABLE_III: Mapping[str, WeightedTerm] = {
    "object_position": WeightedTerm(object_position, 10.0),
    "rotation_magnitude": WeightedTerm(rotation_magnitude, 10.0),
    "rotation_direction": WeightedTerm(rotation_direction, 30.0),
    "angular_acceleration": WeightedTerm(angular_acceleration, 1.0),
    "reaching_object": WeightedTerm(reaching_object, 15.0),
    "pose_closure": WeightedTerm(pose_closure, 2.0),
    "joint_velocity": WeightedTerm(joint_velocity, -1e-4),
    "action_size": WeightedTerm(action_size, -5e-4),
    "action_rate": WeightedTerm(action_rate, -1e-2),
    "joint_acceleration": WeightedTerm(joint_acceleration, -1e-7),
}
"""The paper's terms and weights."""


def table_iii_reward(
    before: HandView, after: HandView, weights: Mapping[str, float] | None = None
) -> np.ndarray:
    """The paper's reward [N] of a control step.

    Args:
        before, after: the step.
        weights: others than the paper's, by name.

    Raises:
        ConfigError: no term has that name.
    """
    changed = dict(weights or {})
    if unknown := sorted(set(changed) - set(TABLE_III)):
        raise ConfigError(f"no reward is called {unknown[0]!r}; known: {', '.join(TABLE_III)}")
    total = np.zeros(len(after.command))
    for name, (term, weight) in TABLE_III.items():
        total += changed.get(name, weight) * term(before, after)
    return total * _STEP_S


def rotation_reward(
    turned_rad: np.ndarray,
    direction: np.ndarray,
    dropped: np.ndarray,
    before: HandView,
    after: HandView,
    *,
    fastest_rad_s: float = 1.5,
    drop_penalty: float = 12.0,
    rate_weight: float = 0.02,
) -> np.ndarray:
    """Our own reward [N]: rotation, capped, and the cube kept.

    1 for a step at the fastest rate that still counts, whatever the cube's tilt: rotation that
    counts only upright breeds tumbling. A drop costs more than eight such steps (less breeds
    fling-and-drop), and the step that drops earns no rotation.

    Args:
        turned_rad: [N], counter-clockwise.
        direction: [N], +1 or -1, asked for.
        dropped: [N].
        before, after: the step, for the actions' rate.
        fastest_rad_s: faster earns no more.
        drop_penalty: of a drop.
        rate_weight: of the squared change of actions.

    Raises:
        ConfigError: the penalty is below eight.
    """
    if drop_penalty < 8:
        raise ConfigError(f"drop_penalty is {drop_penalty}; below 8, flinging the cube pays")
    rate = np.clip(direction * turned_rad / _STEP_S / fastest_rad_s, -1.0, 1.0)
    earned = np.where(dropped, -drop_penalty, rate)
    return earned - rate_weight * action_rate(before, after)
