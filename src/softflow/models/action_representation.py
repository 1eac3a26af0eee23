"""Actions as the networks see them: absolute, as differences, or as poses in the current frame.

Data and robots always speak absolute actions, in the robot's units. A representation lies between
them and the networks, and every one has an exact inverse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.data.episode import Episode
from softflow.errors import ConfigError, DataError

POSE_SIZE = 7
LENGTH_TOLERANCE = 0.1
"""How far from 1 the length of a recorded quaternion may be: rounding, but no other quantity."""
QuaternionOrder = Literal["wxyz", "xyzw"]
_Convert = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class ActionRepresentation:
    """Which action components are relative to the observation at the decision (App. A3).

    Components named nowhere stay absolute. Every action of a chunk and of its prefix is relative to
    the same observation, the newest one of the decision: errors do not add up along the chunk, and
    what a robot has committed to keeps its place in space while it moves.

    Args:
        delta: action components given as the difference to a state component, such as joints.
        delta_state: the component of `observation.state` each of them is compared with.
        pose: action components that are an end-effector pose: position x, y, z, then the
            quaternion; 7 for each arm. They are given in the frame of the current pose.
        pose_state: the components of `observation.state` that hold that pose, in the same order.
        quaternion: order of the quaternions in action and state; ROS and MuJoCo differ.

    Raises:
        ConfigError: the lists do not fit together.
    """

    delta: tuple[int, ...] = ()
    delta_state: tuple[int, ...] = ()
    pose: tuple[int, ...] = ()
    pose_state: tuple[int, ...] = ()
    quaternion: QuaternionOrder = "wxyz"

    def __post_init__(self) -> None:
        for name in ("delta", "pose"):
            ours, states = getattr(self, name), getattr(self, f"{name}_state")
            if len(ours) != len(states):
                raise ConfigError(
                    f"actions.{name} names {len(ours)} components, actions.{name}_state "
                    f"{len(states)}; name one state component for each action component"
                )
        if len(self.pose) % POSE_SIZE:
            raise ConfigError(
                f"actions.pose names {len(self.pose)} components; a pose has {POSE_SIZE}: "
                "x, y, z and a quaternion"
            )
        for start in range(0, len(self.pose), POSE_SIZE):
            frame = self.pose_state[start : start + POSE_SIZE]
            if len(set(frame)) < POSE_SIZE:
                raise ConfigError(
                    f"actions.pose_state names {frame} for one pose; name {POSE_SIZE} different "
                    "components of the state"
                )
        chosen = self.delta + self.pose
        if twice := sorted({i for i in chosen if chosen.count(i) > 1}):
            raise ConfigError(f"actions: component {twice[0]} is named twice; name it once")
        if self.quaternion not in ("wxyz", "xyzw"):
            raise ConfigError(f'actions.quaternion is "{self.quaternion}"; use wxyz or xyzw')

    @property
    def is_absolute(self) -> bool:
        """True if nothing is changed."""
        return not (self.delta or self.pose)

    @property
    def quaternions(self) -> tuple[int, ...]:
        """Action components that belong to a quaternion."""
        return tuple(i for place, i in enumerate(self.pose) if place % POSE_SIZE >= 3)

    def require_fit(self, spec: DataSpec) -> None:
        """Raise unless these components exist in data of this spec.

        Raises:
            ConfigError: names the component and how many there are.
        """
        if self.is_absolute:
            return
        shape = spec.observation_shapes.get(STATE_KEY)
        if shape is None or len(shape) != 1:
            raise ConfigError(
                f"relative actions need a one-dimensional {STATE_KEY}; the data has {shape}"
            )
        for name, indices, size in (
            ("delta", self.delta, spec.action_dim),
            ("pose", self.pose, spec.action_dim),
            ("delta_state", self.delta_state, shape[0]),
            ("pose_state", self.pose_state, shape[0]),
        ):
            if outside := [i for i in indices if not 0 <= i < size]:
                raise ConfigError(
                    f"actions.{name} names component {outside[0]}; the data has 0 to {size - 1}"
                )

    def require_quaternions(self, actions: np.ndarray, state: np.ndarray, where: str) -> None:
        """Raise unless the quaternions of every pose have length 1, nearly.

        A pose of other components would train without any sign of it. (Whether w stands first or
        last cannot be told from the numbers.)

        Args:
            actions: `[T, A]`.
            state: `[T+1, n]`, the newest `observation.state` of each step.
            where: the episode, for messages.

        Raises:
            DataError: names step, components and length.
        """
        for key, array, pose in (
            ("action", actions, self.pose),
            (STATE_KEY, state, self.pose_state),
        ):
            for start in range(0, len(pose), POSE_SIZE):
                columns = list(pose[start + 3 : start + POSE_SIZE])
                lengths = np.linalg.norm(array[:, columns].astype(np.float64), axis=1)
                wrong = np.flatnonzero(abs(lengths - 1) > LENGTH_TOLERANCE)
                if wrong.size:
                    raise DataError(
                        f"{where}, step {wrong[0]}: components {columns} of {key} are no "
                        f"quaternion, their length is {lengths[wrong[0]]:.3g} instead of 1; name "
                        "position and quaternion in --model.actions.pose and pose-state, or leave "
                        "such episodes out (softflow data filter)"
                    )

    def seen_actions(self, window_length: int) -> Callable[[Episode, str], np.ndarray] | None:
        """The actions of all windows of an episode as the networks see them, for statistics.

        Args:
            window_length: actions of a decision, prefix and chunk together (P + H).

        Returns:
            A function of an episode and its name: `[T · window_length, A]`, float64. It raises
            DataError where a quaternion is none. None if actions stay absolute.
        """
        if self.is_absolute:
            return None

        def seen(episode: Episode, where: str) -> np.ndarray:
            self.require_quaternions(episode.actions, episode.observations[STATE_KEY], where)
            last = episode.length - 1
            steps = np.minimum(np.arange(episode.length)[:, None] + np.arange(window_length), last)
            windows = torch.from_numpy(episode.actions[steps]).double()
            state = torch.from_numpy(episode.observations[STATE_KEY][:-1]).double()
            return self.encode(windows, state).flatten(0, 1).numpy()

        return seen

    def encode(
        self, actions: Float[Tensor, "*batch K A"], state: Float[Tensor, "*batch n"]
    ) -> Float[Tensor, "*batch K A"]:
        """Absolute to relative.

        Args:
            actions: `[..., K, A]`, the robot's units.
            state: `[..., n]`, the newest `observation.state` of each decision.

        Returns:
            `[..., K, A]`; relative quaternions have w ≥ 0 and length 1.
        """
        return self._converted(actions, state, _pose_in_frame, -1.0)

    def decode(
        self, actions: Float[Tensor, "*batch K A"], state: Float[Tensor, "*batch n"]
    ) -> Float[Tensor, "*batch K A"]:
        """Relative to absolute, the inverse of `encode`; quaternions come back with w ≥ 0."""
        return self._converted(actions, state, _pose_from_frame, 1.0)

    def _converted(self, actions: Tensor, state: Tensor, convert: _Convert, sign: float) -> Tensor:
        if self.is_absolute:
            return actions
        result = actions.clone()
        reference = state[..., None, :]
        if self.delta:
            columns = list(self.delta)
            shift = sign * reference[..., list(self.delta_state)]
            result[..., columns] = actions[..., columns] + shift
        for start in range(0, len(self.pose), POSE_SIZE):
            columns = self._wxyz(self.pose[start : start + POSE_SIZE])
            frame = reference[..., self._wxyz(self.pose_state[start : start + POSE_SIZE])]
            result[..., columns] = convert(actions[..., columns], frame)
        return result

    def _wxyz(self, pose: tuple[int, ...]) -> list[int]:
        """The columns of a pose as position, w, x, y, z."""
        position, quaternion = list(pose[:3]), list(pose[3:])
        if self.quaternion == "xyzw":
            quaternion = quaternion[3:] + quaternion[:3]
        return position + quaternion


def _pose_in_frame(pose: Tensor, frame: Tensor) -> Tensor:
    """A pose (position, quaternion wxyz) `[..., 7]` seen from the frame of another one."""
    turn_back = _conjugate(_unit(frame[..., 3:]))
    position = _rotate(turn_back, pose[..., :3] - frame[..., :3])
    return torch.cat([position, _upper(_multiply(turn_back, _unit(pose[..., 3:])))], dim=-1)


def _pose_from_frame(pose: Tensor, frame: Tensor) -> Tensor:
    """The inverse of `_pose_in_frame`."""
    turn = _unit(frame[..., 3:])
    position = _rotate(turn, pose[..., :3]) + frame[..., :3]
    return torch.cat([position, _upper(_multiply(turn, _unit(pose[..., 3:])))], dim=-1)


def _unit(quaternion: Tensor) -> Tensor:
    """Length 1; a network's output or a recording is only nearly so."""
    return quaternion / quaternion.norm(dim=-1, keepdim=True).clamp_min(1e-8)


def _upper(quaternion: Tensor) -> Tensor:
    """Of the two quaternions of a rotation the one with w ≥ 0: one rotation, one target."""
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def _conjugate(quaternion: Tensor) -> Tensor:
    return torch.cat([quaternion[..., :1], -quaternion[..., 1:]], dim=-1)


def _multiply(left: Tensor, right: Tensor) -> Tensor:
    """Hamilton product, wxyz: first `right`, then `left`."""
    w, u = left[..., :1], left[..., 1:]
    s, v = right[..., :1], right[..., 1:]
    u, v = torch.broadcast_tensors(u, v)
    scalar = w * s - (u * v).sum(dim=-1, keepdim=True)
    return torch.cat([scalar, w * v + s * u + torch.linalg.cross(u, v)], dim=-1)


def _rotate(quaternion: Tensor, vector: Tensor) -> Tensor:
    """The vector `[..., 3]` turned by a unit quaternion."""
    w, axis = quaternion[..., :1], quaternion[..., 1:]
    axis, vector = torch.broadcast_tensors(axis, vector)
    twice = 2 * torch.linalg.cross(axis, vector)
    return vector + w * twice + torch.linalg.cross(axis, twice)
