"""The environment that a robomimic or robosuite file says it was recorded in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_SIZES = {"input_min": 6, "input_max": 6, "output_min": 6, "output_max": 6, "kp": 6}
"""Settings that are a number for all components of a pose, or one for each."""


@dataclass(frozen=True)
class RecordedEnvironment:
    """What a file tells of its environment.

    Attributes:
        name: of the task, in robosuite's words; empty where the file does not say.
        version: of robosuite, say; empty likewise.
        robot: its name; empty likewise.
        controller: what decides what an action means (`settings_of`); empty likewise.
    """

    name: str = ""
    version: str = ""
    robot: str = ""
    controller: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], named: str) -> RecordedEnvironment:
        """From the file's `env_args` (robomimic) or `env` and `env_info` (robosuite)."""
        arguments = settings.get("env_kwargs")
        arguments = arguments if isinstance(arguments, dict) else {}
        robots = arguments.get("robots")
        robot = robots[0] if isinstance(robots, list) and len(robots) == 1 else robots
        return cls(
            name=str(settings.get("env_name") or named),
            version=str(settings.get("env_version") or ""),
            robot=robot if isinstance(robot, str) else "",
            controller=settings_of(arguments.get("controller_configs")),
        )

    def differences(self, task: str, robot: str, controller: Mapping[str, Any]) -> list[str]:
        """A line for each thing that makes actions or observations mean something else there.

        Args:
            task: robosuite's name of the task that is to go on with these data.
            robot: its robot.
            controller: its controller's configuration, as robosuite takes it.
        """
        lines: list[str] = []
        # "NutAssembly" and "PickPlace" are what robosuite's own files call all their variants.
        if self.name and not task.startswith(self.name):
            lines.append(f"task {self.name}, not {task}")
        if self.robot and self.robot != robot:
            lines.append(f"robot {self.robot}, not {robot}")
        ours = settings_of(controller)
        lines += [
            f"controller's {key} {_shown(theirs)}, not {_shown(ours[key])}"
            for key, theirs in self.controller.items()
            if key in ours and not _alike(theirs, ours[key])
        ]
        return lines


def settings_of(configuration: object) -> dict[str, Any]:
    """What decides what an action means, of a controller's configuration of robosuite 1.0 to 1.5.

    `type`, `impedance_mode`, whether actions are displacements (`is_delta`), in which `frame`, and
    the ranges and stiffness, float64 [6] each. What the configuration does not say is left out.
    """
    if not isinstance(configuration, Mapping):
        return {}
    parts = configuration.get("body_parts")
    arm = parts.get("right") if isinstance(parts, Mapping) else configuration
    if not isinstance(arm, Mapping):
        return {}
    found = {key: arm[key] for key in ("type", "impedance_mode") if isinstance(arm.get(key), str)}
    if isinstance(arm.get("control_delta"), bool):
        found["is_delta"] = arm["control_delta"]
    elif isinstance(arm.get("input_type"), str):
        found["is_delta"] = arm["input_type"] == "delta"
    if isinstance(frame := arm.get("input_ref_frame"), str):
        # The arm's base is not turned, so a displacement is the same in both.
        found["frame"] = "world" if frame == "base" else frame
    for key, size in _SIZES.items():
        if (values := _numbers(arm.get(key), size)) is not None:
            found[key] = values
    return found


def _numbers(value: object, size: int) -> np.ndarray | None:
    """float64 [size] of one number or of as many; None for anything else."""
    values = value if isinstance(value, list | tuple) else [value]
    if len(values) not in (1, size):
        return None
    if not all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
        return None
    return np.broadcast_to(np.array(values, np.float64), (size,))


def _alike(theirs: Any, ours: Any) -> bool:
    if isinstance(theirs, np.ndarray):
        return bool(np.allclose(theirs, ours, rtol=1e-3, atol=0.0))
    return theirs == ours


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        numbers = [f"{number:g}" for number in value]
        return numbers[0] if len(set(numbers)) == 1 else f"[{', '.join(numbers)}]"
    return str(value)
