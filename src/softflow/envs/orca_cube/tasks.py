"""The environment `orca-cube`: a cube turned in a hand whose palm faces down (Sec. V-C, App. B).

| family | hand |
|---|---|
| orca-cube | the nominal one |
| orca-cube-twin | the "real" one (`settings.TWIN_GAP`); -task50 has half of its gap |
| orca-cube-twin-seen | the same; quarter turns count on the pose that is seen, noise and all |

Actions are 17 joint targets, scaled to the joints' ranges and smoothed (EMA 0.5), at 20 Hz; an
episode lasts 32 s or until the cube is dropped. A platform carries the nominal hand's for the first
6 s; the twin's starts in a stable grasp. Every quarter turn in the commanded direction earns 1,
never twice.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from softflow.data.data_spec import STATE_KEY
from softflow.data.task_profile import Measure, TaskEvent, TaskProfile
from softflow.envs.contract import Observation
from softflow.envs.mujoco_task import MujocoTask, Pictures, require_family
from softflow.envs.orca_cube import CUBE_FAMILIES, CUBE_FAMILY, SEEN_FAMILY
from softflow.envs.orca_cube.batched import BatchedHand
from softflow.envs.orca_cube.grasps import DEFAULT_CACHE
from softflow.envs.orca_cube.hand_model import ORCA_RIGHT, HandDescription
from softflow.envs.orca_cube.observing import state_names
from softflow.envs.orca_cube.scene import CAMERA
from softflow.envs.orca_cube.settings import CONTROL_HZ, CubeSettings, twin
from softflow.errors import ConfigError, EpisodeLostError

CUBE_PROFILE = TaskProfile(
    events=(TaskEvent("rotated", 1.0), TaskEvent("dropped", 0.0, "failure")),
    success_when=("rotated",),
    measures=(
        Measure("per_minute", "rotated", "turns_per_minute", "turns/min", per_event=0.25),
        Measure("before_failure", "rotated", "turns_before_drop", "turns", per_event=0.25),
        Measure("event_rate", "dropped", "drop_rate"),
    ),
)
"""+1 for every quarter; an episode worth imitating has one and does not end with a drop."""


class _OneHand:
    """The first of some hands, as pictures want it."""

    def __init__(self, hand: BatchedHand) -> None:
        self._hand = hand
        self.model = hand.physics.models[0]

    @property
    def data(self) -> Any:
        """MuJoCo's, computed for the state now."""
        return self._hand.physics.data_of(0)[1]


class OrcaCube(MujocoTask):
    """The cube in one hand; see the module's docstring.

    Args:
        family: orca-cube, orca-cube-twin or orca-cube-twin-seen.
        task: of the twins: how much of its gap, in per cent (default 100).
        image_size: (height, width) of `observation.images.below`; None without it.
        settings: of the task; a family's own without.
        hand: whose model is loaded.
        grasps: file with the starts.
        dumps: folder for physics that blew up; softflow_unstable among temporary files without.

    Raises:
        ConfigError: unknown family, a task the family has not, or grasps of another hand.
        MissingPackageError: the hand's package is not installed.
    """

    def __init__(
        self,
        family: str = CUBE_FAMILY,
        task: int | None = None,
        *,
        image_size: tuple[int, int] | None = None,
        settings: CubeSettings | None = None,
        hand: HandDescription = ORCA_RIGHT,
        grasps: Path = DEFAULT_CACHE,
        dumps: Path | None = None,
    ) -> None:
        require_family(family, CUBE_FAMILIES)
        dumps = dumps or Path(tempfile.gettempdir()) / "softflow_unstable"
        self.settings = settings or _family_settings(family, task)
        self.hand = BatchedHand(self.settings, 1, hand=hand, grasps=grasps, dumps=dumps)
        self.control_hz = CONTROL_HZ
        self.max_episode_steps = self.settings.max_steps
        self.task_profile = CUBE_PROFILE
        home = self.hand.grasps.targets[self.hand.grasps.home]
        self.neutral_action = self.hand.to_actions(home).astype(np.float32)
        names = self.hand.scene.hand.joint_names
        self.component_names = {STATE_KEY: state_names(names)}
        self._happened, self._dumps = list[str](), dumps
        pictures = Pictures({"below": CAMERA}, CAMERA, image_size)
        state_dim = len(self.component_names[STATE_KEY])
        self._build(_OneHand(self.hand), len(names), state_dim, pictures)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode: grasp, commands and noise follow from the seed.

        Without a seed the episode follows from the last seed given (or from entropy, if none was).
        """
        self.hand.reseed(self._begin_episode(seed))
        self._happened = []
        return self._observation(self.hand.reset(np.zeros(1, dtype=int))[0]), {"success": False}

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Execute one action [J] for 50 ms.

        Raises:
            DataError: the action is not finite, not [J] or outside [-1, 1].
            EnvironmentContractError: the episode is over.
            EpisodeLostError: the physics blew up; the episode is to be thrown away.
        """
        done = self.hand.step(self._next_action(action)[None])
        if done.broken[0]:
            self._steps_left = 0
            raise EpisodeLostError(
                f"the hand's physics blew up in control step {int(self.hand.steps[0])}; this "
                f"episode is to be thrown away. Dumped in '{self._dumps}', which "
                "softflow.envs.orca_cube.unstable.replay_unstable plays again; where it happens "
                "often, give more solver_iterations or a smaller physics_step_s"
            )
        events = ["rotated"] * int(done.quarters[0]) + ["dropped"] * bool(done.dropped[0])
        self._happened += events
        dropped = bool(done.dropped[0])
        truncated = self._count_step(success=dropped)
        told = {"success": CUBE_PROFILE.succeeded(self._happened), "events": events}
        reward = float(done.quarters[0])
        return self._observation(done.state[0]), reward, dropped, truncated, told


def _family_settings(family: str, task: int | None) -> CubeSettings:
    if family == CUBE_FAMILY:
        if task is not None:
            raise ConfigError(f"{family} has no tasks to choose from; leave out -task{task}")
        return CubeSettings()
    if task is not None and not 0 <= task <= 200:
        raise ConfigError(f"{family}-task{task}: the task is per cent of the gap; give 0 to 200")
    events_from = "observation" if family == SEEN_FAMILY else "truth"
    return twin(CubeSettings(events_from=events_from), 1.0 if task is None else task / 100)
