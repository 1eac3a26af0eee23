"""The filter against a Kalman filter derived for one axis, by hand, and in what it survives."""

from __future__ import annotations

import math

import numpy as np
import pytest

from softflow.errors import ConfigError
from softflow.perception.geometry import Pose, pose_errors, rotation_from_vector
from softflow.perception.pose.filter import FilterConfig, PoseFilter

CONFIG = FilterConfig()
Z = np.array([0.0, 0.0, 1.0])


def turned(angle_rad: float, x_m: float = 0.0) -> Pose:
    return Pose(rotation_from_vector(angle_rad * Z), np.array([x_m, 0.0, 0.3]))


class Line:
    """A Kalman filter of one place and its velocity, in numbers instead of matrices."""

    def __init__(self, density: float, noise: float, start: float, damping_s: float) -> None:
        self.q, self.r, self.damping_s = density**2, noise**2, damping_s
        self.x, self.v = 0.0, 0.0
        self.a, self.b, self.c = noise**2, 0.0, start**2  # variance of x, covariance, variance of v

    def step(self, dt: float, z: float | None) -> None:
        k = math.exp(-dt / self.damping_s)
        s = self.damping_s * (1 - k)
        self.x, self.v = self.x + s * self.v, k * self.v
        a, b, c = self.a, self.b, self.c
        self.a = a + 2 * s * b + s * s * c + self.q * dt**3 / 3
        self.b = k * (b + s * c) + self.q * dt**2 / 2
        self.c = k * k * c + self.q * dt
        if z is None:
            return
        gain_x, gain_v = self.a / (self.a + self.r), self.b / (self.a + self.r)
        off = z - self.x
        self.x, self.v = self.x + gain_x * off, self.v + gain_v * off
        self.a, self.b, self.c = (
            self.a * (1 - gain_x),
            self.b * (1 - gain_x),
            self.c - gain_v * self.b,
        )


def test_it_is_two_linear_filters_where_everything_lies_on_one_axis() -> None:
    rng = np.random.default_rng(0)
    poses = PoseFilter()
    place = Line(CONFIG.acceleration, CONFIG.position_m, CONFIG.start_m_s, CONFIG.damping_s)
    angle = Line(CONFIG.turning, CONFIG.rotation_rad, CONFIG.start_rad_s, CONFIG.damping_s)
    poses.step(0.0, turned(0.0))
    for i in range(1, 60):
        z = (0.4 * i / 16 + 0.02 * rng.normal(), 0.05 * i / 16 + 0.001 * rng.normal())
        missed = i % 7 in (3, 4)
        found = poses.step(i / 16, None if missed else turned(*z))
        angle.step(1 / 16, None if missed else z[0])
        place.step(1 / 16, None if missed else z[1])
        assert found is not None
        assert found.accepted is (None if missed else True)
        assert pose_errors(found.pose, turned(angle.x, place.x)) == pytest.approx((0, 0), abs=1e-9)
        assert found.turn_rad_s[2] == pytest.approx(angle.v)
        assert found.velocity_m_s[0] == pytest.approx(place.v)
        assert found.covariance[0, 0] == pytest.approx(place.a)
        assert found.covariance[5, 5] == pytest.approx(angle.a)


def test_one_measurement_by_hand() -> None:
    """Variances 4 and 4 mm^2 meet half way, but for what a second's motion adds: none here."""
    poses = PoseFilter()
    poses.step(1.0, turned(0.0, 0.000))
    found = poses.step(1.0, turned(0.0, 0.002))
    assert found is not None
    assert found.pose.position_m[0] == pytest.approx(0.001)
    assert found.covariance[0, 0] == pytest.approx(2e-6)


def test_noise_is_lowered() -> None:
    rng, raw, smooth = np.random.default_rng(2), [], []
    poses = PoseFilter()
    for i in range(200):
        true = turned(0.8 * i / 16, 0.02 * math.sin(i / 40))
        noise = rotation_from_vector(0.06 * rng.normal(size=3))
        measured = Pose(noise @ true.rotation, true.position_m + 0.004 * rng.normal(size=3))
        covariance = np.diag([0.004**2] * 3 + [0.06**2] * 3)
        found = poses.step(i / 16, measured, covariance)
        assert found is not None
        raw.append(pose_errors(measured, true))
        smooth.append(pose_errors(found.pose, true))
    better = np.mean(smooth[20:], axis=0) / np.mean(raw[20:], axis=0)
    assert (better < 0.75).all()


def test_wrong_measurements_are_not_believed_and_missed_ones_survived() -> None:
    poses = PoseFilter()
    for i in range(16):
        poses.step(i / 16, turned(0.05 * i))
    wrong = poses.step(1.0, turned(0.8 + math.pi))
    assert wrong is not None
    assert wrong.accepted is False
    assert pose_errors(wrong.pose, turned(0.8))[1] < 0.05
    for i in range(17, 21):
        poses.step(i / 16, None)
    found = poses.step(21 / 16, None)
    assert found is not None
    assert found.age_s == pytest.approx(6 / 16)
    assert found.covariance[5, 5] > wrong.covariance[5, 5]


def test_a_cube_that_was_moved_is_found_again() -> None:
    poses = PoseFilter()
    for i in range(10):
        poses.step(i / 16, turned(0.0))
    steps = [poses.step(i / 16, turned(3.0, 0.2)) for i in range(10, 16)]
    found = [step for step in steps if step is not None]
    assert [step.accepted for step in found] == [False] * 4 + [True, True]
    assert pose_errors(found[-1].pose, turned(3.0, 0.2)) == pytest.approx((0, 0), abs=1e-6)


def test_after_a_long_gap_nothing_is_known_until_the_cube_is_seen() -> None:
    poses = PoseFilter()
    assert poses.step(0.0, None) is None
    poses.step(0.1, turned(0.0))
    assert poses.step(0.5, None) is not None
    assert poses.step(0.7, None) is None
    found = poses.step(0.8, turned(2.0))
    assert found is not None
    assert found.accepted
    assert pose_errors(found.pose, turned(2.0)) == pytest.approx((0, 0), abs=1e-9)


def test_bad_numbers_and_time_running_backwards() -> None:
    with pytest.raises(ConfigError, match="turning is -1"):
        FilterConfig(turning=-1.0)
    poses = PoseFilter()
    poses.step(1.0, turned(0.0))
    with pytest.raises(ConfigError, match="order of time"):
        poses.step(0.5, turned(0.0))
