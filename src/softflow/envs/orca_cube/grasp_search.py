"""Stable grasps of a cube found by trying: random cages of fingertips, held, then shaken.

A cage is a cube near the hand's home for it, and a place on its sides for each fingertip. Those
that hold the cube for a second are tried again for two, eight times over, with another friction
(0.6 to 1.2), mass (30 to 65 g) and a start somewhat off; who survives seven of the eight is kept,
at rest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from softflow.envs.orca_cube.grasps import GraspCache
from softflow.envs.orca_cube.kinematics import HandKinematics
from softflow.envs.orca_cube.physics import BatchedPhysics
from softflow.envs.orca_cube.rotations import tilt_of, yaw_quat
from softflow.envs.orca_cube.scene import CubeScene, contact_friction
from softflow.envs.orca_cube.settings import CONTROL_HZ

TRIALS = 8
SURVIVED = 7
FRICTION = (0.6, 1.2)
MASS_KG = (0.03, 0.065)
HOLD_S, SHAKE_S = 1.0, 2.0
_FALLEN_M = 0.01
_TILT_RAD = 0.35
_REACH_M = 0.004
_SPREAD_M = np.array([0.010, 0.010, 0.006])
"""How far cubes are from the hand's home for them."""
_MARGIN_RAD = 0.05
"""How far joints are at least from the ends of their ranges: a grasp there could not move."""
_EDGE_M = 0.004
"""A fingertip keeps this far from an edge."""


@dataclass(frozen=True)
class _Cages:
    """Candidates: `qpos` [n, J + 7] with the tips on the cube, `targets` [n, J] inside of it."""

    qpos: np.ndarray
    targets: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> _Cages:
        return _Cages(self.qpos[chosen], self.targets[chosen])


def find_grasps(
    scene: CubeScene,
    count: int,
    seed: int,
    batch: int = 256,
    told: Callable[[int, int], None] = lambda found, tried: None,
) -> GraspCache:
    """About `count` stable grasps; home is the one most like all others.

    `told` hears how many were found of how many tried.
    """
    rng, kinematics = np.random.default_rng(seed), HandKinematics(scene)
    physics, found, tried = BatchedPhysics(scene, batch), list[_Cages](), 0
    while (kept := sum(len(cages.targets) for cages in found)) < count:
        # Shaking costs most: a whole batch of cages that hold is shaken at once.
        holding = list[_Cages]()
        while sum(len(cages.targets) for cages in holding) < batch:
            cages = _reachable_cages(kinematics, rng, batch)
            tried += batch
            held = _held(physics, cages)
            holding.append(_settled(physics, cages)[held])
            told(kept, tried)
        found.append(_steady(physics, _joined(holding)[np.arange(batch)], rng))
    told(kept, tried)
    return _as_cache(scene, _joined(found))


def _joined(cages: list[_Cages]) -> _Cages:
    qpos, targets = ([getattr(c, name) for c in cages] for name in ("qpos", "targets"))
    return _Cages(np.concatenate(qpos), np.concatenate(targets))


def _as_cache(scene: CubeScene, cages: _Cages) -> GraspCache:
    joints, edge = scene.num_joints, 2 * float(scene.model.geom_size[scene.cube_geom, 0])
    cache = GraspCache(
        cages.qpos[:, :joints],
        cages.targets,
        cages.qpos[:, joints:],
        scene.hand.fingerprint,
        edge,
    )
    cache = cache.chosen(_without_outliers(cache))
    unlike = np.mean([cache.unlike(grasp) for grasp in range(len(cache))], axis=0)
    return replace(cache, home=int(unlike.argmin()))


def _reachable_cages(kinematics: HandKinematics, rng: np.random.Generator, count: int) -> _Cages:
    """Cages whose thumb and at least three fingers get where they should, few at their limits."""
    middle = (kinematics.low + kinematics.high) / 2
    for name in kinematics.scene.hand.description.held_joints:
        middle[kinematics.scene.hand.joint_names.index(name)] = 0.0
    qpos, targets = [], []
    while len(qpos) < count:
        pose, touching, pressing = _random_cage(kinematics.scene, rng)
        joints, left = kinematics.reach(touching, middle)
        room = np.minimum(joints - kinematics.low, kinematics.high - joints)[kinematics.moved]
        if (
            left[0] < _REACH_M
            and (left[1:] < _REACH_M).sum() >= 3
            and (room < _MARGIN_RAD).sum() < 2
        ):
            qpos.append(np.concatenate([joints, pose]))
            targets.append(kinematics.reach(pressing, joints, iterations=8)[0])
    return _Cages(np.array(qpos), np.array(targets))


def _random_cage(
    scene: CubeScene, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A cube's pose [7]; tips [F, 3] that touch it; tips that would press into it."""
    hand, half = scene.hand.description, float(scene.model.geom_size[scene.cube_geom, 0])
    centre = np.array(hand.cube_home_m) + rng.uniform(-1, 1, 3) * _SPREAD_M
    yaw = rng.uniform(-np.pi / 4, np.pi / 4)
    bearings = np.array(hand.bearings_rad)
    bearings = bearings + rng.normal(0.0, 0.25, len(bearings)) - yaw
    height = rng.uniform(-0.006, 0.008, len(bearings))
    press = rng.uniform(0.002, 0.008, len(bearings))
    place, normal = _side_points(bearings, half)
    turn = np.array([[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])

    def tips(outwards: np.ndarray) -> np.ndarray:
        flat = (place + normal * outwards[:, None]) @ turn.T
        return centre + np.concatenate([flat, height[:, None]], axis=1)

    pose = np.concatenate([centre, yaw_quat(yaw)])
    return pose, tips(scene.tip_radii), tips(scene.tip_radii - press)


def _side_points(bearings: np.ndarray, half: float) -> tuple[np.ndarray, np.ndarray]:
    """Where rays from the centre of a square [F] leave it, off its corners; the normals there."""
    rays = np.stack([np.cos(bearings), np.sin(bearings)], axis=1)
    fingers, side = np.arange(len(bearings)), np.abs(rays).argmax(axis=1)
    normal = np.zeros_like(rays)
    normal[fingers, side] = np.sign(rays[fingers, side])
    inner = half - _EDGE_M
    place = np.clip(rays * half / np.abs(rays).max(axis=1, keepdims=True), -inner, inner)
    place[fingers, side] = half * normal[fingers, side]
    return place, normal


def _held(physics: BatchedPhysics, cages: _Cages) -> np.ndarray:
    """Which cages [n] hold their cubes for a second; the physics stays where that ended."""
    physics.place(np.arange(physics.num), cages.qpos)
    return _survive(physics, cages, HOLD_S)


def _settled(physics: BatchedPhysics, cages: _Cages) -> _Cages:
    joints = physics.scene.num_joints
    return _Cages(physics.state[:, 1 : 1 + joints + 7].copy(), cages.targets)


def _steady(physics: BatchedPhysics, cages: _Cages, rng: np.random.Generator) -> _Cages:
    """Those that survive the shaking, as they were before it."""
    survived = np.zeros(len(cages.targets), dtype=int)
    for _ in range(TRIALS):
        survived += _shaken(physics, cages, rng)
    _restore(physics)
    return cages[survived >= SURVIVED]


def _shaken(physics: BatchedPhysics, cages: _Cages, rng: np.random.Generator) -> np.ndarray:
    """Which survive two seconds of another physics, from a start somewhat off."""
    joints, scene = physics.scene.num_joints, physics.scene
    for model in physics.models:
        model.geom_friction[scene.cube_geom] = contact_friction(rng.uniform(*FRICTION))
        _set_mass(model, scene, rng.uniform(*MASS_KG))
    qpos = cages.qpos.copy()
    qpos[:, joints : joints + 3] += rng.normal(0.0, 0.001, (physics.num, 3))
    qpos[:, :joints] += rng.normal(0.0, 0.01, (physics.num, joints))
    physics.place(np.arange(physics.num), qpos)
    return _survive(physics, cages, SHAKE_S)


def _restore(physics: BatchedPhysics) -> None:
    nominal, scene = physics.scene.model, physics.scene
    for model in physics.models:
        model.geom_friction[scene.cube_geom] = nominal.geom_friction[scene.cube_geom]
        _set_mass(model, scene, float(nominal.body_mass[scene.cube_body]))


def _set_mass(model: object, scene: CubeScene, mass_kg: float) -> None:
    """Give the cube another mass, and the inertia that follows."""
    scale = mass_kg / scene.model.body_mass[scene.cube_body]
    model.body_mass[scene.cube_body] = mass_kg  # type: ignore[attr-defined]
    model.body_inertia[scene.cube_body] = scale * scene.model.body_inertia[scene.cube_body]  # type: ignore[attr-defined]


def _survive(physics: BatchedPhysics, cages: _Cages, seconds: float) -> np.ndarray:
    """Which hands [N] still hold a cube, not tilted, after so long."""
    height = physics.cube_pos[:, 2].copy()
    inner = round(1 / (CONTROL_HZ * physics.scene.model.opt.timestep))
    targets = np.repeat(cages.targets[:, None], inner, axis=1)
    for _ in range(round(seconds * CONTROL_HZ)):
        physics.step(targets)
        physics.state[physics.unstable] = 0.0
    fallen = height - physics.cube_pos[:, 2] > _FALLEN_M
    return ~fallen & (tilt_of(physics.cube_quat_wxyz) < _TILT_RAD)


def _without_outliers(grasps: GraspCache, most: float = 3.5) -> np.ndarray:
    """Indices of grasps whose cube lies with the others, by the median absolute deviation."""
    place = grasps.cube_pose[:, :3]
    away = np.abs(place - np.median(place, axis=0))
    spread = 1.4826 * np.median(away, axis=0) + 1e-9
    return np.flatnonzero((away / spread < most).all(axis=1))
