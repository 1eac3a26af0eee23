"""What environments on a MuJoCo simulator share: time limit, checked actions, pictures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from softflow.data.data_spec import IMAGE_PREFIX, STATE_KEY
from softflow.envs.contract import Observation, RobotEnv
from softflow.envs.rendering import SceneRenderer
from softflow.errors import ConfigError, DataError, EnvironmentContractError

ACTION_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Pictures:
    """Where pictures are taken from, and how large they are.

    Attributes:
        cameras: name of each camera for policies -> what the model calls it.
        shown_from: the model's camera for people.
        image_size: (height, width) of every `observation.images.<name>`; None without them.
        render_size: (height, width) of what `render` gives.
        hidden_group: the model's geoms of this group (0 to 5) are not shown; None shows all.

    Raises:
        ConfigError: a size is too small to show anything.
    """

    cameras: Mapping[str, str]
    shown_from: str
    image_size: tuple[int, int] | None = None
    render_size: tuple[int, int] = (360, 480)
    hidden_group: int | None = None

    def __post_init__(self) -> None:
        for size in (self.image_size, self.render_size):
            if size is not None and min(size) < 8:
                raise ConfigError(f"image size {size[0]}x{size[1]} is too small; use at least 8x8")


class MujocoTask(RobotEnv):
    """An environment whose actions [A] are in [-1, 1], on a simulator with `model` and `data`.

    A subclass calls `_build`, and in every step `_next_action` first and `_count_step` last.
    """

    simulator: Any

    def _build(self, simulator: Any, action_dim: int, state_dim: int, pictures: Pictures) -> None:
        """Take over a simulator and declare the spaces."""
        self.simulator, self._pictures = simulator, pictures
        self._renderers: dict[tuple[int, int], SceneRenderer] = {}
        self._steps_left = 0
        self.action_space = spaces.Box(-1.0, 1.0, (action_dim,), np.float32)
        parts: dict[str, spaces.Space[Any]] = {
            STATE_KEY: spaces.Box(-np.inf, np.inf, (state_dim,), np.float32)
        }
        if pictures.image_size is not None:
            for name in pictures.cameras:
                box = spaces.Box(0, 255, (*pictures.image_size, 3), np.uint8)
                parts[IMAGE_PREFIX + name] = box
        self.observation_space = spaces.Dict(parts)

    def _begin_episode(self, seed: int | None) -> int:
        """The seed of the simulator's reset: `seed`, or one that follows from the last given."""
        super().reset(seed=seed)
        self._steps_left = self.max_episode_steps
        return int(self.np_random.integers(2**31)) if seed is None else seed

    def _next_action(self, action: np.ndarray) -> np.ndarray:
        """The action to execute, float64 [A] within [-1, 1].

        Raises:
            EnvironmentContractError: no episode runs.
            DataError: it is not finite, not [A] or outside [-1, 1].
        """
        if self._steps_left == 0:
            raise EnvironmentContractError("step called while no episode runs; call reset first")
        step_number = self.max_episode_steps - self._steps_left + 1
        (size,) = self.action_space.shape or (0,)
        return _checked_action(action, size, step_number).astype(np.float64)

    def _count_step(self, *, success: bool) -> bool:
        """Whether the step that was just made is truncated; success ends the episode otherwise."""
        self._steps_left -= 1
        truncated = self._steps_left == 0 and not success
        if success:
            self._steps_left = 0
        return truncated

    def _observation(self, state: np.ndarray) -> Observation:
        """The state [D] as float32 and, if asked for, what the cameras see now."""
        observation = {STATE_KEY: state.astype(np.float32)}
        if (size := self._pictures.image_size) is not None:
            for name, camera in self._pictures.cameras.items():
                observation[IMAGE_PREFIX + name] = self._picture(camera, size)
        return observation

    def render(self) -> np.ndarray:
        """A picture for people, uint8 [H, W, 3] (360x480 unless `render_size` says otherwise)."""
        return self._picture(self._pictures.shown_from, self._pictures.render_size)

    @property
    def rendering(self) -> dict[str, str]:
        """How the cameras' pictures are drawn, setting -> value; empty without cameras."""
        if (size := self._pictures.image_size) is None:
            return {}
        return self._renderer(size).settings(self._pictures.cameras)

    def _picture(self, camera: str, size: tuple[int, int]) -> np.ndarray:
        return self._renderer(size).render(self.simulator.data, camera)

    def _renderer(self, size: tuple[int, int]) -> SceneRenderer:
        if size not in self._renderers:
            hidden = self._pictures.hidden_group
            self._renderers[size] = SceneRenderer(self.simulator.model, *size, hidden)
        return self._renderers[size]

    def close(self) -> None:
        """Free the pictures' OpenGL contexts; the environment stays usable."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()


def require_family(family: str, known: Iterable[str]) -> None:
    """Raise ConfigError unless a simulator has this family."""
    if family not in (names := list(known)):
        raise ConfigError(f"unknown family {family!r}; known: {', '.join(names)}")


def require_no_task(family: str, task: int | None) -> None:
    """Raise ConfigError if one is named: the family is a single task."""
    if task is not None:
        raise ConfigError(f"{family} has no tasks to choose from; leave out -task{task}")


def _checked_action(action: np.ndarray, size: int, step_number: int) -> np.ndarray:
    array = np.asarray(action, dtype=np.float32)
    if array.shape != (size,):
        raise DataError(f"step {step_number}: action has shape {array.shape}; give [{size}]")
    if not np.isfinite(array).all():
        raise DataError(f"step {step_number}: action is {array}; it must be finite")
    if np.abs(array).max() > 1.0 + ACTION_TOLERANCE:
        raise DataError(
            f"step {step_number}: action {array} leaves [-1, 1]; clip it to the action space"
        )
    return np.clip(array, -1.0, 1.0)
