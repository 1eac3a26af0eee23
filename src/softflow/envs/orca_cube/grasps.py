"""Stable grasps of a cube, kept in a small file that knows which hand and cube they are of."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from softflow.errors import ConfigError, StoreError, brief
from softflow.utils.files import require_regular, written_whole

DEFAULT_CACHE = Path(__file__).with_name("grasps_orca_right_45mm.npz")
_POSE = 7


@dataclass(frozen=True)
class GraspCache:
    """Grasps in which a cube hung still; velocities are zero.

    Args:
        joints: [G, J] angles, rad.
        targets: [G, J] of the position controllers, which press the fingers on.
        cube_pose: [G, 7], position in m and quat_wxyz.
        fingerprint: of the hand (`LoadedHand.fingerprint`).
        cube_edge_m: of the cube.
        home: number of the grasp about which cubes are turned.

    Raises:
        StoreError: shapes that do not belong together, or numbers that are not finite.
    """

    joints: np.ndarray
    targets: np.ndarray
    cube_pose: np.ndarray
    fingerprint: str
    cube_edge_m: float
    home: int = 0

    def __post_init__(self) -> None:
        shapes = self.joints.shape, self.targets.shape, self.cube_pose.shape
        if self.joints.ndim != 2 or not len(self) or shapes[0] != shapes[1]:
            raise StoreError(f"grasps have the shapes {shapes}; make the cache again")
        if shapes[2] != (len(self), _POSE):
            raise StoreError(f"the cubes of {len(self)} grasps have shape {shapes[2]}; [G, 7]")
        if not 0 <= self.home < len(self):
            raise StoreError(f"grasp {self.home} of {len(self)} cannot be home; make it anew")
        for name in ("joints", "targets", "cube_pose"):
            if not np.isfinite(getattr(self, name)).all():
                raise StoreError(f"grasps: {name} is not finite; make the cache again")

    def __len__(self) -> int:
        return len(self.joints)

    @property
    def qpos(self) -> np.ndarray:
        """[G, J + 7], as a scene's qpos."""
        return np.concatenate([self.joints, self.cube_pose], axis=1)

    def chosen(self, indices: np.ndarray) -> GraspCache:
        """Some of them; the first is home."""
        return replace(
            self,
            joints=self.joints[indices],
            targets=self.targets[indices],
            cube_pose=self.cube_pose[indices],
            home=0,
        )

    def unlike(self, grasp: int) -> np.ndarray:
        """How far each grasp [G] is from one: 0.3 rad of all joints and 5 mm of the cube are 1."""
        joints = np.linalg.norm(self.joints - self.joints[grasp], axis=1)
        place = np.linalg.norm(self.cube_pose[:, :3] - self.cube_pose[grasp, :3], axis=1)
        return joints / 0.3 + place / 0.005

    def near_home(self, count: int) -> np.ndarray:
        """The numbers of the grasps most like home, home first."""
        return np.argsort(self.unlike(self.home), kind="stable")[:count]

    def require_of(self, fingerprint: str, cube_edge_m: float, where: Path) -> None:
        """Raise unless these are grasps of that hand and cube.

        Raises:
            ConfigError: they are not; says how to make others.
        """
        fix = f"make them anew: softflow teacher grasps --out {where.name}"
        if self.fingerprint != fingerprint:
            raise ConfigError(
                f"'{where}' holds grasps of another hand (fingerprint {self.fingerprint}; this one "
                f"is {fingerprint}); {fix}"
            )
        if abs(self.cube_edge_m - cube_edge_m) > 1e-6:
            raise ConfigError(
                f"'{where}' holds grasps of a cube of {1e3 * self.cube_edge_m:g} mm, this one has "
                f"{1e3 * cube_edge_m:g} mm; {fix}"
            )


def write_grasps(path: Path, grasps: GraspCache) -> None:
    """Write a cache, whole or not at all.

    Raises:
        StoreError: the system refused.
    """
    names = ("fingerprint", "cube_edge_m", "home")
    about = json.dumps({name: getattr(grasps, name) for name in names})
    with written_whole(path) as temp, temp.open("wb") as file:
        np.savez_compressed(
            file,
            joints=grasps.joints.astype(np.float32),
            targets=grasps.targets.astype(np.float32),
            cube_pose=grasps.cube_pose.astype(np.float32),
            about=np.array(about),
        )


def read_grasps(path: Path) -> GraspCache:
    """Read a cache.

    Raises:
        StoreError: it is missing, or is none.
    """
    require_regular(path)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            about: dict[str, Any] = json.loads(str(arrays["about"]))
            joints, targets, poses = (
                arrays[name].astype(np.float64) for name in ("joints", "targets", "cube_pose")
            )
            edge, home = float(about["cube_edge_m"]), int(about["home"])
            return GraspCache(joints, targets, poses, str(about["fingerprint"]), edge, home)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise StoreError(
            f"'{path}' is no cache of grasps ({brief(error)}); make one: softflow teacher grasps "
            f"--out {path.name}"
        ) from error
