"""The cube task for N hands at once: what a simulator offers to teachers, and the one on CPUs.

A simulator on GPUs (MuJoCo Warp, Isaac Lab) is another class with the members of `HandSimulator`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from softflow.envs.orca_cube.grasps import DEFAULT_CACHE, GraspCache, read_grasps
from softflow.envs.orca_cube.hand_model import ORCA_RIGHT, HandDescription, load_hand
from softflow.envs.orca_cube.observing import Observing
from softflow.envs.orca_cube.physics import BatchedPhysics
from softflow.envs.orca_cube.quarter_turns import QuarterTurns, quarter_change
from softflow.envs.orca_cube.randomisation import NOTHING, ModelRandomiser, Randomisation
from softflow.envs.orca_cube.rotations import quarter_yaw, tilt_of
from softflow.envs.orca_cube.scene import PLATFORM_AWAY_M, PLATFORM_HALF_M, CubeScene, build_scene
from softflow.envs.orca_cube.settings import CONTROL_HZ, CubeSettings
from softflow.envs.orca_cube.unstable import dump_unstable

MOST_TILT_RAD = 0.65
"""A cube that leans more is lost: what counts only upright cubes breeds tumbling."""
_LEAVING_M = 0.02
"""The platform sinks so far in a control step when it leaves."""


@dataclass(frozen=True)
class HandStep:
    """What a control step led to, for each of N hands.

    Args:
        state: [N, S], what the hand observes; float32.
        quarters: [N], quarter turns finished in the commanded direction; the task's reward.
        turned_rad: [N], how far the cube turned counter-clockwise in this step, truly.
        dropped: [N], the cube fell or tumbled; ends the episode.
        timed_out: [N], the time limit; ends the episode otherwise.
        broken: [N], no physics any more: dumped; the episode counts for nothing.
    """

    state: np.ndarray
    quarters: np.ndarray
    turned_rad: np.ndarray
    dropped: np.ndarray
    timed_out: np.ndarray
    broken: np.ndarray

    @property
    def done(self) -> np.ndarray:
        """[N], for whatever reason."""
        return self.dropped | self.timed_out | self.broken


class HandSimulator(Protocol):
    """N hands with cubes; members not listed here are one simulator's own."""

    num: int
    settings: CubeSettings

    def reset(self, indices: np.ndarray) -> np.ndarray:
        """Begin new episodes of some hands; the states [N, S] of all."""
        ...

    def step(self, actions: np.ndarray) -> HandStep:
        """Execute actions [N, J] in [-1, 1] for a control step; nobody is reset."""
        ...


class BatchedHand:
    """N hands on the processor; a `HandSimulator`.

    Args:
        settings: of the task.
        num: N.
        seed: of everything random; the same calls then give the same bits.
        threads: that share the physics.
        randomisation: of models and starts.
        hand: whose model is loaded.
        grasps: the cache with the starts, or its file.
        dumps: folder for states of physics that blew up; None keeps none.

    Raises:
        ConfigError: the grasps are of another hand or cube.
    """

    def __init__(
        self,
        settings: CubeSettings,
        num: int,
        seed: int = 0,
        *,
        threads: int = 1,
        randomisation: Randomisation = NOTHING,
        hand: HandDescription = ORCA_RIGHT,
        grasps: Path | GraspCache = DEFAULT_CACHE,
        dumps: Path | None = None,
    ) -> None:
        self.settings, self.num = settings, num
        self.scene: CubeScene = build_scene(load_hand(hand), settings)
        cache = read_grasps(grasps) if isinstance(grasps, Path) else grasps
        named = grasps if isinstance(grasps, Path) else Path("grasps")
        cache.require_of(self.scene.hand.fingerprint, settings.cube_edge_m, named)
        self.grasps, self._dumps = cache, dumps
        self._starts = cache.near_home(settings.start_grasps)
        self.physics = BatchedPhysics(self.scene, num, threads)
        self.rng = np.random.default_rng(seed)
        self._randomiser = ModelRandomiser(self.scene, randomisation, num, self.rng)
        joints = self.scene.num_joints
        self._low, self._high = self.scene.joint_range.T
        self.targets = np.zeros((num, joints))
        """Smoothed joint targets [N, J], rad: what the controllers are told."""
        self.actions = np.zeros((num, joints))
        """The last actions [N, J], in [-1, 1]."""
        self.commands = np.zeros(num)
        """Asked rotation [N], rad/s; its sign is the direction."""
        self.steps = np.zeros(num, dtype=int)
        """Control steps since the episode began [N]."""
        self.start_pos = np.zeros((num, 3))
        """Where each cube began, m."""
        self.start_grasp = np.zeros(num, dtype=int)
        self.broken_episodes = 0
        self._command_left = np.zeros(num, dtype=int)
        delayed = round(settings.gap.delay_s / settings.physics_step_s)
        self._pending = np.zeros((num, delayed, joints))
        self._quarters = QuarterTurns(num)
        self._observing = Observing(self)
        self._yaw = self._seen_yaw = np.zeros(num)
        self.reset(np.arange(num))

    def reseed(self, seed: int) -> None:
        """Make everything random that follows depend on `seed` alone."""
        self.rng = np.random.default_rng(seed)
        self._randomiser = ModelRandomiser(self.scene, self._randomiser.what, self.num, self.rng)

    def reset(
        self,
        indices: np.ndarray,
        grasps: np.ndarray | None = None,
        model_seeds: np.ndarray | None = None,
    ) -> np.ndarray:
        """Begin new episodes of some hands; the states [N, S] of all.

        Args:
            indices: of the hands.
            grasps: which grasp each of them begins with; drawn without.
            model_seeds: of each one's friction, masses and gains: alike where the seed is.
        """
        for place, index in enumerate(indices):
            seed = None if model_seeds is None else int(model_seeds[place])
            rng = self.rng if seed is None else np.random.default_rng(seed)
            self._randomiser.redraw(self.physics.models[index], int(index), rng)
        chosen = self.rng.choice(self._starts, len(indices)) if grasps is None else grasps
        self._place(indices, chosen)
        self.start_grasp[indices] = chosen
        self.targets[indices] = self.grasps.targets[chosen]
        self._pending[indices] = self.targets[indices, None]
        self.actions[indices] = self.to_actions(self.targets[indices])
        self.steps[indices] = 0
        self._draw_commands(indices)
        self._quarters.reset(indices)
        self._observing.reset(indices)
        self._yaw = quarter_yaw(self.physics.cube_quat_wxyz)
        self._observing.look()
        self._seen_yaw = quarter_yaw(self._observing.cube_quat_wxyz)
        return self.state()

    def state(self) -> np.ndarray:
        """What the hands observe now [N, S], float32."""
        return self._observing.state()

    def step(self, actions: np.ndarray) -> HandStep:
        """Execute actions [N, J] in [-1, 1] for a control step; nobody is reset."""
        self.actions = np.clip(actions, -1.0, 1.0)
        ema = self.settings.ema
        self.targets = ema * self.to_targets(self.actions) + (1 - ema) * self.targets
        before = self.physics.state.copy()
        heard = self._heard()
        self.physics.step(heard)
        broken = self._discard_broken(before, heard)
        self.steps += 1
        self._move_platforms()
        turned = self._turned()
        dropped = ~broken & self._dropped()
        quarters = self._count(turned, dropped | broken)
        self._command_left -= 1
        self._draw_commands(np.flatnonzero(self._command_left <= 0))
        timed_out = (self.steps >= self.settings.max_steps) & ~dropped & ~broken
        return HandStep(self.state(), quarters, turned, dropped, timed_out, broken)

    def to_targets(self, actions: np.ndarray) -> np.ndarray:
        """Joint targets, rad, of actions in [-1, 1]."""
        return self._low + (actions + 1) / 2 * (self._high - self._low)

    def to_actions(self, targets: np.ndarray) -> np.ndarray:
        """Actions in [-1, 1] of joint targets, rad."""
        return np.clip(2 * (targets - self._low) / (self._high - self._low) - 1, -1.0, 1.0)

    def _heard(self) -> np.ndarray:
        """What the controllers hear in this control step [N, T, J]: late, if there is a delay."""
        inner = self.settings.physics_steps
        told = np.repeat(self.targets[:, None], inner, axis=1)
        both = np.concatenate([self._pending, told], axis=1)
        self._pending = both[:, inner:]
        return both[:, :inner]

    def _place(self, indices: np.ndarray, chosen: np.ndarray) -> None:
        qpos, joints = self.grasps.qpos[chosen].copy(), self.scene.num_joints
        qvel = np.zeros((len(indices), joints + 6))
        what = self._randomiser.what
        cube = slice(joints, joints + 3)
        qpos[:, cube] += self.rng.normal(0, what.cube_start_m or 0.0, (len(indices), 3))
        qvel[:, cube] = self.rng.normal(0, what.cube_start_m_s or 0.0, (len(indices), 3))
        self.physics.place(indices, qpos, qvel)
        self.start_pos[indices] = self.physics.cube_pos[indices]
        self.physics.tips[indices] = self.start_pos[indices, None]
        if self.settings.platform_steps:
            under = self.settings.cube_edge_m / 2 + PLATFORM_HALF_M[2]
            for index in indices:
                place = self.start_pos[index] - [0, 0, under]
                self.physics.models[index].geom_pos[self.scene.platform_geom] = place

    def _move_platforms(self) -> None:
        late = self.steps - self.settings.platform_steps
        if not self.settings.platform_steps:
            return
        for index in np.flatnonzero((late > 0) & (late < 8)):
            place = self.physics.models[index].geom_pos[self.scene.platform_geom]
            place[2] = PLATFORM_AWAY_M if late[index] == 7 else place[2] - _LEAVING_M

    def _turned(self) -> np.ndarray:
        yaw = quarter_yaw(self.physics.cube_quat_wxyz)
        turned = quarter_change(self._yaw, yaw)
        self._yaw = yaw
        return turned

    def _count(self, turned: np.ndarray, lost: np.ndarray) -> np.ndarray:
        """Quarters [N]; the step that loses a cube counts nothing."""
        self._observing.look()
        seen = quarter_yaw(self._observing.cube_quat_wxyz)
        if self.settings.events_from == "observation":
            turned = quarter_change(self._seen_yaw, seen)
        self._seen_yaw = seen
        turned = np.where(lost, 0.0, turned)
        return self._quarters.update(turned, np.sign(self.commands))

    def _dropped(self) -> np.ndarray:
        fallen = self.start_pos[:, 2] - self.physics.cube_pos[:, 2] > self.settings.drop_m
        return fallen | (tilt_of(self.physics.cube_quat_wxyz) > MOST_TILT_RAD)

    def _discard_broken(self, before: np.ndarray, heard: np.ndarray) -> np.ndarray:
        """Which hands broke; their states become their starts, which nobody learns from."""
        broken = self.physics.unstable
        for index in np.flatnonzero(broken):
            self.broken_episodes += 1
            model = self.physics.models[index]
            dump_unstable(self._dumps, model, before[index], heard[index], self.broken_episodes)
            qpos = self.grasps.qpos[self.start_grasp[index]]
            self.physics.place(np.array([index]), qpos[None])
        return broken

    def _draw_commands(self, indices: np.ndarray) -> None:
        asked, count = self.settings.commands, len(indices)
        speed = self.rng.uniform(asked.slowest_rad_s, asked.fastest_rad_s, count)
        self.commands[indices] = speed * self.rng.choice(np.array(asked.directions), count)
        held = self.rng.uniform(asked.shortest_s, asked.longest_s, count)
        self._command_left[indices] = np.round(held * CONTROL_HZ)
