"""A robosuite task with RoboMimic's settings, reset reproducibly and observed without delay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from softflow.envs.mujoco_loading import load_mujoco
from softflow.envs.robomimic.robosuite_loading import load_robosuite
from softflow.envs.seeding import seeded_global_numpy
from softflow.errors import DataError

CONTROL_HZ = 20.0
ROBOT = "Panda"
STATE_PARTS = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos", "object")
"""What RoboMimic's policies see of a state, in this order."""
OWN_PARTS = STATE_PARTS[:3]
"""What of it the robot knows of itself: the state of policies that look through cameras."""
CUBE_HALF_M = (0.020, 0.022)
"""Half the cube's edges are drawn from this range, one by one, as robosuite does."""

_POSE_MAX = [0.05, 0.05, 0.05, 0.5, 0.5, 0.5]
OSC_POSE: dict[str, Any] = {
    "type": "BASIC",
    "body_parts": {
        "right": {
            "type": "OSC_POSE",
            "input_max": 1,
            "input_min": -1,
            "output_max": _POSE_MAX,
            "output_min": [-value for value in _POSE_MAX],
            "kp": 150,
            "damping_ratio": 1,
            "impedance_mode": "fixed",
            "kp_limits": [0, 300],
            "damping_ratio_limits": [0, 10],
            "position_limits": None,
            "orientation_limits": None,
            "uncouple_pos_ori": True,
            "input_type": "delta",
            "input_ref_frame": "world",
            "interpolation": None,
            "ramp_ratio": 0.2,
            "gripper": {"type": "GRIP"},
        }
    },
}
"""The controller of RoboMimic's datasets: a step moves the gripper by up to 5 cm and 0.5 rad."""


@dataclass(frozen=True)
class Family:
    """One task: its name in robosuite, and how its object is called there."""

    robosuite_name: str
    object_name: str
    object_dim: int


FAMILIES = {
    "lift": Family("Lift", "cube", 10),
    "can": Family("PickPlaceCan", "Can", 14),
    "square": Family("NutAssemblySquare", "SquareNut", 14),
}


class RobosuiteSimulator:
    """One of the three tasks; `model` and `data` are MuJoCo's.

    robosuite rebuilds its whole model at every reset, which takes 0.2 s. Here it is built once:
    what a rebuild would change, the size of Lift's cube, is set in the model itself.
    """

    def __init__(self, family: str) -> None:
        self._mujoco = load_mujoco()
        self.family = FAMILIES[family]
        with seeded_global_numpy(0):
            self.robosuite = load_robosuite().make(
                self.family.robosuite_name,
                robots=ROBOT,
                controller_configs=OSC_POSE,
                control_freq=CONTROL_HZ,
                has_renderer=False,
                has_offscreen_renderer=False,
                use_camera_obs=False,
                use_object_obs=True,
                reward_shaping=False,
                ignore_done=True,
                hard_reset=False,
                lite_physics=True,
                renderer="mujoco",
            )
        # robosuite looks at its sensors every 2 ms; `observed` does it when it is asked to.
        self.robosuite._update_observables = lambda force=False: None
        sim = self.robosuite.sim
        self.model, self.data = sim.model._model, sim.data._data
        self._sensors, self._object_names = _sensors(self.robosuite)
        if self.family.robosuite_name == "Lift":
            cube, half = self.model.body("cube_main"), self.model.geom("cube_g0").size
            self._cube_density = float(cube.mass[0] / half.prod())

    def reset(self, seed: int) -> None:
        """Place arm and object at random; the same seed gives the same bits."""
        with seeded_global_numpy(seed):
            if self.family.robosuite_name == "Lift":
                self._resize_cube(np.random.uniform(*CUBE_HALF_M, 3))  # noqa: NPY002
            self.robosuite.reset()
        self.update()

    def _resize_cube(self, half: np.ndarray) -> None:
        """Give the cube other edges, `half` [3] in m, with the mass and inertia that follow."""
        model, body = self.model, self.model.body("cube_main").id
        for geom in (model.geom("cube_g0"), model.geom("cube_g0_vis")):
            geom.size[:] = half
            model.geom_rbound[geom.id] = np.linalg.norm(half)
            model.geom_aabb[geom.id, 3:] = half
        mass = self._cube_density * half.prod()
        squares = half**2
        model.body_mass[body] = mass
        model.body_inertia[body] = mass / 3.0 * (squares.sum() - squares)
        self.robosuite.cube.size = list(half)
        self._mujoco.mj_setConst(model, self.data)

    def set_state(self, state: np.ndarray, cube_half_m: np.ndarray | None = None) -> None:
        """Go to a recorded state: clock, positions and velocities, float64 [1 + nq + nv].

        `cube_half_m` [3] are the edges Lift's cube had then. Only what is seen follows from this:
        the controller and its gripper start anew at the next reset.

        Raises:
            DataError: the state has another size: it was recorded in another task.
        """
        model, data = self.model, self.data
        size = 1 + model.nq + model.nv
        if state.shape != (size,):
            raise DataError(
                f"a simulator state has {state.shape} numbers, {self.family.robosuite_name} has "
                f"({size},); choose the environment that was recorded (--env-id)"
            )
        if cube_half_m is not None:
            self._resize_cube(cube_half_m)
        data.time, data.qpos[:], data.qvel[:] = state[0], *np.split(state[1:], [model.nq])
        self.update()

    def step(self, action: np.ndarray) -> None:
        """Execute an action [7] in [-1, 1] for 50 ms."""
        self.robosuite.step(action)
        self.update()

    def update(self) -> None:
        """Bring poses and cameras up to the joints; the dynamics keep their bits."""
        self._mujoco.mj_kinematics(self.model, self.data)
        self._mujoco.mj_camlight(self.model, self.data)

    def observed(self) -> dict[str, np.ndarray]:
        """The parts of RoboMimic's low-dimensional observation, float64, of this very moment."""
        seen: dict[str, np.ndarray] = {}
        for name, sensor in self._sensors:
            seen[name] = np.asarray(sensor(seen))
        seen["object"] = np.concatenate([seen[name] for name in self._object_names])
        return {name: seen[name] for name in STATE_PARTS}

    @property
    def succeeded(self) -> bool:
        """Whether the task is done now."""
        return bool(self.robosuite._check_success())


def _sensors(robosuite: Any) -> tuple[list[tuple[str, Any]], list[str]]:
    """Names and functions in the order of looking, and the names that make up `object`."""
    observables = robosuite._observables.values()
    own = [o for o in observables if o.name in STATE_PARTS]
    on_object = [o for o in observables if o.modality == "object" and o.is_enabled()]
    # Twice: what is relative to the gripper is listed before the object's own pose.
    in_order = [(o.name, o._sensor) for o in (*own, *on_object, *on_object)]
    return in_order, [o.name for o in on_object if o.is_active()]
