"""Hands whose gait a policy corrects: its actions move the gait's targets a little, and its pace.

Without a gait (the paper) the same actions are the joint targets themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from softflow.envs.orca_cube.batched import BatchedHand, HandStep
from softflow.envs.orca_cube.observing import cube_features
from softflow.envs.orca_cube.settings import CONTROL_HZ
from softflow.teacher.config import TeacherConfig
from softflow.teacher.gait import FingertipGait
from softflow.teacher.gait_search import FoundGait
from softflow.teacher.hand_view import HandView, view_of
from softflow.teacher.rewards import rotation_reward, table_iii_reward

PACE_SPREAD = 0.5
SLOWEST_PACE, FASTEST_PACE = 0.3, 2.0
_SPEEDS = (0.1, 1.0, 10.0)
"""Scales of observations: rad/s of joints, of spin, m/s."""


@dataclass(frozen=True)
class ResidualStep:
    """What a control step of the residual task led to.

    Args:
        observation: [N, D] of the state now; of new episodes where one ended.
        reward: [N].
        hand: what the hands say of the step.
        executed: [N, J], the joint targets in [-1, 1] that were sent.
    """

    observation: np.ndarray
    reward: np.ndarray
    hand: HandStep
    executed: np.ndarray


class ResidualHands:
    """N hands with a gait, and a policy's corrections.

    Args:
        hand: the hands.
        gaits: by direction; empty without.
        config: scales and reward.
    """

    def __init__(
        self,
        hand: BatchedHand,
        gaits: Sequence[FoundGait],
        config: TeacherConfig,
    ) -> None:
        self.hand, self._config = hand, config
        self._gaits: Mapping[int, FingertipGait] = {
            found.direction: FingertipGait(
                hand.scene,
                hand.grasps,
                found.grasp,
                np.tile(found.numbers, (hand.num, 1)),
                found.direction,
            )
            for found in gaits
        }
        self.phase = np.zeros(hand.num)
        joints = hand.scene.num_joints
        self.num_actions = joints + bool(self._gaits)
        self._last = np.zeros((hand.num, self.num_actions))
        self.reset(np.arange(hand.num))

    def reset(self, indices: np.ndarray) -> np.ndarray:
        """Begin new episodes of some hands; the observations [N, D] of all."""
        self.hand.reset(indices)
        self.phase[indices] = 0.0
        self._last[indices] = 0.0
        self._view = view_of(self.hand)
        return self.observation()

    def actions(self, corrections: np.ndarray) -> np.ndarray:
        """The hands' actions [N, J] that corrections [N, A] mean now; nothing moves."""
        joints = self.hand.scene.num_joints
        bounded = self._config.residual * np.clip(corrections[:, :joints], -1.0, 1.0)
        if not self._gaits:
            return bounded
        return np.clip(self.hand.to_actions(self._gait_targets()) + bounded, -1.0, 1.0)

    def advance(self, corrections: np.ndarray) -> None:
        """Let the gait's phase go on by a control step, as fast as the corrections say."""
        if not self._gaits:
            return
        pace = np.clip(1 + PACE_SPREAD * corrections[:, -1], SLOWEST_PACE, FASTEST_PACE)
        self.phase = (self.phase + pace / CONTROL_HZ / self._periods()) % 1.0

    def step(self, corrections: np.ndarray) -> ResidualStep:
        """Execute corrections [N, A] for a control step; episodes that end begin anew."""
        executed = self.actions(corrections)
        done, reward = self.execute(executed, corrections)
        observation = self.observation()
        if ended := list(np.flatnonzero(done.done)):
            observation = self.reset(np.array(ended))
        return ResidualStep(observation, reward, done, executed)

    def execute(self, executed: np.ndarray, corrections: np.ndarray) -> tuple[HandStep, np.ndarray]:
        """Send actions [N, J] to the hands; what came of it and the rewards. Nobody is reset."""
        before, direction = self._view, np.sign(self.hand.commands)
        self.advance(corrections)
        self._last = np.clip(corrections, -1.0, 1.0)
        done = self.hand.step(executed)
        self._view = view_of(self.hand)
        reward = self._reward(done, direction, before, self._view)
        return done, np.where(done.broken, 0.0, reward)

    def _reward(
        self, done: HandStep, direction: np.ndarray, before: HandView, after: HandView
    ) -> np.ndarray:
        if self._config.reward == "table_iii":
            return table_iii_reward(before, after)
        return rotation_reward(done.turned_rad, direction, done.dropped, before, after)

    def observation(self) -> np.ndarray:
        """What a teacher sees [N, D]: the true state (App. B4), and the gait's phase."""
        hand, view = self.hand, self._view
        quat_sign = np.where(view.cube_quat_wxyz[:, :1] < 0, -1.0, 1.0)
        tips = (view.tips - view.cube_pos[:, None]).reshape(hand.num, -1)
        platform = np.maximum(hand.settings.platform_steps - hand.steps, 0) / CONTROL_HZ
        circle = 2 * np.pi * self.phase[:, None]
        waves = [np.sin(circle), np.cos(circle), np.sin(2 * circle), np.cos(2 * circle)]
        parts = [
            hand.to_actions(view.joints),
            _SPEEDS[0] * view.joint_vel,
            hand.to_actions(hand.targets),
            cube_features(10 * (view.cube_pos - view.home), view.cube_quat_wxyz),
            quat_sign * view.cube_quat_wxyz,
            _SPEEDS[2] * view.cube_vel,
            _SPEEDS[1] * view.cube_spin,
            10 * tips,
            hand.commands[:, None],
            self._last,
            platform[:, None],
            *(waves if self._gaits else []),
        ]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def _gait_targets(self) -> np.ndarray:
        targets = self.hand.targets.copy()
        for direction, gait in self._gaits.items():
            rows = np.sign(self.hand.commands) == direction
            targets[rows] = gait.targets(self.phase)[rows]
        return targets

    def _periods(self) -> np.ndarray:
        periods = np.ones(self.hand.num)
        for direction, gait in self._gaits.items():
            rows = np.sign(self.hand.commands) == direction
            periods[rows] = gait.period_s[rows]
        return periods
