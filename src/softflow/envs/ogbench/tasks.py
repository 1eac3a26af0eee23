"""OGBench's manipulation tasks (a UR5e arm with a two-finger gripper) under softflow's contract.

Families: cube-single, cube-double, scene, puzzle-3x3, each with five tasks of fixed goal (OGBench's
"singletask" variants; without a task number, OGBench's default task). Five things differ from what
`gymnasium.make("cube-single-singletask-v0")` gives, measured against ogbench 1.2.2:

* the reward is sparse (1 in the step that reaches success), not minus the number of open subtasks;
* success is judged after the step that reaches it. OGBench's singletask variants judge before the
  step (`success_timing="pre"`), which reports success one step late;
* the time limit (200, 500, 750, 500 steps) is counted inside;
* `reset(seed=s)` is reproducible to the bit. OGBench reaches its goal state by two steps with
  unseeded random actions on the way, and leaves their contact forces, solver warm start, control
  and clock in the simulator;
* the state ends with the position of every cube relative to the gripper, twice: in OGBench's unit
  (10 cm), then in units of 5 cm and clipped to [-1, 1], which shows millimetres near the cube.
  With a hundred episodes a critic learns too late to subtract two positions, and closes the gripper
  in front of the cube (docs/experiment_log.md).

Before that, the state is OGBench's (proprioception, then objects), float32. The goal is fixed,
hence not part of it. Actions [5] in [-1, 1]: gripper displacement x, y, z (1 = 5 cm), yaw (1 =
0.3 rad), closing (1).
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from gymnasium import spaces

from softflow.envs.contract import Observation
from softflow.envs.mujoco_loading import load_mujoco
from softflow.envs.mujoco_task import MujocoTask, Pictures, require_family
from softflow.errors import ConfigError

NUM_TASKS = 5
ACTION_DIM = 5
POSITION_SCALE = 10.0
"""OGBench's own factor on positions (m) in its state."""
NEAR_M = 0.05
"""Within this distance a cube's position relative to the gripper is also given enlarged."""

_MODULE = "ogbench.manipspace.envs."
# family -> (module, class, constructor arguments, time limit in control steps)
_FAMILIES: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "cube-single": ("cube_env", "CubeEnv", {"env_type": "single", "permute_blocks": False}, 200),
    "cube-double": ("cube_env", "CubeEnv", {"env_type": "double", "permute_blocks": False}, 500),
    "scene": ("scene_env", "SceneEnv", {"env_type": "scene", "permute_blocks": False}, 750),
    "puzzle-3x3": ("puzzle_env", "PuzzleEnv", {"env_type": "3x3"}, 500),
}


def _build_simulator(family: str, task: int | None) -> Any:
    module, class_name, arguments, _ = _FAMILIES[family]
    load_mujoco()
    simulator_class = getattr(importlib.import_module(_MODULE + module), class_name)
    # OGBench makes a new, unseeded action space at every access (and warns about its dtype).
    action_space = spaces.Box(-1.0, 1.0, (ACTION_DIM,), np.float32)
    seedable = type(class_name, (simulator_class,), {"action_space": action_space})
    return seedable(success_timing="post", reward_task_id=task or 0, **arguments)


class OGBenchManipulation(MujocoTask):
    """One single-goal OGBench manipulation task; see the module's docstring.

    `family` is one of cube-single, cube-double, scene, puzzle-3x3; `task` is 1 to 5 or None for
    OGBench's default. `image_size` (height, width) adds `observation.images.front`. Raises
    ConfigError for an unknown family, task or image size.
    """

    def __init__(
        self,
        family: str,
        task: int | None = None,
        *,
        image_size: tuple[int, int] | None = None,
        render_size: tuple[int, int] = (360, 480),
    ) -> None:
        require_family(family, _FAMILIES)
        if task is not None and not 1 <= task <= NUM_TASKS:
            raise ConfigError(f"{family} has tasks 1 to {NUM_TASKS}, not {task}")
        pictures = Pictures({"front": "front_pixels"}, "front", image_size, render_size)
        self.family = family
        self.simulator = _build_simulator(family, task)
        self.control_hz = float(1.0 / self.simulator.control_timestep())
        self.max_episode_steps = _FAMILIES[family][3]
        self.neutral_action = np.zeros(ACTION_DIM, np.float32)
        self.simulator.reset(seed=0)
        (state_dim,) = self._state(self.simulator.compute_observation()).shape
        self._build(self.simulator, ACTION_DIM, state_dim, pictures)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; the same seed gives the same bits in any process, whatever ran before.

        Without a seed the episode follows from the last seed given (or from entropy, if none was).
        """
        episode_seed = self._begin_episode(seed)
        self.simulator.action_space.seed(episode_seed)
        self.simulator.reset(seed=episode_seed)
        self._forget_history()
        return self._observe(self.simulator.compute_observation()), {"success": False}

    def _forget_history(self) -> None:
        """Keep the pose that the reset chose, clear everything else in the simulator's state.

        Control, clock, solver warm start and contact forces would otherwise still be those of the
        goal state that OGBench visits during a reset.
        """
        mujoco = load_mujoco()
        model, data = self.simulator.model, self.simulator.data
        pose, mocap = data.qpos.copy(), (data.mocap_pos.copy(), data.mocap_quat.copy())
        mujoco.mj_resetData(model, data)
        data.qpos[:] = pose
        data.mocap_pos[:], data.mocap_quat[:] = mocap
        mujoco.mj_forward(model, data)
        mujoco.mj_rnePostConstraint(model, data)

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Execute one action [5] for 50 ms.

        Raises DataError when the action is not finite, not [5] or outside [-1, 1], and
        EnvironmentContractError when the episode is over.
        """
        executed = self._next_action(action)
        state, *_, info = self.simulator.step(executed)
        success = bool(info["success"])
        truncated = self._count_step(success=success)
        return self._observe(state), float(success), success, truncated, {"success": success}

    def _observe(self, state: np.ndarray) -> Observation:
        return self._observation(self._state(state))

    def _state(self, ogbench_state: np.ndarray) -> np.ndarray:
        """OGBench's state, then every cube's position relative to the gripper, far and near."""
        gripper = self.simulator.data.site_xpos[self.simulator._pinch_site_id]
        offsets = (self.cube_positions() - gripper).ravel()
        near = np.clip(offsets / NEAR_M, -1.0, 1.0)
        return np.concatenate([ogbench_state, POSITION_SCALE * offsets, near])

    def cube_positions(self) -> np.ndarray:
        """Where the cubes are, [num_cubes, 3] in m; none in a puzzle."""
        cubes = range(getattr(self.simulator, "_num_cubes", 0))
        joints = [self.simulator.data.joint(f"object_joint_{i}") for i in cubes]
        return np.array([joint.qpos[:3] for joint in joints]).reshape(-1, 3)

    def ground_truth(self) -> dict[str, Any]:
        """Everything the simulator knows (OGBench's info: poses, button states, clock…)."""
        return self.simulator.compute_ob_info()
