"""OpenCV and the ORCA hand's model, imported when they are needed (extra `cube`)."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from softflow.errors import MissingPackageError
from softflow.utils.imports import package_folder

ORCA_SCENE = "scene_right.xml"


def load_cv2() -> Any:
    """OpenCV.

    Raises:
        MissingPackageError: it is not installed; says how to get it.
    """
    try:
        return importlib.import_module("cv2")
    except ImportError as error:
        raise MissingPackageError(
            "finding a cube's pose needs OpenCV, which cannot be imported "
            f"({error}): pip install 'softflow[cube]'",
            name=error.name,
        ) from error


def orca_scene() -> Path | None:
    """The file of the ORCA right hand's scene; None where its package is not installed."""
    # Found, not imported: it would import MuJoCo before its OpenGL is chosen.
    folder = package_folder("orca_sim")
    path = folder / ORCA_SCENE if folder else None
    return path if path and path.is_file() else None
