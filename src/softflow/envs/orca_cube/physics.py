"""Many hands at once on the processor: one MuJoCo model each, stepped by `mujoco.rollout`."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from softflow.envs.mujoco_loading import load_mujoco
from softflow.envs.orca_cube.scene import CubeScene

FASTEST = 300.0
"""rad/s or m/s: a joint or cube beyond that is no physics any more."""


class BatchedPhysics:
    """The states of N hands, each with a model of its own that may be changed between steps.

    Same models, states and controls give the same bits, whatever the number of threads: every call
    starts the solver anew.

    Args:
        scene: all models begin as copies of it.
        num: N.
        threads: that share the work; 1 works on the calling thread.
    """

    def __init__(self, scene: CubeScene, num: int, threads: int = 1) -> None:
        mujoco = load_mujoco()
        from mujoco import rollout

        self.scene, self.num = scene, num
        self.models = [copy.copy(scene.model) for _ in range(num)]
        self._data = [mujoco.MjData(scene.model) for _ in range(max(threads, 1))]
        self._rollout = rollout.Rollout(nthread=threads if threads > 1 else 0)
        size = mujoco.mj_stateSize(scene.model, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        self.state = np.zeros((num, size))
        self.tips = np.zeros((num, len(scene.hand.description.tips), 3))
        """Fingertips [N, F, 3] in the world, m, one physics step before the state."""
        joints, nq, nv = scene.num_joints, scene.model.nq, scene.model.nv
        # The state is time, qpos, qvel; the cube's free joint comes behind the hand's.
        self._qpos = slice(1, 1 + nq)
        self._qvel = slice(1 + nq, 1 + nq + nv)
        self.joints = self.state[:, 1 : 1 + joints]
        """Joint angles [N, J], rad."""
        self.cube_pos = self.state[:, 1 + joints : 4 + joints]
        """[N, 3], m."""
        self.cube_quat_wxyz = self.state[:, 4 + joints : 8 + joints]
        """[N, 4]."""
        self.joint_vel = self.state[:, 1 + nq : 1 + nq + joints]
        """[N, J], rad/s."""
        self.cube_vel = self.state[:, 1 + nq + joints : 4 + nq + joints]
        """[N, 3] in the world, m/s."""
        self.cube_spin_body = self.state[:, 4 + nq + joints : 7 + nq + joints]
        """[N, 3] in the cube's frame, rad/s."""

    def place(self, indices: np.ndarray, qpos: np.ndarray, qvel: np.ndarray | None = None) -> None:
        """Put hands [n] into a state: qpos [n, J + 7], qvel [n, J + 6] (at rest without)."""
        self.state[indices] = 0.0
        self.state[indices, self._qpos] = qpos
        if qvel is not None:
            self.state[indices, self._qvel] = qvel

    def step(self, targets: np.ndarray) -> None:
        """Let time pass: joint targets [N, T, J], rad, one a physics step."""
        states, sensors = self._rollout.rollout(
            self.models, self._data, self.state, targets, skip_checks=False
        )
        self.state[:] = np.asarray(states)[:, -1]
        self.tips[:] = np.asarray(sensors)[:, -1].reshape(self.tips.shape)

    @property
    def unstable(self) -> np.ndarray:
        """Which hands [N] are in no state that physics has: NaN, or faster than anything."""
        velocities = self.state[:, self._qvel]
        fine = np.asarray(np.isfinite(self.state).all(1))
        return ~fine | (np.abs(np.where(fine[:, None], velocities, 0.0)) > FASTEST).any(1)

    def data_of(self, index: int) -> tuple[Any, Any]:
        """The model and a MjData of one hand, for pictures and kinematics."""
        mujoco = load_mujoco()
        model, data = self.models[index], self._data[0]
        mujoco.mj_setState(model, data, self.state[index], mujoco.mjtState.mjSTATE_FULLPHYSICS)
        mujoco.mj_forward(model, data)
        return model, data
