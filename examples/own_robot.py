"""A robot of one's own in 30 lines: an arm that takes joint targets at 10 Hz.

    softflow robot runs/mine --robot own_robot:make --limits limits.toml --out data/robot

Run it where this file and limits.toml are. Replace `Driver` by yours. `spec` must say what the
training data said: keys, shapes, ranges, rate.
"""

import time

import numpy as np

from softflow.data.data_spec import STATE_KEY, DataSpec
from softflow.robot.protocol import Sensed


class Driver:
    """Stands in for the vendor's driver: joints that follow their targets."""

    def __init__(self) -> None:
        self.joints_rad = self.targets_rad = np.zeros(7, np.float32)

    def command(self, targets_rad: np.ndarray) -> None:
        """Move; a real driver stops by itself when commands stay out."""
        self.joints_rad = self.targets_rad = targets_rad


class MyArm:
    """The six methods of `softflow.robot.protocol.Robot`; none but `reset` takes its time."""

    spec = DataSpec({STATE_KEY: (7,)}, 7, (-2.8,) * 7, (2.8,) * 7, control_hz=10.0)
    max_episode_steps = 200

    def __init__(self) -> None:
        self._driver = Driver()

    def reset(self, seed: int) -> None:
        """The person beside the robot sets up the scene."""
        self._driver.command(np.zeros(7, np.float32))
        input("Put the cube back, then press Enter: ")

    def observe(self) -> Sensed:
        """What was sensed last, and when."""
        return Sensed({STATE_KEY: self._driver.joints_rad.copy()}, time.monotonic())

    def act(self, action: np.ndarray) -> None:
        """Command and return; what the step was worth, a person says after the episode."""
        self._driver.command(action)

    def hold(self) -> np.ndarray:
        """Of targets, the last one keeps it still."""
        return self._driver.targets_rad

    def stop(self) -> None:
        """Stay where it is."""
        self._driver.command(self._driver.joints_rad)

    def close(self) -> None:
        """Nothing to give back."""


def make() -> MyArm:
    """What `--robot own_robot:make` calls."""
    return MyArm()
