"""The hand that hides the cube: the ORCA hand's own meshes, or one of capsules.

Both hang palm down at the origin of the world, fingers along +y, palm towards -z; joints are moved
by position actuators. The ORCA model stays in its package.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from softflow.envs.mujoco_loading import load_mujoco
from softflow.errors import ConfigError, MissingPackageError
from softflow.perception.packages import orca_scene

HandKind = Literal["orca", "capsules"]
PALM_BODY = {"orca": "right_tower", "capsules": "palm"}
CONTACT_GROUP = 1
"""Geoms of this group are for contacts only and are not drawn."""

_FINGER = """
<body name="{name}" pos="{x} {y} 0" euler="0 0 {spread}">
  <joint name="{name}_knuckle" axis="-1 0 0" range="-0.35 1.6"/>
  <geom type="capsule" fromto="0 0 0 0 {proximal} 0" size=".009"/>
  <body pos="0 {proximal} 0">
    <joint name="{name}_middle" axis="-1 0 0" range="-0.1 1.8"/>
    <geom type="capsule" fromto="0 0 0 0 .03 0" size=".008"/>
    <geom type="capsule" fromto="0 .03 0 0 .045 -.003" size=".0085"/>
  </body>
</body>"""
_THUMB = """
<body name="thumb" pos="-.01 .11 -.012" euler="-1.1 0 0">
  <joint name="thumb_swing" axis="0 0 1" range="-0.8 0.8"/>
  <joint name="thumb_lift" axis="1 0 0" range="-0.5 0.9"/>
  <geom type="capsule" fromto="0 0 0 0 .045 0" size=".010"/>
  <body pos="0 .045 0">
    <joint name="thumb_end" axis="1 0 0" range="-0.3 1.5"/>
    <geom type="capsule" fromto="0 0 0 0 .04 0" size=".009"/>
  </body>
</body>"""
_FINGERS = (
    ("index", -0.005, 0.185, 0.12, 0.042),
    ("middle", 0.038, 0.195, 0.0, 0.048),
    ("ring", 0.065, 0.188, -0.12, 0.046),
    ("pinky", 0.095, 0.168, -0.3, 0.038),
)


@dataclass(frozen=True)
class Hand:
    """A hand as MuJoCo's specification, to be completed and compiled.

    Attributes:
        kind: which one it is.
        spec: `mujoco.MjSpec`.
    """

    kind: HandKind
    spec: Any


def make_hand(kind: HandKind | Literal["auto"]) -> Hand:
    """The hand asked for; "auto" takes ORCA's where its package is installed.

    Raises:
        MissingPackageError: ORCA's is asked for and its package is missing.
        ConfigError: its package is of another version than this was made for.
    """
    path = orca_scene()
    if kind == "auto":
        kind = "orca" if path else "capsules"
    if kind == "capsules":
        return Hand(kind, load_mujoco().MjSpec.from_string(_capsule_hand()))
    if path is None:
        raise MissingPackageError(
            "the ORCA hand's model needs orca_sim, which is not installed: pip install "
            "'softflow[cube]', or take --hand capsules",
            name="orca_sim",
        )
    return Hand(kind, _orca(load_mujoco().MjSpec.from_file(str(path))))


def _orca(spec: Any) -> Any:
    """The package's scene without its floor and lights, turned palm down.

    Raises:
        ConfigError: its tower is not called as in the version this was made for.
    """
    tower = spec.body(PALM_BODY["orca"])
    if tower is None:
        raise ConfigError(
            f"this version of orca_sim has no body '{PALM_BODY['orca']}'; install orca-sim==0.1.0, "
            "or take --hand capsules"
        )
    for part in (*spec.worldbody.geoms, *spec.worldbody.lights):
        spec.delete(part)
    tower.pos = np.zeros(3)
    tower.alt.euler = np.array([-0.5 * math.pi, 0.0, 0.0])  # its file has angles; they win
    return spec


def _capsule_hand() -> str:
    """MJCF of a hand with the proportions of ORCA's."""
    fingers = "".join(
        _FINGER.format(name=name, x=x, y=y, spread=spread, proximal=proximal)
        for name, x, y, spread, proximal in _FINGERS
    )
    joints = [f"{name}_{part}" for name, *_ in _FINGERS for part in ("knuckle", "middle")]
    joints += ["thumb_swing", "thumb_lift", "thumb_end"]
    actuators = "".join(f'<position name="{j}" joint="{j}" inheritrange="1"/>' for j in joints)
    return f"""
<mujoco model="hand of capsules">
  <compiler angle="radian" eulerseq="XYZ"/>
  <default>
    <joint type="hinge" armature=".001" damping=".1" limited="true"/>
    <geom rgba=".8 .8 .8 1" group="2"/>
    <position kp="2" forcerange="-1 1"/>
  </default>
  <worldbody>
    <body name="palm">
      <inertial pos="0 .14 0" mass=".5" diaginertia=".001 .001 .001"/>
      <geom type="box" pos=".038 .145 .004" size=".045 .042 .012"/>
      <geom type="box" pos=".038 .05 .01" size=".03 .06 .02"/>
      {fingers}{_THUMB}
    </body>
  </worldbody>
  <actuator>{actuators}</actuator>
</mujoco>"""
