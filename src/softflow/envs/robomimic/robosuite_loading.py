"""The one way to import robosuite: quiet, with its caches outside of its own folder."""

from __future__ import annotations

import importlib
import os
import sys
import types
from pathlib import Path
from typing import Any

from softflow.envs.mujoco_loading import load_mujoco
from softflow.errors import ConfigError

_MACROS = {
    "CONSOLE_LOGGING_LEVEL": "ERROR",
    "CACHE_NUMBA": True,
    "IMAGE_CONVENTION": "opengl",
    "MUJOCO_GPU_RENDERING": False,  # MUJOCO_GL stays what load_mujoco made it
    "SIMULATION_TIMESTEP": 0.002,
}


def load_robosuite() -> Any:
    """The robosuite module.

    Its settings (`macros`) are softflow's, whatever a file of settings in its folder says: they
    change what is simulated. Functions it compiles (numba, 8 s the first time on a machine) are
    kept in the user's cache folder, or where NUMBA_CACHE_DIR says.

    Raises:
        ConfigError: it is not installed, or cannot be loaded.
    """
    load_mujoco()
    if "robosuite" not in sys.modules:
        os.environ.setdefault("NUMBA_CACHE_DIR", str(_cache_folder()))
        settings = types.ModuleType("robosuite.macros_private")
        settings.__dict__.update(_MACROS, __all__=list(_MACROS))
        sys.modules[settings.__name__] = settings
    try:
        return importlib.import_module("robosuite")
    except ImportError as error:
        raise ConfigError(
            f"this task needs robosuite ({error}); pip install 'softflow[robomimic]' (its OpenCV "
            "needs libGL and glib: on Debian or Ubuntu, `apt-get install libgl1 libglib2.0-0`)"
        ) from error


def _cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "softflow" / "numba"
