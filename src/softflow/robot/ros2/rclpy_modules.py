"""ROS 2's Python packages, imported when they are needed; where they are missing, how to get them.

A normal ROS 2 installation brings them, or wheels from PyPI where there is none.
"""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

from softflow.errors import MissingPackageError

MODULES = {
    "rclpy": "rclpy",
    "context": "rclpy.context",
    "executors": "rclpy.executors",
    "qos": "rclpy.qos",
    "sensors": "sensor_msgs.msg",
    "geometry": "geometry_msgs.msg",
    "standard": "std_msgs.msg",
    "services": "std_srvs.srv",
    "pictures": "PIL.Image",
}


def ros() -> Any:
    """The modules, by the names in `MODULES`.

    Raises:
        MissingPackageError: one cannot be imported; says both ways to get it.
    """
    try:
        return SimpleNamespace(**{k: importlib.import_module(v) for k, v in MODULES.items()})
    except ImportError as error:
        raise MissingPackageError(
            "a robot behind ROS 2 needs rclpy, its message packages and Pillow, which cannot be "
            f"imported ({error}). Where ROS 2 is installed: source its setup.bash, with the "
            "Python that it was made for. Elsewhere: pip install 'softflow[ros2]' (Jazzy)",
            name=error.name,
        ) from error
