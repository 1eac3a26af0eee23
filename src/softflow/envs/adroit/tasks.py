"""The Adroit hand (a 24-joint Shadow hand, on an arm but for the pen) under softflow's contract.

Families adroit-door, adroit-hammer, adroit-pen and adroit-relocate are gymnasium-robotics' sparse
environments (its dense reward has a flipped reach term): its state, actions, resets and success.

| family | state, actions | limit | success ends the episode | counted beside it |
|---|---|---|---|---|
| adroit-door | 39, 28 | 300 | the door is open by 1.35 rad | opened: past 1.0 rad |
| adroit-hammer | 46, 26 | 200 | the nail is within 1 cm of its goal | lifted: the hammer, by 4 cm |
| adroit-pen | 45, 24 | 200 | within 7.5 cm and 18 degrees of its goal | dropped: below 7.5 cm |
| adroit-relocate | 39, 30 | 200 | the ball is within 10 cm of its goal | lifted: it, by 4 cm |

What differs from `gymnasium.make("AdroitHandDoorSparse-v1")`, measured against 1.4.2:

* the reward is 1 in the step that succeeds, which ends the episode, else 0; not 10 and -0.1;
* the time limit is counted inside; the door's is 300 steps instead of 200, because the human
  recordings of it need 166 to 211 steps to succeed and last up to 300;
* states are float32; actions outside [-1, 1] are refused, not clipped;
* `neutral_action` is where every joint is told to stay as a reset leaves it. Zeros mean the middle
  of every joint's range: a half-shut hand.

Control runs at 100 Hz. Actions are positions for the actuators, scaled to [-1, 1].
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import Any

import numpy as np

from softflow.data.task_profile import Measure, TaskEvent, TaskProfile
from softflow.envs.contract import Observation
from softflow.envs.mujoco_loading import load_mujoco
from softflow.envs.mujoco_task import MujocoTask, Pictures, require_family, require_no_task
from softflow.errors import ConfigError

CAMERA = "vil_camera"
OPENED_RAD = 1.0
LIFTED_M = 0.04
DROPPED_M = 0.075

_MODULE = "gymnasium_robotics.envs.adroit_hand."


@dataclass(frozen=True)
class _Family:
    """One task: its class in gymnasium-robotics, its limit, and what is counted beside success."""

    module: str
    class_name: str
    limit: int
    milestone: str
    reached: Callable[[Any], bool]


def _door_opened(simulator: Any) -> bool:
    return simulator.data.qpos[simulator.door_hinge_addrs] > OPENED_RAD


def _hammer_lifted(simulator: Any) -> bool:
    handle = simulator.data.xpos[simulator.obj_body_id]
    head = simulator.data.site_xpos[simulator.tool_site_id]
    return min(handle[2], head[2]) > LIFTED_M


def _pen_dropped(simulator: Any) -> bool:
    return simulator.data.xpos[simulator.obj_body_id][2] < DROPPED_M


def _ball_lifted(simulator: Any) -> bool:
    return simulator.data.xpos[simulator.obj_body_id][2] > LIFTED_M


_FAMILIES = {
    "adroit-door": _Family("adroit_door", "AdroitHandDoorEnv", 300, "opened", _door_opened),
    "adroit-hammer": _Family("adroit_hammer", "AdroitHandHammerEnv", 200, "lifted", _hammer_lifted),
    "adroit-pen": _Family("adroit_pen", "AdroitHandPenEnv", 200, "dropped", _pen_dropped),
    "adroit-relocate": _Family(
        "adroit_relocate", "AdroitHandRelocateEnv", 200, "lifted", _ball_lifted
    ),
}


class AdroitHand(MujocoTask):
    """One task of the Adroit hand; see the module's docstring.

    Args:
        family: adroit-door, adroit-hammer, adroit-pen or adroit-relocate.
        task: there is none to choose.
        image_size: (height, width) of `observation.images.front`; None without it.
        render_size: (height, width) of pictures for people.

    Raises:
        ConfigError: unknown family, a task, too small pictures, or gymnasium-robotics is missing.
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
        require_no_task(family, task)
        pictures = Pictures({"front": CAMERA}, CAMERA, image_size, render_size)
        self._family = _FAMILIES[family]
        simulator = _build_simulator(self._family)
        self.control_hz = float(1.0 / simulator.dt)
        self.max_episode_steps = self._family.limit
        self.neutral_action = _held_pose(simulator)
        self.task_profile = TaskProfile(
            (TaskEvent(self._family.milestone, 0.0), TaskEvent("success", 1.0, "success")),
            measures=(Measure("success_rate"), Measure("event_rate", self._family.milestone)),
        )
        self._milestone_reached = False
        (action_dim,), (state_dim,) = (
            simulator.action_space.shape,
            simulator.observation_space.shape,
        )
        self._build(simulator, action_dim, state_dim, pictures)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode as gymnasium-robotics does: what it places at random follows from seed.

        Without a seed the episode follows from the last seed given (or from entropy, if none was).
        """
        state, _ = self.simulator.reset(seed=self._begin_episode(seed))
        self._milestone_reached = False
        return self._observation(state), {"success": False}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Execute one action [A] for 10 ms.

        Raises DataError when the action is not finite, not [A] or outside [-1, 1], and
        EnvironmentContractError when the episode is over.
        """
        state, *_, info = self.simulator.step(self._next_action(action))
        success = bool(info["success"])
        events = self._new_milestone() + ["success"] * success
        truncated = self._count_step(success=success)
        told = {"success": success, "events": events}
        return self._observation(state), float(success), success, truncated, told

    def _new_milestone(self) -> list[str]:
        """What is counted beside success, in the step in which it happens first."""
        if self._milestone_reached or not self._family.reached(self.simulator):
            return []
        self._milestone_reached = True
        return [self._family.milestone]


def _build_simulator(family: _Family) -> Any:
    load_mujoco()
    try:
        # It prints at every import that its dense rewards have changed; they are not used here.
        with redirect_stderr(io.StringIO()):
            module = importlib.import_module(_MODULE + family.module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"the Adroit hand needs gymnasium-robotics ({error}); pip install 'softflow[adroit]'"
        ) from error
    return getattr(module, family.class_name)(reward_type="sparse")


def _held_pose(simulator: Any) -> np.ndarray:
    """The action that tells every joint to stay where a reset leaves it, float32 [A]."""
    model = simulator.model
    joints = model.actuator_trnid[:, 0]
    pose = simulator.init_qpos[model.jnt_qposadr[joints]]
    return np.clip((pose - simulator.act_mean) / simulator.act_rng, -1.0, 1.0).astype(np.float32)
