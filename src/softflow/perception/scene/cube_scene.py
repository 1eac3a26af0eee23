"""The scene as a MuJoCo model: hand, cube, lights and a camera, all of which are moved at will.

Every plate of the cube, every part of the hand, each light and the camera are changed in the
compiled model from picture to picture; nothing is compiled twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from softflow.envs.mujoco_loading import load_mujoco
from softflow.perception.camera import Calibration
from softflow.perception.cube_model import FACE_NORMALS, CubeModel
from softflow.perception.geometry import Pose, quat_wxyz, rotation_from_quat_wxyz
from softflow.perception.scene.hand import CONTACT_GROUP, Hand

CAMERA = "below"
NUM_LIGHTS = 3
HAND_TEXTURES = 8
PLATE_M = 0.0001
"""Plates stand out that far, so that they are drawn in front of the core."""
TO_OPTICAL = np.diag([1.0, -1.0, -1.0])
"""MuJoCo's cameras look along -z with y up."""
_TEXTURE_SIDE = 64


class CubeScene:
    """A compiled scene with its state.

    Args:
        hand: what holds the cube; it becomes part of this scene.
        cube: the cube.
        rng: draws the hand's textures.
    """

    def __init__(self, hand: Hand, cube: CubeModel, rng: np.random.Generator) -> None:
        self._mujoco = load_mujoco()
        self.cube, self.hand_kind = cube, hand.kind
        spec = hand.spec
        _add_cube(self._mujoco, spec, cube)
        _add_textures(self._mujoco, spec, rng)
        for i in range(NUM_LIGHTS):
            spec.worldbody.add_light(name=f"light{i}")
        spec.worldbody.add_camera(name=CAMERA)
        self.model = spec.compile()
        self.model.opt.gravity[:] = 0.0
        self.model.opt.timestep = 0.005
        self.data = self._mujoco.MjData(self.model)
        self._name_parts()

    def _name_parts(self) -> None:
        """Remember where in the model's arrays each thing stands."""
        model = self.model
        body = model.body("cube").id
        self.cube_geoms = np.flatnonzero(model.geom_bodyid == body)
        self.plates = np.array([model.geom(f"plate{i}").id for i in range(6)])
        self.marks = np.array([model.geom(f"mark{i}").id for i in range(6)])
        self.core = model.geom("core").id
        drawn = model.geom_group != CONTACT_GROUP
        self.hand_geoms = np.flatnonzero(drawn & (model.geom_bodyid != body))
        self.lights = np.array([model.light(f"light{i}").id for i in range(NUM_LIGHTS)])
        self.materials = np.array([model.material(f"skin{i}").id for i in range(HAND_TEXTURES)])
        self._mocap = int(model.body_mocapid[body])

    def place_cube(self, pose: Pose) -> None:
        """Put the cube at a pose in the world; it stays there, whatever pushes it."""
        self.data.mocap_pos[self._mocap] = pose.position_m
        self.data.mocap_quat[self._mocap] = quat_wxyz(pose.rotation)

    def place_camera(self, pose: Pose, calibration: Calibration) -> None:
        """Put the camera's optical frame at a pose in the world."""
        camera = self.model.camera(CAMERA).id
        self.model.cam_pos[camera] = pose.position_m
        self.model.cam_quat[camera] = quat_wxyz(pose.rotation @ TO_OPTICAL)
        half = 0.5 * calibration.height / calibration.fy
        self.model.cam_fovy[camera] = 2.0 * np.degrees(np.arctan(half))

    def close_fingers(self, start_rad: np.ndarray, targets_rad: np.ndarray, steps: int) -> None:
        """Let the hand move from one set of joints towards another until it meets the cube."""
        self.data.qpos[:] = start_rad
        self.data.qvel[:] = 0.0
        self.data.ctrl[:] = targets_rad
        self._mujoco.mj_step(self.model, self.data, steps)

    def update(self) -> None:
        """Have positions follow what was placed; no time passes."""
        self._mujoco.mj_forward(self.model, self.data)

    def cube_in_camera(self) -> Pose:
        """The cube's pose in the camera's optical frame."""
        camera, body = self.model.camera(CAMERA).id, self.model.body("cube").id
        turn = self.data.cam_xmat[camera].reshape(3, 3) @ TO_OPTICAL
        world = Pose(turn, self.data.cam_xpos[camera].copy())
        cube = Pose(rotation_from_quat_wxyz(self.data.xquat[body]), self.data.xpos[body].copy())
        return world.inverse() @ cube


def _add_cube(mujoco: Any, spec: Any, cube: CubeModel) -> None:
    """A core, a plate of colour on each face with a rim around it, and a mark on each plate."""
    body = spec.worldbody.add_body(name="cube", mocap=True)
    box, half = mujoco.mjtGeom.mjGEOM_BOX, 0.5 * cube.side_m
    body.add_geom(name="core", type=box, size=[half] * 3, group=0)
    for i, normal in enumerate(FACE_NORMALS):
        for name, out_m in (("plate", PLATE_M), ("mark", 2 * PLATE_M)):
            size = np.where(np.abs(normal) > 0, out_m, half)
            body.add_geom(
                name=f"{name}{i}", type=box, pos=normal * half, size=size, contype=0, conaffinity=0
            )


def _add_textures(mujoco: Any, spec: Any, rng: np.random.Generator) -> None:
    """Materials for the hand: plain, and with soft or grainy patterns."""
    for i in range(HAND_TEXTURES):
        cells = int(rng.choice([1, 1, 2, 4, 12, 48]))
        grey = rng.uniform(0.35, 1.0, size=(cells, cells))
        side = np.arange(_TEXTURE_SIDE) * cells // _TEXTURE_SIDE
        face = np.repeat(grey[side][:, side, None], 3, axis=2) * rng.uniform(0.8, 1.0, size=3)
        faces = np.tile((face * 255).astype(np.uint8), (6, 1, 1))
        texture = spec.add_texture(
            name=f"skin{i}",
            type=mujoco.mjtTexture.mjTEXTURE_CUBE,
            width=_TEXTURE_SIDE,
            height=6 * _TEXTURE_SIDE,
            nchannel=3,
        )
        texture.data = faces.tobytes()
        material = spec.add_material(name=f"skin{i}")
        textures = material.textures
        textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = f"skin{i}"
        material.textures = textures
