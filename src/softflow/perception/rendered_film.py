"""A film of a cube turning in a hand, with its camera and the truth: for trying things out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from softflow.errors import ConfigError
from softflow.perception.camera import Calibration
from softflow.perception.geometry import Pose, quat_wxyz, random_rotation, rotation_from_vector
from softflow.perception.rendering import HEIGHT, WIDTH, CubeRenderer, RenderPlan
from softflow.perception.scene.cube_scene import CubeScene
from softflow.perception.scene.randomising import (
    CAGE_HIGH_M,
    CAGE_LOW_M,
    Variation,
    draw_camera,
    draw_colours,
    draw_light,
)
from softflow.utils.files import write_bytes
from softflow.utils.progress import ProgressReporter
from softflow.utils.video import opened_video

FPS = 20
TURN_RAD_S = 0.9
"""How fast the cube turns about the vertical axis."""
MAX_SECONDS = 3600
_STILL = Variation(tilt_rad=0.15, roll_rad=0.1, off_centre=0.2, distance_m=(0.28, 0.3), absent=0.0)


def render_film(plan: RenderPlan, seconds: float, folder: Path, progress: ProgressReporter) -> None:
    """Write `film.mp4`, `camera.toml` and `truth.csv` (time_s, position, quaternion w x y z).

    The fingers open and close around the cube, which turns and sways; nothing carries it.

    Raises:
        ConfigError: a length that is none.
        StoreError: the system refuses to write.
    """
    if not 0 < seconds <= MAX_SECONDS:
        raise ConfigError(f"--seconds is {seconds}; give above 0, at most {MAX_SECONDS}")
    renderer, rng = CubeRenderer(plan), np.random.default_rng([plan.seed, 3])
    scene = renderer.scene
    start = Pose(random_rotation(rng), (CAGE_LOW_M + CAGE_HIGH_M) / 2)
    scene.place_cube(start)
    scene.update()
    camera = draw_camera(scene, rng, _STILL, HEIGHT, WIDTH)
    draw_light(scene, rng)
    draw_colours(scene, rng)
    behind = renderer.background(rng)
    rows: list[str] = []
    folder.mkdir(parents=True, exist_ok=True)
    frames = max(round(seconds * FPS), 1)
    progress.begin("render the film", frames)
    try:
        with opened_video(folder / "film.mp4", FPS) as write:
            for i in range(frames):
                _move(scene, start, i / FPS)
                picture, labels = renderer.shown(camera, behind)
                write(picture)
                numbers = (*labels.pose.position_m, *quat_wxyz(labels.pose.rotation))
                rows.append(",".join(f"{n:.6g}" for n in (i / FPS, *numbers)))
                progress.advance(i + 1)
    finally:
        renderer.close()
    _write_facts(folder, camera, rows)


def _write_facts(folder: Path, camera: Calibration, rows: list[str]) -> None:
    """The true poses, and the camera's calibration."""
    head = "time_s,x_m,y_m,z_m,qw,qx,qy,qz"
    write_bytes(folder / "truth.csv", "\n".join([head, *rows, ""]).encode())
    lines = (f"{name} = {value}" for name, value in camera.to_json().items() if value)
    write_bytes(folder / "camera.toml", "\n".join([*lines, ""]).encode())


def _move(scene: CubeScene, start: Pose, time_s: float) -> None:
    """Turn and sway the cube; let the fingers follow their targets for a frame."""
    turn = rotation_from_vector(np.array([0.0, 0.0, TURN_RAD_S * time_s]))
    sway = 0.006 * np.array(
        [math.sin(1.7 * time_s), math.sin(1.1 * time_s), math.sin(0.8 * time_s)]
    )
    scene.place_cube(Pose(turn @ start.rotation, start.position_m + sway))
    low, high = scene.model.jnt_range.T
    share = 0.6 + 0.3 * np.sin(2.0 * time_s + np.arange(len(low)))
    targets = low + (high - low) * share
    scene.close_fingers(scene.data.qpos.copy() if time_s else targets, targets, 10)
    scene.update()
