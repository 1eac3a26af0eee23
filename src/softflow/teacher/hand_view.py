"""The true state of N hands, as rewards and a teacher's observations need it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softflow.envs.orca_cube.batched import BatchedHand
from softflow.envs.orca_cube.rotations import matrices


@dataclass(frozen=True)
class HandView:
    """What is true of N hands after a control step; copies.

    Args:
        joints, joint_vel: [N, J], rad and rad/s.
        tips: [N, F, 3], m, in the world.
        cube_pos: [N, 3], m; home: [3], where it should be.
        cube_quat_wxyz: [N, 4].
        cube_vel, cube_spin: [N, 3] in the world, m/s and rad/s.
        actions: [N, J], the last, in [-1, 1].
        command: [N], rad/s about the vertical.
    """

    joints: np.ndarray
    joint_vel: np.ndarray
    tips: np.ndarray
    cube_pos: np.ndarray
    home: np.ndarray
    cube_quat_wxyz: np.ndarray
    cube_vel: np.ndarray
    cube_spin: np.ndarray
    actions: np.ndarray
    command: np.ndarray


def view_of(hand: BatchedHand) -> HandView:
    """The true state now."""
    physics = hand.physics
    rotation = matrices(physics.cube_quat_wxyz)
    return HandView(
        joints=physics.joints.copy(),
        joint_vel=physics.joint_vel.copy(),
        tips=physics.tips.copy(),
        cube_pos=physics.cube_pos.copy(),
        home=np.array(hand.scene.hand.description.cube_home_m),
        cube_quat_wxyz=physics.cube_quat_wxyz.copy(),
        cube_vel=physics.cube_vel.copy(),
        cube_spin=np.einsum("nij,nj->ni", rotation, physics.cube_spin_body),
        actions=hand.actions.copy(),
        command=hand.commands.copy(),
    )
