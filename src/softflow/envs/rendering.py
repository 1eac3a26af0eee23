"""Pictures of a MuJoCo scene: by OpenGL where it can be had, else by `softflow.envs.painter`.

Shadows, reflections and multisampling are off: software OpenGL is 10 to 60 times faster so.
"""

from __future__ import annotations

import atexit
import os
import warnings
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from softflow.envs.mujoco_loading import load_mujoco
from softflow.errors import MissingPackageError

_failures: list[str] = []
"""Why this process has no OpenGL."""
_WITHOUT_OPENGL = ("disable", "disabled", "off", "false", "0")


class SceneRenderer:
    """Renders one model from its named cameras; `height` and `width` in pixels.

    Geoms of `hidden_group` are left out: models often have simple shapes for contacts there.
    `backend` says what it uses: "opengl" or "painter". It falls back by itself, with one warning.
    """

    def __init__(
        self, model: Any, height: int, width: int, hidden_group: int | None = None
    ) -> None:
        self._model, self._height, self._width = model, height, width
        self._renderer: Any = None
        self._options = load_mujoco().MjvOption()
        if hidden_group is not None:
            self._options.geomgroup[hidden_group] = 0
        self.backend = "opengl"

    def render(self, data: Any, camera: str) -> np.ndarray:
        """What that camera sees in the simulator's state `data` now, uint8 [H, W, 3]."""
        self._start()
        if self.backend == "painter":
            return self._renderer.render(data, camera, self._options)
        self._renderer.update_scene(data, camera=camera, scene_option=self._options)
        return self._renderer.render()

    def geom_ids(self, data: Any, camera: str) -> np.ndarray:
        """The geom that each pixel of that camera shows now, int32 [H, W]; -1 where there is none.

        Raises:
            MissingPackageError: there is no OpenGL; nothing else can tell.
        """
        self._start()
        if self.backend == "painter":
            raise MissingPackageError(
                "what each pixel shows is told by OpenGL alone, which cannot be had here; on "
                "Debian or Ubuntu, `apt-get install libegl1 libgl1` brings it"
            )
        self._renderer.enable_segmentation_rendering()
        try:
            self._renderer.update_scene(data, camera=camera, scene_option=self._options)
            ids = self._renderer.render()
        finally:
            self._renderer.disable_segmentation_rendering()
        is_geom = ids[..., 1] == load_mujoco().mjtObj.mjOBJ_GEOM
        return np.where(is_geom, ids[..., 0], -1).astype(np.int32)

    def settings(self, cameras: Mapping[str, str]) -> dict[str, str]:
        """What decides how a picture looks, setting -> value.

        `cameras` maps the names of observations to the model's cameras. A camera is described by
        its field of view (degrees) and its pose on the body that carries it (m, quaternion w x y
        z).
        """
        self._start()
        painted = self.backend == "painter"
        settings = {
            "backend": self.backend,
            "driver": "none" if painted else _driver(self._renderer),
            "mujoco": load_mujoco().__version__,
            "shadows": "off",
            "reflections": "off",
            "multisampling": "off",
        }
        for name, camera in cameras.items():
            view = self._model.camera(camera)
            pose = _rounded(view.fovy), _rounded(view.pos), _rounded(view.quat)
            settings[f"camera {name}"] = "{} degrees, at {}, turned {}".format(*pose)
        return settings

    def _start(self) -> None:
        if self._renderer is None:
            self._renderer = self._open()

    def _open(self) -> Any:
        try:
            if not _failures:  # MuJoCo ends the process when it is tried again
                return _open_opengl(self._model, self._height, self._width)
        except Exception as error:  # whatever the driver raises: a picture is better than none
            _failures.append(str(error))
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


def _rounded(values: np.ndarray) -> str:
    return " ".join(f"{value + 0.0:.4g}" for value in np.round(values, 6))


def _driver(renderer: Any) -> str:
    """What OpenGL calls the device it draws with."""
    from OpenGL import GL

    renderer._gl_context.make_current()
    return bytes(GL.glGetString(GL.GL_RENDERER) or b"unknown").decode(errors="replace")


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
