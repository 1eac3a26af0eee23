"""A hand's kinematics from somebody's MJCF, its meshes replaced by what is quick to collide.

The model is read where its package lies, never copied. Kept of it: bodies, joint axes, ranges,
masses, actuators. Replaced: every finger link's meshes by one capsule of their size, the palm's by
a box; capsules against a box cost a tenth of meshes and do not snag. Dropped: joint friction of
1 mN m, which is nothing beside the damping, and costs the solver a row for each joint.

Another hand is another `HandDescription`; docs/cube.md says what to look for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from softflow.envs.mujoco_loading import load_mujoco
from softflow.errors import ConfigError, MissingPackageError
from softflow.utils.imports import package_folder

FINGER_RGBA = (0.25, 0.27, 0.3, 1.0)
CAPSULE_SHRINK = 0.95
"""Corners of a mesh are rounded off: the radius is a little below half its width."""


@dataclass(frozen=True)
class HandDescription:
    """Where a hand's model is, and what its parts are called.

    Args:
        package: Python package that carries the MJCF.
        version: the version these names and the grasp cache are of.
        scene: the MJCF in it, with the hand alone.
        root: body that holds the hand to the world.
        palm: body that becomes a box.
        fingers: the bodies of each finger that become capsules, from the palm outwards.
        held_joints: joints that no gait moves (the wrist).
        palm_down_quat_wxyz: turns the root so that the palm faces down.
        palm_height_m: of the root above the ground, so turned.
        cube_home_m: where the fingertips surround a cube with their joints in mid-range, in the
            world: at the ends of their ranges they hold, but do not turn.
        bearings_rad: on which side of the cube each finger touches, about the vertical from +x.
    """

    package: str = "orca_sim"
    version: str = "0.1.0"
    scene: str = "scene_right.xml"
    root: str = "right_tower"
    palm: str = "right_palm"
    fingers: tuple[tuple[str, ...], ...] = (
        ("right_thumb_pp", "right_thumb_ip", "right_thumb_dp"),
        ("right_index_pp", "right_index_ip"),
        ("right_middle_pp", "right_middle_ip"),
        ("right_ring_pp", "right_ring_ip"),
        ("right_pinky_pp", "right_pinky_ip"),
    )
    held_joints: tuple[str, ...] = ("right_wrist",)
    palm_down_quat_wxyz: tuple[float, ...] = (0.7071067811865476, -0.7071067811865476, 0.0, 0.0)
    palm_height_m: float = 0.35
    cube_home_m: tuple[float, float, float] = (0.05, 0.195, 0.297)
    bearings_rad: tuple[float, ...] = (-2.3, 2.8, 1.8, 0.85, 0.0)

    @property
    def tips(self) -> tuple[str, ...]:
        """The bodies whose ends touch the cube."""
        return tuple(finger[-1] for finger in self.fingers)


ORCA_RIGHT = HandDescription()


@dataclass(frozen=True)
class LoadedHand:
    """A hand as an MjSpec, palm down, with capsules.

    Args:
        spec: to be extended by a scene, then compiled.
        joint_names: in the order of qpos and of actions.
        tip_radii_m: of the last capsule of each finger.
        fingerprint: of everything that a grasp depends on.
    """

    spec: Any
    joint_names: tuple[str, ...]
    tip_radii_m: tuple[float, ...]
    fingerprint: str
    description: HandDescription = field(default=ORCA_RIGHT)


def load_hand(description: HandDescription = ORCA_RIGHT) -> LoadedHand:
    """Read a hand from its package.

    Raises:
        MissingPackageError: the package is not installed.
        ConfigError: it is another version, or lacks a body.
    """
    mujoco = load_mujoco()
    spec = mujoco.MjSpec.from_file(str(_scene_file(description)))
    meshes = _link_boxes(spec.compile())
    _require_bodies(spec, description)
    spec.copy_during_attach = False
    _drop_looks(spec)
    radii = [_add_capsules(spec, finger, meshes) for finger in description.fingers]
    _add_palm(spec, description, meshes)
    _let_fingers_pass_the_palm(spec, description)
    root = spec.body(description.root)
    root.alt.type = mujoco.mjtOrientation.mjORIENTATION_QUAT
    root.quat = description.palm_down_quat_wxyz
    root.pos = (0.0, 0.0, description.palm_height_m)
    for joint in spec.joints:
        joint.frictionloss = 0.0
    names = tuple(joint.name for joint in spec.joints)
    return LoadedHand(spec, names, tuple(radii), _fingerprint(spec.compile()), description)


def _scene_file(description: HandDescription) -> Path:
    package = description.package
    folder = package_folder(package)
    if folder is None:
        raise MissingPackageError(
            f"the cube in the hand needs the hand's model, package {package}, which is not "
            "installed: pip install 'softflow[cube]'",
            name=package,
        )
    installed = _version(package)
    if installed != description.version:
        raise ConfigError(
            f"package {package} is version {installed}; names, poses and grasps here are of "
            f"{description.version}: pip install '{package}=={description.version}', or describe "
            "the other one in a HandDescription and make its grasp cache (softflow teacher grasps)"
        )
    return folder / description.scene


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _link_boxes(model: Any) -> dict[str, np.ndarray]:
    """Body -> the box [2, 3] (low, high) around its collision meshes, in its frame, metres."""
    mujoco, boxes = load_mujoco(), dict[str, np.ndarray]()
    for geom in range(model.ngeom):
        if model.geom_dataid[geom] < 0 or not model.geom_contype[geom]:
            continue
        mesh, rotation = model.geom_dataid[geom], np.zeros(9)
        first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        mujoco.mju_quat2Mat(rotation, model.geom_quat[geom])
        corners = model.mesh_vert[first : first + count] @ rotation.reshape(3, 3).T
        box = np.asarray(np.stack([corners.min(0), corners.max(0)]) + model.geom_pos[geom])
        name = model.body(model.geom_bodyid[geom]).name
        known = boxes.get(name, box)
        boxes[name] = np.stack([np.minimum(known[0], box[0]), np.maximum(known[1], box[1])])
    return boxes


def _require_bodies(spec: Any, description: HandDescription) -> None:
    known = {body.name for body in spec.bodies}
    wanted = {description.root, description.palm, *sum(description.fingers, ())}
    if missing := sorted(wanted - known):
        raise ConfigError(
            f"'{description.scene}' of {description.package} has no body {missing[0]!r}; it has "
            f"{', '.join(sorted(known))}. Correct the HandDescription"
        )


def _drop_looks(spec: Any) -> None:
    # Textures too: every hand of a batch has a copy of the model, and a sky is 5 MB.
    for geom in spec.geoms:
        geom.material = ""
    for kind in (spec.geoms, spec.meshes, spec.lights, spec.materials, spec.textures):
        for element in list(kind):
            spec.delete(element)


def _add_capsules(spec: Any, finger: tuple[str, ...], boxes: dict[str, np.ndarray]) -> float:
    """One capsule a link along the longest side of its box; the radius of the last one."""
    mujoco, radius = load_mujoco(), 0.0
    for index, name in enumerate(finger):
        low, high = boxes[name]
        axis = int(np.argmax(high - low))
        others = [i for i in range(3) if i != axis]
        radius = CAPSULE_SHRINK * float(np.mean((high - low)[others]) / 2)
        ends = np.tile((low + high) / 2, (2, 1))
        ends[0, axis], ends[1, axis] = low[axis] + radius, high[axis] - radius
        body = spec.body(name)
        body.add_geom(
            name=f"{name}_capsule",
            type=mujoco.mjtGeom.mjGEOM_CAPSULE,
            size=(radius, 0, 0),
            fromto=ends.ravel(),
            rgba=FINGER_RGBA,
        )
        if index == len(finger) - 1:
            body.add_site(name=f"{name}_tip", pos=ends[1], size=(0.002, 0, 0))
    return radius


def _add_palm(spec: Any, description: HandDescription, boxes: dict[str, np.ndarray]) -> None:
    low, high = boxes[description.palm]
    spec.body(description.palm).add_geom(
        name="palm_box",
        type=load_mujoco().mjtGeom.mjGEOM_BOX,
        size=(high - low) / 2,
        pos=(low + high) / 2,
        rgba=FINGER_RGBA,
    )


def _let_fingers_pass_the_palm(spec: Any, description: HandDescription) -> None:
    """The palm's box is as large as its mesh at its widest: knuckles inside of it would jam."""
    for body in sum(description.fingers, ()):
        spec.add_exclude(bodyname1=description.palm, bodyname2=body)


def _fingerprint(model: Any) -> str:
    """Twelve hexadecimal digits of the hand alone: any other size, axis, range or gain is another.

    Of rounded numbers, not of XML, which every version of MuJoCo writes differently.
    """
    parts = (
        model.body_pos,
        model.body_quat,
        model.jnt_pos,
        model.jnt_axis,
        model.jnt_range,
        model.geom_size,
        model.geom_pos,
        model.dof_damping,
        model.dof_armature,
        model.actuator_gainprm,
        model.actuator_forcerange,
        model.exclude_signature,
    )
    digest = hashlib.sha256()
    for part in parts:
        digest.update((np.round(part, 5) + 0.0).astype("<f8").tobytes())
    return digest.hexdigest()[:12]
