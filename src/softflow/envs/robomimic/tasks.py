"""RoboMimic's Lift, Can and Square (a Panda arm in robosuite) under softflow's contract.

| family | robosuite's task | the step is a success when |
|---|---|---|
| lift | Lift | the cube is more than 4 cm above the table |
| can | PickPlaceCan | the can lies in its bin and the gripper has let go of it |
| square | NutAssemblySquare | the square nut is around its peg |

As in RoboMimic: 20 Hz, 400 control steps, operational-space control of the gripper. Actions [7] in
[-1, 1]: displacement x, y, z (1 = 5 cm), rotation vector (1 = 0.5 rad), closing (1; -1 opens, 0
leaves the fingers alone). The state is RoboMimic's usual choice, `robot0_eef_pos` (3),
`robot0_eef_quat` (4, x y z w), `robot0_gripper_qpos` (2) and `object` (10 for lift, 14 for the
others), in robosuite 1.5's order. `image_size` adds `observation.images.agentview` and
`observation.images.robot0_eye_in_hand`, upright as in RoboMimic's files, and takes `object` out of
the state: who has cameras is to look for it, as on a robot and in the paper (V-A).

What differs from RoboMimic's own evaluation, measured against robosuite 1.5.1:

* success ends the episode;
* observations and success are of the moment the step ends. robosuite's are 2 ms old, and the
  object's pose relative to the gripper mixes the gripper of now with the object of 50 ms ago;
* the model is built once instead of at every reset (0.2 s); the size of Lift's cube varies all the
  same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from softflow.data.data_spec import STATE_KEY
from softflow.envs.contract import Observation
from softflow.envs.mujoco_task import MujocoTask, Pictures, require_family, require_no_task
from softflow.envs.robomimic.simulator import (
    CONTROL_HZ,
    FAMILIES,
    OWN_PARTS,
    STATE_PARTS,
    RobosuiteSimulator,
)

ACTION_DIM = 7
MAX_EPISODE_STEPS = 400
CAMERAS = ("agentview", "robot0_eye_in_hand")


class RobomimicTask(MujocoTask):
    """One of RoboMimic's tasks; see the module's docstring.

    Args:
        family: lift, can or square.
        task: there is none to choose.
        image_size: (height, width) of the two cameras' pictures; None without them. With them the
            state holds what the robot knows of itself, [9].
        render_size: (height, width) of pictures for people.

    Raises:
        ConfigError: unknown family, a task, too small pictures, or robosuite is missing.
    """

    control_hz = CONTROL_HZ
    max_episode_steps = MAX_EPISODE_STEPS
    simulator: RobosuiteSimulator

    def __init__(
        self,
        family: str,
        task: int | None = None,
        *,
        image_size: tuple[int, int] | None = None,
        render_size: tuple[int, int] = (360, 480),
    ) -> None:
        require_family(family, FAMILIES)
        require_no_task(family, task)
        cameras = {name: name for name in CAMERAS}
        pictures = Pictures(cameras, "agentview", image_size, render_size, hidden_group=0)
        simulator = RobosuiteSimulator(family)
        self.family = family
        self.neutral_action = np.zeros(ACTION_DIM, np.float32)
        self._parts = STATE_PARTS if image_size is None else OWN_PARTS
        sizes = {name: len(part) for name, part in simulator.observed().items()}
        names = tuple(f"{name}.{i}" for name in self._parts for i in range(sizes[name]))
        self.component_names = {STATE_KEY: names}
        self._build(simulator, ACTION_DIM, len(names), pictures)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode; the same seed gives the same bits in any process, whatever ran before.

        Without a seed the episode follows from the last seed given (or from entropy, if none was).
        """
        self.simulator.reset(self._begin_episode(seed))
        return self.observe(), {"success": False}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Execute one action [7] for 50 ms.

        Raises DataError when the action is not finite, not [7] or outside [-1, 1], and
        EnvironmentContractError when the episode is over.
        """
        self.simulator.step(self._next_action(action))
        success = self.simulator.succeeded
        truncated = self._count_step(success=success)
        return self.observe(), float(success), success, truncated, {"success": success}

    def observe(self) -> Observation:
        """What is seen of the simulator's present state."""
        seen = self.simulator.observed()
        return self._observation(np.concatenate([seen[name] for name in self._parts]))
