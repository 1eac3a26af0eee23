"""The one way to import mujoco: it picks its OpenGL once, when it is imported."""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import sys
from typing import Any

from softflow.errors import ConfigError, brief

_OURS_TO_DECIDE = ("", "egl")
"""MUJOCO_GL as nobody has chosen it, or as softflow would."""


def load_mujoco() -> Any:
    """The mujoco module; all imports of it go through here, because it picks its OpenGL once.

    On Linux that is EGL (no display needed), or nothing when libEGL is missing: mujoco could not
    even be imported with MUJOCO_GL=egl then. Any other choice in MUJOCO_GL is left alone. Where
    somebody imported mujoco before and chose nothing, it has picked GLFW, which without a display
    ends the process; it gets EGL instead.

    Raises:
        ConfigError: mujoco cannot be imported with what MUJOCO_GL says.
    """
    undecided = os.environ.get("MUJOCO_GL", "") in _OURS_TO_DECIDE
    if undecided and platform.system() == "Linux":
        os.environ["MUJOCO_GL"] = "egl" if _has_egl() else "disable"
    _load_triton()
    try:
        mujoco = importlib.import_module("mujoco")
    except (AttributeError, RuntimeError) as error:
        raise ConfigError(
            f"mujoco cannot be imported with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')} "
            f"({brief(error)}); unset it, then EGL is used where there is one"
        ) from error
    if undecided and os.environ.get("MUJOCO_GL") == "egl":
        _use_egl(mujoco)
    return mujoco


def _use_egl(mujoco: Any) -> None:
    """Have renderers that are made from now on use EGL, whatever mujoco picked at its import."""
    # PYOPENGL_PLATFORM may forbid it; without renderers there is nothing to choose either.
    with contextlib.suppress(ImportError, AttributeError):
        chosen = sys.modules[mujoco.Renderer.__module__].gl_context
        chosen.GLContext = importlib.import_module("mujoco.egl").GLContext


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
