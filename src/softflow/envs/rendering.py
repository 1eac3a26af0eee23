"""Pictures of a MuJoCo scene: by OpenGL where it can be had, else by `softflow.envs.painter`.

Shadows, reflections and multisampling are off: software OpenGL is 10 to 60 times faster so.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import os
import platform
import sys
import warnings
import weakref
from typing import Any

import numpy as np

_WITHOUT_OPENGL = ("disable", "disabled", "off", "false", "0")


def load_mujoco() -> Any:
    """The mujoco module; all imports of it go through here, because it picks its OpenGL once.

    On Linux that is EGL (no display needed), or nothing when libEGL is missing: mujoco could not
    even be imported with MUJOCO_GL=egl then. Any other choice in MUJOCO_GL is left alone.
    """
    undecided = "mujoco" not in sys.modules and os.environ.get("MUJOCO_GL", "") in ("", "egl")
    if undecided and platform.system() == "Linux":
        os.environ["MUJOCO_GL"] = "egl" if _has_egl() else "disable"
    _load_triton()
    return importlib.import_module("mujoco")


def _load_triton() -> None:
    """Load PyTorch's compiler before OpenGL.

    Software OpenGL (Mesa) brings an LLVM of its own. Triton, which PyTorch loads with its first
    optimiser, crashes the process when it comes after that LLVM; before it, both work.
    """
    with contextlib.suppress(ImportError):
        importlib.import_module("triton")


def _has_egl() -> bool:
    os.environ.setdefault("PYOPENGL_PLATFORM", "egl")
    try:
        from OpenGL import EGL  # noqa: F401
    except Exception:  # PyOpenGL without its library fails in several ways, AttributeError for one
        return False
    return True


class SceneRenderer:
    """Renders one model from its named cameras; `height` and `width` in pixels.

    `backend` says what it uses: "opengl" or "painter". It falls back by itself, with one warning.
    """

    def __init__(self, model: Any, height: int, width: int) -> None:
        self._model, self._height, self._width = model, height, width
        self._renderer: Any = None
        self.backend = "opengl"

    def render(self, data: Any, camera: str) -> np.ndarray:
        """What that camera sees in the simulator's state `data` now, uint8 [H, W, 3]."""
        if self._renderer is None:
            self._renderer = self._open()
        if self.backend == "painter":
            return self._renderer.render(data, camera)
        self._renderer.update_scene(data, camera=camera)
        return self._renderer.render()

    def _open(self) -> Any:
        try:
            return _open_opengl(self._model, self._height, self._width)
        except Exception as error:  # whatever the driver raises: a picture is better than none
            warnings.warn(
                f"no OpenGL ({error}); pictures are painted without it, slower and plainer "
                "(on Debian or Ubuntu, `apt-get install libegl1 libgl1` brings it)",
                stacklevel=2,
            )
        from softflow.envs.painter import ScenePainter

        self.backend = "painter"
        return ScenePainter(self._model, self._height, self._width)

    def close(self) -> None:
        """Free the OpenGL context; the next `render` opens a new one."""
        if self._renderer is not None:
            self._renderer.close()
        self._renderer = None


_open_renderers: weakref.WeakSet[Any] = weakref.WeakSet()


def _open_opengl(model: Any, height: int, width: int) -> Any:
    mujoco = load_mujoco()
    if os.environ.get("MUJOCO_GL", "").lower() in _WITHOUT_OPENGL:
        raise RuntimeError(f"MUJOCO_GL={os.environ['MUJOCO_GL']}")
    model.vis.quality.offsamples = 0
    model.vis.global_.offheight = max(height, model.vis.global_.offheight)
    model.vis.global_.offwidth = max(width, model.vis.global_.offwidth)
    renderer = mujoco.Renderer(model, height, width)
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
    if not _open_renderers:
        # Registered after MuJoCo's own eglTerminate, hence run before it: contexts freed later,
        # by the garbage collector, would fail noisily while the interpreter shuts down.
        atexit.register(_close_all)
    _open_renderers.add(renderer)
    return renderer


def _close_all() -> None:
    for renderer in list(_open_renderers):
        renderer.close()
