"""Where fingertips are and how joints move them: MuJoCo's kinematics of one hand."""

from __future__ import annotations

import numpy as np

from softflow.envs.mujoco_loading import load_mujoco
from softflow.envs.orca_cube.scene import CubeScene

_DAMPING = 1e-5
_LARGEST_STEP_RAD = 0.3


class HandKinematics:
    """Fingertips of joint angles, and joint angles of fingertips; held joints stay as they are.

    Args:
        scene: the hand is the one in it.
    """

    def __init__(self, scene: CubeScene) -> None:
        mujoco = load_mujoco()
        hand = scene.hand
        self.scene, self._data = scene, mujoco.MjData(scene.model)
        self._sites = [scene.model.site(f"{tip}_tip").id for tip in hand.description.tips]
        held = hand.description.held_joints
        self.moved = np.array([i for i, n in enumerate(hand.joint_names) if n not in held])
        """Indices of the joints that move fingers."""
        self.low, self.high = scene.joint_range.T

    def tips(self, joints: np.ndarray) -> np.ndarray:
        """Fingertips [F, 3] in the world, m, of joint angles [J]."""
        self._place(joints)
        return self._data.site_xpos[self._sites].copy()

    def jacobian(self, joints: np.ndarray) -> np.ndarray:
        """How tips move with the moved joints at `joints` [J]: [F, 3, M], m/rad."""
        mujoco, model = load_mujoco(), self.scene.model
        self._place(joints)
        mujoco.mj_comPos(model, self._data)
        rows = np.zeros((len(self._sites), 3, model.nv))
        for row, site in zip(rows, self._sites, strict=True):
            mujoco.mj_jacSite(model, self._data, row, None, site)
        return rows[:, :, self.moved]

    def reach(
        self, tips: np.ndarray, joints: np.ndarray, iterations: int = 25
    ) -> tuple[np.ndarray, np.ndarray]:
        """Joint angles [J] whose tips are as close to `tips` [F, 3] as can be, from `joints` on.

        Damped least squares within the joints' ranges. Returns the angles and what is left [F], m.
        """
        joints = joints.copy()
        for _ in range(iterations):
            jacobian = self.jacobian(joints).reshape(-1, len(self.moved))
            error = (tips - self._data.site_xpos[self._sites]).ravel()
            damped = jacobian @ jacobian.T + _DAMPING * np.eye(len(error))
            step = jacobian.T @ np.linalg.solve(damped, error)
            step = np.clip(step, -_LARGEST_STEP_RAD, _LARGEST_STEP_RAD)
            moved = joints[self.moved] + step
            joints[self.moved] = np.clip(moved, self.low[self.moved], self.high[self.moved])
        return joints, np.linalg.norm(tips - self.tips(joints), axis=1)

    def _place(self, joints: np.ndarray) -> None:
        mujoco = load_mujoco()
        self._data.qpos[: len(joints)] = joints
        mujoco.mj_kinematics(self.scene.model, self._data)
