"""RoboMimic and robosuite files seen again: every recorded simulator state, set and observed.

What the file says was seen (if it says so) must be what is seen now: that proves that states,
cameras and this version of the simulator belong together. A step from a recorded state must lead
near the next one: that shows that actions mean here what they meant there. Actions stay as they
are; observations, rewards and success are this environment's.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.data.seen_again import seen_again
from softflow.envs.contract import data_spec
from softflow.envs.robomimic.simulator import FAMILIES, OSC_POSE, ROBOT, STATE_PARTS
from softflow.envs.robomimic.tasks import RobomimicTask
from softflow.errors import DataError
from softflow.formats.hdf5.files import (
    as_text,
    attribute,
    member_array,
    member_group,
    opened,
    values_of,
)
from softflow.formats.outcome import episode_of
from softflow.formats.robomimic.reading import RobomimicSource
from softflow.formats.source import split

_FIX = "record simulator states, or import its observations (softflow data import robomimic)"
_NUMBER = r"[-+0-9.eE]+"
_CUBE_SIZE = re.compile(
    rf'<geom[^>]*\bname="cube_g0"[^>]*\bsize="({_NUMBER}) ({_NUMBER}) ({_NUMBER})"'
    rf'|<geom[^>]*\bsize="({_NUMBER}) ({_NUMBER}) ({_NUMBER})"[^>]*\bname="cube_g0"'
)
STEPS_TRIED = 40
"""In every demonstration, spread over its length."""
OBJECT_POSES = {"lift": (slice(0, 7),), "can": (slice(7, 14), slice(0, 7))}
"""Where an object's own pose stands in `object`: as robosuite 1.5 has it, and as others had it."""


class RecordedStates:
    """The demonstrations of one file, as an environment sees them; a `formats.source.Source`.

    Args:
        path: the HDF5 file.
        env: sees them; with cameras if there are to be pictures.
        env_id: its name.
        tolerance: how much what was recorded may differ from what is seen now (m; components of
            quaternions).
        filter_key: a name in the file's `mask` group; None takes all demonstrations.
        end_at_success: cut an episode behind its first success.

    Raises:
        DataError: not such a file, or recorded at another rate.
    """

    def __init__(
        self,
        path: Path,
        env: RobomimicTask,
        env_id: str,
        *,
        tolerance: float,
        filter_key: str | None = None,
        end_at_success: bool = True,
    ) -> None:
        self.path, self._env, self._tolerance = path, env, tolerance
        self._end_at_success = end_at_success
        self._source, self._recorded = _source(path, filter_key)
        self.spec: DataSpec = data_spec(env, env_id)
        require_same_environment(self._source, env.family)
        if self._source.spec.control_hz != self.spec.control_hz:
            raise DataError(
                f"{path} was recorded at {self._source.spec.control_hz:g} Hz, {env_id} runs at "
                f"{self.spec.control_hz:g} Hz; actions mean something else then"
            )
        self.largest_errors: dict[str, float] = {}
        """Part of the state -> how much it differed at most, over all that was read so far."""
        self._missed: list[float] = []
        self._moved: list[float] = []

    @property
    def steps_m(self) -> tuple[float, float]:
        """Means over steps tried from recorded states: how far from the next recorded gripper
        position they ended, and how far the gripper had moved; NaN before any.
        """
        return _mean(self._missed), _mean(self._moved)

    def episodes(self) -> list[str]:
        """demo_0, demo_1, … in the order of their numbers."""
        return self._source.episodes()

    def read(self, name: str) -> Episode:
        """A demonstration, seen again.

        Raises:
            DataError: it has no states, or what was recorded is not what is seen.
        """
        whole = self._source.read(name)
        states, cube = self._states(name)
        simulator = self._env.simulator
        seen, success = [], np.zeros(len(whole.actions), bool)
        for step, state in enumerate(states):
            simulator.set_state(state, cube)
            seen.append(simulator.observed())
            if step > 0:
                success[step - 1] = simulator.succeeded
        errors = self._proven(name, seen, whole)
        steps_m = self._try_steps(states, whole.actions, seen)
        episode = self._cut(whole, success, seen_again(errors, *steps_m))
        # The last action's outcome was not recorded if the file ends with it.
        rows = [*states, states[-1]][: episode.length + 1]
        return replace(episode, observations=self._observed(rows))

    def _try_steps(
        self, states: np.ndarray, actions: np.ndarray, seen: list[dict[str, np.ndarray]]
    ) -> tuple[float, float]:
        """Execute some of the recorded actions, each from the state in which it was recorded.

        Returns:
            As `steps_m`, of this demonstration.
        """
        gripper = np.stack([moment["robot0_eef_pos"] for moment in seen])
        tried = np.linspace(0, len(states) - 2, min(STEPS_TRIED, len(states) - 1)).astype(int)
        for step in tried:
            self._env.simulator.set_state(states[step])
            self._env.simulator.step(np.clip(actions[step], -1.0, 1.0).astype(np.float64))
            reached = self._env.simulator.observed()["robot0_eef_pos"]
            self._missed.append(float(np.linalg.norm(reached - gripper[step + 1])))
            self._moved.append(float(np.linalg.norm(gripper[step + 1] - gripper[step])))
        return _mean(self._missed[-len(tried) :]), _mean(self._moved[-len(tried) :])

    def _cut(self, whole: Episode, success: np.ndarray, found: dict[str, Any]) -> Episode:
        """The episode up to its first success, its observations still to come."""
        first = np.cumsum(np.cumsum(success)) == 1
        kept = {key: value for key, value in whole.metadata.items() if key != "unlabelled"}
        return episode_of(
            {},
            whole.actions,
            first.astype(np.float32),
            success,
            terminated=False,
            metadata=kept | found,
            end_at_success=self._end_at_success,
        )

    def _observed(self, states: list[np.ndarray]) -> dict[str, np.ndarray]:
        """key -> [len(states), ...]."""
        kept: dict[str, list[np.ndarray]] = {key: [] for key in self.spec.observation_shapes}
        for state in states:
            self._env.simulator.set_state(state)
            for key, value in self._env.observe().items():
                kept[key].append(value)
        return {key: np.stack(values) for key, values in kept.items()}

    def _states(self, name: str) -> tuple[np.ndarray, np.ndarray | None]:
        """The simulator's states float64 [T, n], and the size of Lift's cube if the file has it."""
        with opened(self.path) as file:
            group = member_group(file, f"data/{name}", _FIX)
            states = values_of(member_array(group, "states", _FIX)).astype(np.float64)
            model = as_text(attribute(group, "model_file")) if "model_file" in group.attrs else ""
        if states.ndim != 2 or not np.isfinite(states).all():
            raise DataError(f"{self.path}, {name}: 'states' is no finite array [T, n]; {_FIX}")
        return states, _cube_size(model) if self._env.family == "lift" else None

    def _proven(
        self, name: str, seen: list[dict[str, np.ndarray]], whole: Episode
    ) -> dict[str, float]:
        """Part -> its largest error.

        Raises:
            DataError: one is larger than the tolerance.
        """
        if len(seen) != len(whole.actions):
            raise DataError(
                f"{self.path}, {name} has {len(seen)} states for {len(whole.actions)} actions; "
                "leave this demonstration out with a filter key, or repair the file"
            )
        errors: dict[str, float] = {}
        recorded = whole.observations[STATE_KEY][: len(seen)]
        parts = split(recorded, self._source.spec.names[STATE_KEY]) if self._recorded else {}
        for part, values in parts.items():
            again = np.stack([moment[part] for moment in seen])
            error, step = _largest_error(self._env.family, part, again, values)
            errors[part] = error
            self.largest_errors[part] = max(error, self.largest_errors.get(part, 0.0))
            if error > self._tolerance:
                raise DataError(
                    f"{self.path}, {name}: at step {step} '{part}' was recorded {error:.3g} away "
                    f"from what {self._env.family} shows in that state (--tolerance allows "
                    f"{self._tolerance:g}); another task, controller or robot was recorded, or "
                    "states and observations do not belong together"
                )
        return errors


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def require_same_environment(source: RobomimicSource, family: str) -> None:
    """Refuse a file whose actions mean something else than those of a family here.

    Raises:
        DataError: it says that it was recorded with another task, robot or controller.
    """
    task = FAMILIES[family].robosuite_name
    if not (lines := source.environment.differences(task, ROBOT, OSC_POSE)):
        return
    raise DataError(
        f"{source.path} was recorded with another environment than '{family}': {'; '.join(lines)}. "
        "Its actions mean something else here: name the environment that was recorded, or convert "
        "the actions; `softflow data import robomimic` without --env-id takes them as they are, "
        "for imitation without an environment"
    )


def _source(path: Path, filter_key: str | None) -> tuple[RobomimicSource, bool]:
    """The file, and whether it recorded what a policy sees."""
    options: dict[str, Any] = {"filter_key": filter_key, "cameras": (), "end_at_success": False}
    source = RobomimicSource(path, **options)
    there = split(np.zeros((1, source.spec.observation_shapes[STATE_KEY][0])),
                  source.spec.names[STATE_KEY])  # fmt: skip
    parts = tuple(part for part in STATE_PARTS if part in there)
    return (RobomimicSource(path, state_keys=parts, **options), True) if parts else (source, False)


def _cube_size(model_xml: str) -> np.ndarray | None:
    """Half the edges of Lift's cube [3], m; None where the model does not say."""
    found = _CUBE_SIZE.search(model_xml)
    if found is None:
        return None
    try:
        size = np.array([float(text) for text in found.groups() if text])
    except ValueError:
        return None
    return size if (size > 0.001).all() and (size < 0.2).all() else None


def _largest_error(
    family: str, part: str, again: np.ndarray, recorded: np.ndarray
) -> tuple[float, int]:
    """The largest difference and its step; a quaternion and its negative are the same turn.

    Of `object`, whose order changed between versions of robosuite, the object's own pose counts.
    """
    if part == "object":
        ours, *others = OBJECT_POSES.get(family, OBJECT_POSES["can"])
        width = again.shape[1]
        if recorded.shape[1] != width:
            return float("inf"), 0
        found = [_pose_errors(again[:, ours], recorded[:, theirs]) for theirs in (ours, *others)]
        errors = min(found, key=lambda error: float(error.max()))
    elif part == "robot0_eef_quat":
        errors = _turn_errors(again, recorded)
    else:
        errors = np.abs(again - recorded).max(axis=1)
    step = int(np.argmax(errors))
    return float(errors[step]), step


def _pose_errors(again: np.ndarray, recorded: np.ndarray) -> np.ndarray:
    positions = np.abs(again[:, :3] - recorded[:, :3]).max(axis=1)
    return np.maximum(positions, _turn_errors(again[:, 3:], recorded[:, 3:]))


def _turn_errors(again: np.ndarray, recorded: np.ndarray) -> np.ndarray:
    plus, minus = np.abs(again - recorded), np.abs(again + recorded)
    return np.minimum(plus.max(axis=1), minus.max(axis=1))
