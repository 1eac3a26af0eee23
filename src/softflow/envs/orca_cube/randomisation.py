"""Domain randomisation of the teacher (App. B4): what differs between hands and episodes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from softflow.envs.orca_cube.scene import CubeScene, contact_friction
from softflow.errors import ConfigError

Range = tuple[float, float] | None
"""Low and high; None leaves that part as it is."""


@dataclass(frozen=True)
class Randomisation:
    """What is drawn, each part switchable by None.

    Args:
        hand_friction: of the fingers, uniform; drawn once for each hand.
        link_mass: factor on the hand's masses, uniform; once for each hand.
        cube_friction: uniform, each episode; a contact has the mean of the two.
        stiffness: factor on the gains of the joints' controllers, log-uniform, each episode.
        damping: factor on the joints' damping, log-uniform, each episode.
        joint_limits_rad: each limit moves by so much, uniform, each episode.
        cube_mass_kg: uniform, each episode; the paper scales an unnamed mass by 0.2 to 1.
        cube_start_m: standard deviation of the cube's position at the start.
        cube_start_m_s: standard deviation of its velocity at the start.
        gravity_m_s2: standard deviation of what is added to the vertical.

    Raises:
        ConfigError: a range is empty or not positive.
    """

    hand_friction: Range = (0.5, 1.3)
    link_mass: Range = (0.95, 1.05)
    cube_friction: Range = (0.5, 1.3)
    stiffness: Range = (0.75, 1.5)
    damping: Range = (0.3, 3.0)
    joint_limits_rad: float | None = 0.02
    cube_mass_kg: Range = (0.03, 0.065)
    cube_start_m: float | None = 0.001
    cube_start_m_s: float | None = 0.01
    gravity_m_s2: float | None = 0.5

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if isinstance(value, tuple) and not 0 < value[0] <= value[1]:
                raise ConfigError(
                    f"Randomisation.{entry.name} is {value}; give (low, high) above 0, or None"
                )
            if isinstance(value, float) and value < 0:
                raise ConfigError(f"Randomisation.{entry.name} is {value}; give 0 or more, or None")


NOTHING = Randomisation(*([None] * len(fields(Randomisation))))


class ModelRandomiser:
    """Changes models of a scene as a `Randomisation` says.

    Args:
        scene: nominal values are its model's.
        what: to draw.
        num: N models.
        rng: draws what each hand keeps.
    """

    def __init__(
        self, scene: CubeScene, what: Randomisation, num: int, rng: np.random.Generator
    ) -> None:
        self._scene, self.what = scene, what
        nominal = float(scene.model.geom_friction[scene.cube_geom, 0])
        self._hand_friction = _uniform(rng, what.hand_friction, nominal, num)
        self._link_mass = _uniform(rng, what.link_mass, 1.0, num)

    def redraw(self, model: Any, index: int, rng: np.random.Generator) -> None:
        """Set model number `index` for its next episode."""
        nominal, scene, what = self._scene.model, self._scene, self.what
        friction = float(nominal.geom_friction[scene.cube_geom, 0])
        cube = _uniform(rng, what.cube_friction, friction)
        model.geom_friction[scene.cube_geom] = contact_friction(
            (cube + self._hand_friction[index]) / 2
        )
        self._draw_masses(model, index, rng)
        stiffness, damping = (_log_uniform(rng, r) for r in (what.stiffness, what.damping))
        model.actuator_gainprm[:, 0] = nominal.actuator_gainprm[:, 0] * stiffness
        model.actuator_biasprm[:, 1] = nominal.actuator_biasprm[:, 1] * stiffness
        hand = slice(0, scene.num_joints)
        model.dof_damping[hand] = nominal.dof_damping[hand] * damping
        if what.joint_limits_rad is not None:
            moved = rng.uniform(-1, 1, (scene.num_joints, 2)) * what.joint_limits_rad
            model.jnt_range[hand] = nominal.jnt_range[hand] + moved
        if what.gravity_m_s2 is not None:
            model.opt.gravity[2] = nominal.opt.gravity[2] + rng.normal(0.0, what.gravity_m_s2)

    def _draw_masses(self, model: Any, index: int, rng: np.random.Generator) -> None:
        nominal, cube = self._scene.model, self._scene.cube_body
        mass = _uniform(rng, self.what.cube_mass_kg, float(nominal.body_mass[cube]))
        factors = np.full(nominal.nbody, self._link_mass[index])
        factors[cube] = mass / nominal.body_mass[cube]
        model.body_mass[:] = nominal.body_mass * factors
        model.body_inertia[:] = nominal.body_inertia * factors[:, None]


def _uniform(
    rng: np.random.Generator, between: Range, otherwise: float, size: int | None = None
) -> Any:
    if between is None:
        return otherwise if size is None else np.full(size, otherwise)
    return rng.uniform(*between, size)


def _log_uniform(rng: np.random.Generator, between: Range) -> float:
    return 1.0 if between is None else float(np.exp(rng.uniform(*np.log(between))))
