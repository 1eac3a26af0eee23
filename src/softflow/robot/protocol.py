"""What a robot is to softflow: six methods, and what its episodes hold.

Nothing in here knows the time or the network: `act` commands, `observe` tells what was sensed last.
None of the two may wait, as the control loop calls them within a tick.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from softflow.data.data_spec import DataSpec
from softflow.errors import ConfigError
from softflow.utils.imports import follow, require_trusted


@dataclass(frozen=True)
class Sensed:
    """What a robot sensed last.

    Attributes:
        values: key -> array, as `DataSpec.observation_shapes` has it; not written to afterwards.
        taken_at_s: when, on the clock of `time.monotonic()`; the oldest part of it counts.
    """

    values: Mapping[str, np.ndarray]
    taken_at_s: float


@dataclass(frozen=True)
class Outcome:
    """What a control step led to, where the robot can tell; a person may still say it later.

    Attributes:
        reward: of the step.
        terminated: the task itself ended: a success, or a failure from which nothing goes on.
        success: whether the episode is a success if it is over now.
        events: names of what happened, where the task declares events; None where it does not.
    """

    reward: float = 0.0
    terminated: bool = False
    success: bool = False
    events: tuple[str, ...] | None = None


@runtime_checkable
class Robot(Protocol):
    """A robot, or what stands in for one. An error that it raises ends the run at once.

    Attributes:
        spec: what its observations and actions are, and `control_hz`.
        max_episode_steps: control steps after which an episode is cut.
    """

    spec: DataSpec
    max_episode_steps: int

    def reset(self, seed: int) -> None:
        """Bring robot and scene to where an episode begins; returns when it stands still there.

        May take its time, and may ask the person beside it (`input`).

        Args:
            seed: of what is random in it, where something is.
        """
        ...

    def observe(self) -> Sensed:
        """What was sensed last; returns at once, with an old answer rather than late."""
        ...

    def act(self, action: np.ndarray) -> Outcome | None:
        """Command an action `[A]`, float32, and return at once.

        Returns:
            What the step led to, where the robot can tell.
        """
        ...

    def hold(self) -> np.ndarray:
        """The action `[A]` that keeps it still where it is now; asking for it moves nothing.

        Of targets it is the last commanded one, of velocities or steps zero.
        """
        ...

    def stop(self) -> None:
        """Come to rest by the robot's own means, and stay so until `reset`; always possible."""
        ...

    def close(self) -> None:
        """Give it back; called once, however the run ended."""
        ...


_PARTS = ("spec", "max_episode_steps", "reset", "observe", "act", "hold", "stop", "close")


def robot_maker(path: str) -> Callable[[], Robot]:
    """What makes the robot called "module:function": imported now, made when it is called.

    It runs that code, so the user must have named it. Making raises ConfigError if what is made is
    no robot.

    Raises:
        UntrustedImportError: only a file names it.
        ConfigError: it cannot be imported.
    """
    require_trusted(path, "the robot", "--robot")
    try:
        function = follow(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"the robot {path!r} cannot be imported ({error}); give module:function, with the "
            "module installed or its folder in PYTHONPATH"
        ) from error
    return lambda: _require_robot(function(), path)


def _require_robot(robot: Any, path: str) -> Robot:
    missing = [name for name in _PARTS if not hasattr(robot, name)]
    if missing or not isinstance(robot.spec, DataSpec) or not isinstance(robot, Robot):
        lacks = f"has no {', '.join(missing)}" if missing else "has a spec that is no DataSpec"
        raise ConfigError(
            f"the robot that {path!r} makes, a {type(robot).__name__}, {lacks}; "
            "softflow.robot.protocol.Robot says what a robot has"
        )
    return robot
