"""The one way to import mujoco: it picks its OpenGL once, when it is imported."""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import sys
from typing import Any


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
