"""A Kalman filter for poses: low-pass, past missed and wrong detections (App. B2).

The state is a pose and how fast it moves and turns, all in the camera's frame. What is uncertain is
kept as an error e = (position, rotation, velocity, angular velocity) with
    position = p + e_p,  rotation = exp(e_r) R,
so that covariances are matrices [12, 12] though rotations are no vectors. Velocities die away with
a time constant: a cube that is not seen comes to rest instead of flying off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from softflow.errors import ConfigError
from softflow.perception.geometry import Pose, rotation_from_vector, vector_from_rotation

GATE = 22.46
"""Squared Mahalanobis distance that one of 1000 true measurements of 6 numbers exceeds."""
_P, _R, _V, _W = slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 12)
_POSE = slice(0, 6)


@dataclass(frozen=True)
class FilterConfig:
    """How much a cube moves, and how much measurements are trusted.

    Attributes:
        acceleration: standard deviation of its density, m/s^2 per root Hz; smaller is smoother.
        turning: of the angular acceleration, rad/s^2 per root Hz.
        damping_s: time in which velocities die away.
        position_m, rotation_rad: standard deviation that no measurement is better than.
        start_m_s, start_rad_s: of the velocities before anything is known.
        gate: squared distance beyond which a measurement is taken for wrong.
        max_gap_s: without a measurement for longer, the cube is lost.
        max_rejected: measurements in a row that are taken for wrong; then the cube was moved.

    Raises:
        ConfigError: a number that is not above 0.
    """

    acceleration: float = 0.15
    turning: float = 2.5
    damping_s: float = 0.3
    position_m: float = 0.002
    rotation_rad: float = 0.03
    start_m_s: float = 0.1
    start_rad_s: float = 1.5
    gate: float = GATE
    max_gap_s: float = 0.5
    max_rejected: int = 4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"the filter's {name} is {value}; give a number above 0")


@dataclass(frozen=True)
class FilteredPose:
    """What the filter believes at a moment.

    Attributes:
        pose: of the cube in the camera's frame.
        covariance: float64 [6, 6] of position (m) and rotation (rad).
        velocity_m_s, turn_rad_s: float64 [3] each, in the camera's frame.
        age_s: time since a measurement was last believed.
        accepted: whether the one of this moment was; None if there was none.
    """

    pose: Pose
    covariance: np.ndarray
    velocity_m_s: np.ndarray
    turn_rad_s: np.ndarray
    age_s: float
    accepted: bool | None


class PoseFilter:
    """One cube, followed through time."""

    def __init__(self, config: FilterConfig | None = None) -> None:
        self.config = config or FilterConfig()
        self.reset()

    def reset(self) -> None:
        """Forget the cube."""
        self._pose: Pose | None = None
        self._speed = np.zeros(6)
        self._covariance = np.zeros((12, 12))
        self._now_s = self._believed_s = 0.0
        self._rejected = 0

    def step(
        self, time_s: float, measured: Pose | None, covariance: np.ndarray | None = None
    ) -> FilteredPose | None:
        """Go on to a moment, with what was measured then, if anything.

        Args:
            time_s: not before the last one.
            measured: the pose measured, or None for a missed detection.
            covariance: [6, 6] of position and rotation; None for the least there is.

        Returns:
            what is believed, or None while no cube is known.

        Raises:
            ConfigError: time runs backwards.
        """
        if self._pose is not None:
            self._predict(time_s)
            if time_s - self._believed_s > self.config.max_gap_s:
                self.reset()
        accepted: bool | None = None
        if measured is not None:
            noise = self._noise(covariance)
            accepted = self._pose is None or self._update(measured, noise)
            self._rejected = 0 if accepted else self._rejected + 1
            if self._pose is None or self._rejected > self.config.max_rejected:
                self._start(time_s, measured, noise)
                accepted = True
            if accepted:
                self._believed_s = time_s
        return self._belief(accepted)

    def _noise(self, covariance: np.ndarray | None) -> np.ndarray:
        least = [self.config.position_m**2] * 3 + [self.config.rotation_rad**2] * 3
        return np.diag(least) + (0.0 if covariance is None else covariance)

    def _start(self, time_s: float, measured: Pose, noise: np.ndarray) -> None:
        self.reset()
        self._pose, self._now_s = measured, time_s
        self._covariance[_POSE, _POSE] = noise
        self._covariance[_V, _V] = self.config.start_m_s**2 * np.eye(3)
        self._covariance[_W, _W] = self.config.start_rad_s**2 * np.eye(3)

    def _predict(self, time_s: float) -> None:
        """Move on by what velocities say; grow uncertain by what accelerations may do."""
        assert self._pose is not None
        step_s = time_s - self._now_s
        if step_s < 0:
            raise ConfigError(
                f"a picture of {time_s:g} s comes after one of {self._now_s:g} s; give them in the "
                "order of time"
            )
        keep = math.exp(-step_s / self.config.damping_s)
        path_s = self.config.damping_s * (1 - keep)  # the integral of a velocity that dies away
        turn = rotation_from_vector(self._speed[3:] * path_s)
        place = self._pose.position_m + self._speed[:3] * path_s
        self._pose = Pose(turn @ self._pose.rotation, place)
        self._speed = self._speed * keep
        change = np.eye(12)
        change[_R, _R] = turn
        change[_P, _V] = change[_R, _W] = path_s * np.eye(3)
        change[_V, _V] = change[_W, _W] = keep * np.eye(3)
        self._covariance = change @ self._covariance @ change.T + self._process_noise(step_s)
        self._now_s = time_s

    def _process_noise(self, step_s: float) -> np.ndarray:
        """White acceleration over a step; that velocities die meanwhile is left out of it."""
        noise = np.zeros((12, 12))
        for low, high, density in (
            (_P, _V, self.config.acceleration**2),
            (_R, _W, self.config.turning**2),
        ):
            noise[low, low] = density * step_s**3 / 3 * np.eye(3)
            noise[low, high] = noise[high, low] = density * step_s**2 / 2 * np.eye(3)
            noise[high, high] = density * step_s * np.eye(3)
        return noise

    def _update(self, measured: Pose, noise: np.ndarray) -> bool:
        """Take a measurement in, unless it is too far off to be one; whether it was."""
        assert self._pose is not None
        off = np.concatenate(
            [
                measured.position_m - self._pose.position_m,
                vector_from_rotation(measured.rotation @ self._pose.rotation.T),
            ]
        )
        expected = self._covariance[_POSE, _POSE] + noise
        if off @ np.linalg.solve(expected, off) > self.config.gate:
            return False
        gain = np.linalg.solve(expected, self._covariance[_POSE]).T
        error = gain @ off
        self._pose = self._pose.moved(error[_POSE])
        self._speed = self._speed + error[6:]
        kept = np.eye(12)
        kept[:, _POSE] -= gain
        # Joseph's form: symmetric and positive, whatever is rounded.
        self._covariance = kept @ self._covariance @ kept.T + gain @ noise @ gain.T
        return True

    def _belief(self, accepted: bool | None) -> FilteredPose | None:
        if self._pose is None:
            return None
        return FilteredPose(
            self._pose,
            self._covariance[_POSE, _POSE].copy(),
            self._speed[:3].copy(),
            self._speed[3:].copy(),
            self._now_s - self._believed_s,
            accepted,
        )
