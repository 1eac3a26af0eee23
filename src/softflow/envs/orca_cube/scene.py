"""The hand, a cube and a platform below it, compiled for MuJoCo.

Contacts as they were found to hold a cube: elliptic cones, impratio 5, condim 4 (a fingertip
resists twisting), Newton with 20 iterations. MuJoCo's reset of an unstable simulation is off: it
would put the cube back where it began, "alive".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from softflow.envs.mujoco_loading import load_mujoco
from softflow.envs.orca_cube.hand_model import LoadedHand
from softflow.envs.orca_cube.settings import CubeSettings

FACE_COLOURS = {
    "+x": (0.85, 0.1, 0.1, 1.0),
    "-x": (0.95, 0.5, 0.05, 1.0),
    "+y": (0.1, 0.6, 0.15, 1.0),
    "-y": (0.1, 0.25, 0.8, 1.0),
    "+z": (0.95, 0.95, 0.95, 1.0),
    "-z": (0.95, 0.85, 0.1, 1.0),
}
"""Face of the cube, in its own frame -> its colour."""
TORSIONAL_M = 0.004
"""Torsional friction of a fingertip, per sliding friction."""
PLATFORM_HALF_M = (0.04, 0.04, 0.005)
PLATFORM_AWAY_M = -1.0
"""Where the platform is when it carries nothing."""
_EVERYTHING, _PLATFORM = 1, 2
"""Bits of what touches what: the platform touches the cube alone."""
CAMERA = "below"
"""Looks up at the cube from 30 cm below (App. B2)."""


@dataclass(frozen=True)
class CubeScene:
    """A compiled scene and where things are in it.

    Args:
        model: MuJoCo's.
        hand: the hand in it.
        cube_body, cube_geom, platform_geom: their numbers.
    """

    model: Any
    hand: LoadedHand
    cube_body: int
    cube_geom: int
    platform_geom: int

    @property
    def num_joints(self) -> int:
        """J: the hand's joints come first in qpos, qvel and ctrl; the cube's pose follows."""
        return len(self.hand.joint_names)

    @property
    def joint_range(self) -> np.ndarray:
        """[J, 2] of the actuators, rad."""
        return self.model.actuator_ctrlrange.copy()

    @property
    def tip_radii(self) -> np.ndarray:
        """[F] metres."""
        return np.array(self.hand.tip_radii_m)


def build_scene(hand: LoadedHand, settings: CubeSettings) -> CubeScene:
    """Put the cube and the platform to a hand, and compile; `hand` is left as it was."""
    mujoco = load_mujoco()
    spec = hand.spec.copy()
    _set_options(spec, settings)
    half = settings.cube_edge_m / 2
    cube = spec.worldbody.add_body(name="cube", pos=(0, 0, 0.2))
    cube.add_freejoint(name="cube")
    cube.add_geom(
        name="cube",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=(half, half, half),
        mass=settings.cube_mass_kg * settings.gap.mass_factor,
        friction=contact_friction(settings.gap.friction),
        condim=4,
        priority=1,  # The cube's friction counts, whatever the finger's is.
        contype=_EVERYTHING,
        conaffinity=_EVERYTHING | _PLATFORM,
        rgba=(0.1, 0.1, 0.1, 1),
    )
    _paint(cube, half)
    spec.worldbody.add_geom(
        name="platform",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=PLATFORM_HALF_M,
        pos=(0, 0, PLATFORM_AWAY_M),
        contype=_PLATFORM,
        conaffinity=0,
        rgba=(0.6, 0.6, 0.65, 1),
    )
    home = np.array(hand.description.cube_home_m)
    spec.worldbody.add_camera(name=CAMERA, pos=home - [0, 0, 0.3], quat=(0, 1, 0, 0), fovy=35)
    spec.worldbody.add_light(pos=(0, 0, 1.5), dir=(0, 0, -1))
    spec.worldbody.add_light(pos=(0.3, 0.5, -0.2), dir=(-0.2, -0.3, 0.5))
    for tip in hand.description.tips:
        spec.add_sensor(
            name=f"{tip}_position",
            type=mujoco.mjtSensor.mjSENS_FRAMEPOS,
            objtype=mujoco.mjtObj.mjOBJ_SITE,
            objname=f"{tip}_tip",
        )
    model = spec.compile()
    _adjust_gains(model, settings.gap.gain_factor)
    numbers = [model.body("cube").id, model.geom("cube").id, model.geom("platform").id]
    return CubeScene(model, hand, *numbers)


def contact_friction(sliding: float) -> tuple[float, float, float]:
    """Sliding, torsional (metres) and rolling friction of the cube."""
    return sliding, TORSIONAL_M * sliding, 0.0001


def _set_options(spec: Any, settings: CubeSettings) -> None:
    mujoco = load_mujoco()
    spec.option.timestep = settings.physics_step_s
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = 5.0
    spec.option.iterations = settings.solver_iterations
    spec.option.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)


def _adjust_gains(model: Any, factor: float) -> None:
    model.actuator_gainprm[:, 0] *= factor
    model.actuator_biasprm[:, 1] *= factor


def _paint(cube: Any, half: float) -> None:
    """A thin coloured plate on each face, which touches nothing."""
    mujoco = load_mujoco()
    for face, colour in FACE_COLOURS.items():
        axis, sign = "xyz".index(face[1]), 1 if face[0] == "+" else -1
        size, pos = np.full(3, 0.88 * half), np.zeros(3)
        size[axis], pos[axis] = 0.0002, sign * half
        cube.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=size,
            pos=pos,
            rgba=colour,
            contype=0,
            conaffinity=0,
            mass=0,
        )
