"""What differs from picture to picture: grasp, camera, light, colours (App. B2).

Numbers are ours; the paper names what is randomised, not how far.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softflow.perception.camera import Calibration, pinhole
from softflow.perception.cube_model import FACE_NORMALS
from softflow.perception.geometry import Pose, random_rotation, rotation_from_vector
from softflow.perception.scene.cube_scene import HAND_TEXTURES, NUM_LIGHTS, CubeScene

CAGE_LOW_M, CAGE_HIGH_M = np.array([0.015, 0.16, -0.08]), np.array([0.06, 0.21, -0.032])
"""Where the cube's centre is, between palm and fingertips, in the frame of the hand's model."""
AWAY_M = np.array([0.0, 0.0, -50.0])
"""Where the cube is when the hand has dropped it: behind every camera."""
UPWARD = np.diag([-1.0, -1.0, 1.0])
"""Axes of a camera that looks straight up, the wrist at the bottom of its pictures."""


@dataclass(frozen=True)
class Variation:
    """How far pictures differ.

    Attributes:
        distance_m: from camera to cube, lowest and highest; the paper's camera is .3 m below.
        tilt_rad: most that the camera's direction differs from straight up.
        roll_rad: most that it is turned about that direction.
        off_centre: most that the cube is off the picture's middle, part of half a picture.
        view_deg: vertical field of view; the OAK-D Lite's colour camera has 54.
        absent: share of pictures without the cube.
    """

    distance_m: tuple[float, float] = (0.22, 0.38)
    tilt_rad: float = 0.45
    roll_rad: float = 0.7
    off_centre: float = 0.6
    view_deg: tuple[float, float] = (46.0, 62.0)
    absent: float = 0.05


def draw_grasp(scene: CubeScene, rng: np.random.Generator, variation: Variation) -> None:
    """Put the cube between the fingers, at any orientation, and close them around it."""
    low, high = scene.model.jnt_range.T
    start = low + (high - low) * rng.uniform(0.0, 0.3, size=len(low))
    targets = low + (high - low) * rng.uniform(0.4, 1.0, size=len(low))
    # Wrist and sideways joints have no open side: anywhere near their middle will do.
    names = [scene.model.joint(i).name for i in range(scene.model.njnt)]
    for i in (i for i, n in enumerate(names) if n.endswith(("wrist", "abd", "swing"))):
        start[i] = targets[i] = (low + high)[i] / 2 + (high - low)[i] * rng.uniform(-0.25, 0.25)
    place = AWAY_M if rng.random() < variation.absent else rng.uniform(CAGE_LOW_M, CAGE_HIGH_M)
    scene.place_cube(Pose(random_rotation(rng), place))
    scene.close_fingers(start, targets, int(rng.integers(20, 160)))


def draw_camera(
    scene: CubeScene, rng: np.random.Generator, variation: Variation, height: int, width: int
) -> Calibration:
    """Put the camera below the hand, looking up at the cube, or where the cube would be."""
    cube = scene.data.mocap_pos[0]
    there = cube if cube[2] > -1.0 else rng.uniform(CAGE_LOW_M, CAGE_HIGH_M)
    camera = pinhole(width, height, float(rng.uniform(*variation.view_deg)))
    tilt = rotation_from_vector(np.array([*rng.uniform(-1, 1, size=2), 0.0]) * variation.tilt_rad)
    roll = rotation_from_vector(np.array([0.0, 0.0, rng.uniform(-1, 1) * variation.roll_rad]))
    turn = tilt @ UPWARD @ roll
    pixel = np.array([0.5 * width, 0.5 * height]) * rng.uniform(-1, 1, 2) * variation.off_centre
    distance = rng.uniform(*variation.distance_m)
    seen_at = np.array([*(pixel / camera.fx), 1.0]) * distance
    scene.place_camera(Pose(turn, there - turn @ seen_at), camera)
    return camera


def draw_light(scene: CubeScene, rng: np.random.Generator) -> None:
    """Lamps at random places around and below the hand, some off, tinted; a part from all sides."""
    model = scene.model
    strength = rng.dirichlet(np.ones(NUM_LIGHTS)) * rng.uniform(0.4, 1.3)
    tint = np.clip(1.0 + rng.normal(scale=0.12, size=3), 0.6, 1.3)
    for light, part in zip(scene.lights, strength, strict=True):
        place = np.array([0.04, 0.19, -0.06]) + rng.normal(size=3) * (0.5, 0.5, 0.3)
        place[2] = -abs(place[2]) - 0.15
        model.light_pos[light] = place
        direction = np.array([0.04, 0.19, -0.06]) - place
        model.light_dir[light] = direction / np.linalg.norm(direction)
        model.light_cutoff[light] = 80.0
        model.light_diffuse[light] = part * tint * np.clip(1 + rng.normal(scale=0.06, size=3), 0, 2)
        model.light_specular[light] = rng.uniform(0.0, 0.5)
        model.light_castshadow[light] = False
    model.vis.headlight.ambient[:] = rng.uniform(0.15, 0.5) * tint
    model.vis.headlight.diffuse[:] = rng.uniform(0.0, 0.4) * tint
    model.vis.headlight.specular[:] = rng.uniform(0.0, 0.3)


def draw_colours(scene: CubeScene, rng: np.random.Generator) -> None:
    """Colours of the hand, and small differences of the cube's paint, rims and marks."""
    model, half = scene.model, 0.5 * scene.cube.side_m
    dark, light = rng.uniform(0.05, 0.45, size=3), rng.uniform(0.4, 1.0, size=3)
    if rng.random() < 0.6:  # most hands are grey
        dark[:], light[:] = dark.mean(), light.mean()
    for geom in scene.hand_geoms:
        model.geom_matid[geom] = scene.materials[rng.integers(HAND_TEXTURES)]
        shade = light if rng.random() < 0.5 else dark
        model.geom_rgba[geom] = [*np.clip(shade + rng.normal(scale=0.03), 0, 1), 1.0]
    model.mat_specular[scene.materials] = rng.uniform(0.0, 0.6, size=HAND_TEXTURES)
    model.geom_rgba[scene.core] = [*np.full(3, rng.choice([0.05, 0.2, 0.9])), 1.0]
    rim = rng.uniform(0.0, 0.1)
    for i, normal in enumerate(FACE_NORMALS):
        flat = np.abs(normal) == 0
        plate, mark = scene.plates[i], scene.marks[i]
        model.geom_size[plate, flat] = half * (1 - rim)
        paint = np.asarray(scene.cube.face_colours[i]) * rng.uniform(0.85, 1.1)
        model.geom_rgba[plate] = [*np.clip(paint + rng.normal(scale=0.03, size=3), 0, 1), 1.0]
        model.geom_size[mark, flat] = half * rng.uniform(0.05, 0.25, size=2)
        model.geom_pos[mark, flat] = half * rng.uniform(-0.4, 0.4, size=2)
        shown = float(rng.random() < 0.4)
        model.geom_rgba[mark] = [*np.full(3, rng.choice([0.1, 0.95])), shown]
