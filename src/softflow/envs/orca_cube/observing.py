"""What a hand observes: its joints, the cube as perception sees it, and what was asked.

| part | size | |
|---|---|---|
| joint angles | J | rad, with the bias of the episode |
| joint targets | J | rad, the last command after smoothing |
| cube position | 3 | m, from the hand's home for it |
| cube's upper axis | 3 | whichever axis points up: a cube looks the same from six sides |
| yaw of its sides | 2 | cos, sin of four times the angle: the same after a quarter turn |
| command | 1 | rad/s |

The paper gives a quaternion (App. B3). For the hand the four quarters of a turn are the same task;
a quaternion would have it learned four times over, and jumps once a turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from softflow.envs.orca_cube.rotations import (
    matrices,
    product,
    quarter_yaw,
    small_rotation,
    up_axes,
)

if TYPE_CHECKING:
    from softflow.envs.orca_cube.batched import BatchedHand


def state_names(joint_names: tuple[str, ...]) -> tuple[str, ...]:
    """The components of a state, in order."""
    return (
        *joint_names,
        *(f"{name}_target" for name in joint_names),
        *("cube_x", "cube_y", "cube_z"),
        *("cube_up_x", "cube_up_y", "cube_up_z"),
        *("cube_cos_4_yaw", "cube_sin_4_yaw"),
        "command_rad_s",
    )


def cube_features(pos: np.ndarray, quat_wxyz: np.ndarray) -> np.ndarray:
    """Position, upper axis and yaw of cubes, [N, 3] and [N, 4] -> [N, 8]."""
    up, _ = up_axes(matrices(quat_wxyz))
    yaw = 4 * quarter_yaw(quat_wxyz)[:, None]
    return np.concatenate([pos, up, np.cos(yaw), np.sin(yaw)], axis=1)


class Observing:
    """The readings of N hands, as far off as their gap says.

    Args:
        hand: the hands; their random numbers are used.
    """

    def __init__(self, hand: BatchedHand) -> None:
        self._hand = hand
        self._home = np.array(hand.scene.hand.description.cube_home_m)
        self._joint_bias = np.zeros((hand.num, hand.scene.num_joints))
        self._pos_bias = np.zeros((hand.num, 3))
        self._turn_bias = np.zeros((hand.num, 3))
        self.look()

    def reset(self, indices: np.ndarray) -> None:
        """Draw the offsets that new episodes keep."""
        gap, rng, count = self._hand.settings.gap, self._hand.rng, len(indices)
        shape = (count, self._joint_bias.shape[1])
        self._joint_bias[indices] = rng.normal(0, gap.joint_bias_rad, shape)
        self._pos_bias[indices] = rng.normal(0, gap.pose_bias_m, (count, 3))
        self._turn_bias[indices] = rng.normal(0, gap.pose_bias_rad, (count, 3))

    def look(self) -> None:
        """Read everything once."""
        hand, physics = self._hand, self._hand.physics
        gap, shape = hand.settings.gap, (hand.num, 3)
        joint_noise = gap.joint_noise_rad * hand.rng.normal(0, 1, physics.joints.shape)
        self.joints = physics.joints + self._joint_bias + joint_noise
        noise = hand.rng.normal(0, 1, (2, *shape))
        self.cube_pos = physics.cube_pos + self._pos_bias + gap.pose_noise_m * noise[0]
        off = small_rotation(self._turn_bias + gap.pose_noise_rad * noise[1])
        self.cube_quat_wxyz = product(off, physics.cube_quat_wxyz)

    def state(self) -> np.ndarray:
        """The states [N, S] of the last reading, float32."""
        hand = self._hand
        cube = cube_features(self.cube_pos - self._home, self.cube_quat_wxyz)
        parts = [self.joints, hand.targets, cube, hand.commands[:, None]]
        return np.concatenate(parts, axis=1).astype(np.float32)
