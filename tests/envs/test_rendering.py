"""Pictures with and without OpenGL show the same scene, and nothing is said at exit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from softflow.envs.ogbench.tasks import OGBenchManipulation
from softflow.envs.painter import ScenePainter
from softflow.envs.rendering import SceneRenderer

SOURCE = Path(__file__).parents[2] / "src"

RENDER_TWICE = """
from softflow.envs.registry import make_env

env = make_env("cube-single")
env.reset(seed=0)
env.render()
env.reset(seed=1)
print(env.render().shape, {r.backend for r in env._renderers.values()})
"""

# What the loader says on a machine without libEGL.
HIDE_EGL = """
import ctypes, ctypes.util

load, find = ctypes.CDLL.__init__, ctypes.util.find_library

def refuse(self, name, *rest, **more):
    if name and "EGL" in str(name):
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")
    load(self, name, *rest, **more)

ctypes.CDLL.__init__ = refuse
ctypes.util.find_library = lambda name: None if "EGL" in name else find(name)
"""


def in_new_process(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "DISPLAY")}
    environment |= {"PYTHONPATH": str(SOURCE), **variables}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )


def red_pixels(picture: np.ndarray) -> np.ndarray:
    """Coordinates (row, column) of what is clearly red, [n, 2]."""
    red, green, blue = np.moveaxis(picture.astype(int), -1, 0)
    return np.argwhere((red > 90) & (red > 2 * green) & (red > 2 * blue))


@pytest.fixture
def opengl(cube_env: OGBenchManipulation) -> SceneRenderer:
    renderer = SceneRenderer(cube_env.simulator.model, 120, 160)
    renderer.render(cube_env.simulator.data, "front")
    if renderer.backend != "opengl":
        pytest.skip("no OpenGL on this machine")
    return renderer


def test_opengl_and_painter_see_the_same(
    cube_env: OGBenchManipulation, opengl: SceneRenderer
) -> None:
    cube_env.reset(seed=3)
    data = cube_env.simulator.data
    painter = ScenePainter(cube_env.simulator.model, 120, 160)
    pictures = [renderer.render(data, "front") for renderer in (opengl, painter)]
    cubes = [red_pixels(picture) for picture in pictures]
    assert min(len(cube) for cube in cubes) > 15
    np.testing.assert_allclose(cubes[0].mean(axis=0), cubes[1].mean(axis=0), atol=2.0)
    by_opengl, painted = (picture.mean(axis=-1) for picture in pictures)
    alike = np.corrcoef(by_opengl.ravel(), painted.ravel())[0, 1]
    mirrored = np.corrcoef(by_opengl[:, ::-1].ravel(), painted.ravel())[0, 1]
    assert alike > 0.65, "arm, floor and sky stand where OpenGL puts them"
    assert mirrored < 0.4
    opengl.close()


def test_painter_follows_the_cube(cube_env: OGBenchManipulation) -> None:
    painter = ScenePainter(cube_env.simulator.model, 120, 160)
    cube_env.reset(seed=3)
    data = cube_env.simulator.data
    columns = []
    for y in (-0.15, 0.15):
        data.joint("object_joint_0").qpos[:3] = [0.5, y, 0.02]
        cube_env.simulator.set_state(data.qpos.copy(), data.qvel.copy())
        columns.append(red_pixels(painter.render(data, "front"))[:, 1].mean())
    # The camera looks at the robot from the front: its right is the world's +y.
    assert columns[1] - columns[0] > 25


@pytest.mark.parametrize("env_id", ["cube-double", "scene", "puzzle-3x3"])
def test_painter_paints_every_family(
    shared_env: Callable[[str], OGBenchManipulation], env_id: str
) -> None:
    env = shared_env(env_id)
    env.reset(seed=0)
    picture = ScenePainter(env.simulator.model, 60, 80).render(env.simulator.data, "front")
    assert (picture.shape, picture.dtype) == ((60, 80, 3), np.uint8)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 200


def test_closed_renderer_opens_again(cube_env: OGBenchManipulation, opengl: SceneRenderer) -> None:
    before = opengl.render(cube_env.simulator.data, "front")
    opengl.close()
    np.testing.assert_array_equal(opengl.render(cube_env.simulator.data, "front"), before)
    opengl.close()


@pytest.mark.slow
def test_nothing_is_said_at_exit(opengl: SceneRenderer) -> None:
    opengl.close()
    finished = in_new_process(RENDER_TWICE)
    assert finished.stdout.split() == ["(360,", "480,", "3)", "{'opengl'}"]
    assert "Exception" not in finished.stderr
    assert "Error" not in finished.stderr


@pytest.mark.slow
@pytest.mark.parametrize("size", [None, (32, 32)])
def test_an_optimiser_can_be_made_after_an_environment(size: tuple[int, int] | None) -> None:
    """Mesa's LLVM and then Triton in one process used to end in a segmentation fault."""
    code = f"""
from softflow.envs.registry import make_env
make_env("cube-single", image_size={size}).reset(seed=0)
import torch
torch.optim.AdamW([torch.zeros(1, requires_grad=True)])
print("made")
"""
    assert in_new_process(code).stdout.split() == ["made"]


@pytest.mark.slow
def test_without_libegl_it_paints_and_says_so_once() -> None:
    finished = in_new_process(HIDE_EGL + RENDER_TWICE)
    assert finished.stdout.split() == ["(360,", "480,", "3)", "{'painter'}"]
    assert finished.stderr.count("UserWarning: no OpenGL") == 1
    assert "Exception" not in finished.stderr


@pytest.mark.slow
def test_whoever_imports_mujoco_first_gets_the_same_pictures(opengl: SceneRenderer) -> None:
    """It picks GLFW then, and without its display it used to end the process."""
    opengl.close()
    for before in ("", "import mujoco, os; os.environ['MUJOCO_GL'] = 'egl'; "):
        finished = in_new_process(f"import mujoco\n{before}\n{RENDER_TWICE}", DISPLAY=":99")
        assert finished.stdout.split()[-1] == "{'opengl'}"
        assert "Error" not in finished.stderr


@pytest.mark.slow
def test_opengl_that_fails_is_not_tried_again() -> None:
    code = f"""{RENDER_TWICE}
other = make_env("cube-single", image_size=(32, 32))
other.reset(seed=0)
print(other.render().shape)
"""
    finished = in_new_process(code, MUJOCO_GL="glfw", DISPLAY=":99")
    assert "{'painter'}" in finished.stdout
    assert finished.stdout.rstrip().endswith("(360, 480, 3)")
    assert finished.stderr.count("UserWarning: no OpenGL") == 1


@pytest.mark.slow
def test_an_opengl_that_is_not_there_is_told_in_a_line() -> None:
    code = """
from softflow.envs.mujoco_loading import load_mujoco
from softflow.errors import ConfigError
try:
    print(load_mujoco().__name__)
except ConfigError as error:
    print(error)
"""
    said = in_new_process(code, MUJOCO_GL="nonsense").stdout
    assert "cannot be imported with MUJOCO_GL=nonsense (" in said
    assert "unset it" in said


@pytest.mark.slow
def test_settings_tell_cameras_and_backend(cube_env: OGBenchManipulation) -> None:
    model = cube_env.simulator.model
    renderer = SceneRenderer(model, 16, 16)
    settings = renderer.settings({"front": "front_pixels"})
    assert settings["backend"] == renderer.backend
    assert {settings[name] for name in ("shadows", "reflections", "multisampling")} == {"off"}
    before = model.cam_pos[model.camera("front_pixels").id].copy()
    try:
        model.camera("front_pixels").pos[:] += [0.01, 0.0, 0.0]
        moved = renderer.settings({"front": "front_pixels"})
    finally:
        model.camera("front_pixels").pos[:] = before
        renderer.close()
    differing = {name for name in settings if settings[name] != moved[name]}
    assert differing == {"camera front"}
