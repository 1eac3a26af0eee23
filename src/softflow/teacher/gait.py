"""A periodic gait of the fingertips that turns a cube: 43 numbers for a hand of five fingers.

Each fingertip carries the cube's side around while it is in stance, and comes back in the air:

    stance   around the cube's axis from -a/2 to +a/2, pressed in by the preload
    swing    back from +a/2 to -a/2, lifted off the cube

Fingers take turns, each at its own phase. Tips become joints by inverse kinematics about one grasp,
so the gait is a fixed function of its phase: joint targets [J] = arcs(tips(phase)) + bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from softflow.envs.orca_cube.grasps import GraspCache
from softflow.envs.orca_cube.scene import CubeScene
from softflow.errors import ConfigError
from softflow.teacher.finger_arcs import FingerArcs

PER_FINGER = ("amplitude_rad", "lift_m", "preload_m", "height_m", "phase")
SHORTEST_S, LONGEST_S = 0.4, 3.0


@dataclass(frozen=True)
class GaitShape:
    """How the numbers of a gait are laid out, and which a search begins with.

    Args:
        fingers: F.
        moved_joints: M, joints that move fingers.
    """

    fingers: int
    moved_joints: int

    @property
    def size(self) -> int:
        """How many numbers a gait is: 5 a finger, period, duty, a bias a joint."""
        return len(PER_FINGER) * self.fingers + 2 + self.moved_joints

    def simple_gaits(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Gaits [count, size] whose fingers all do the same in turn: those a search begins with."""
        rows = [np.repeat(rng.uniform(*of, count)[:, None], self.fingers, 1) for of in _SIMPLE]
        phases = _patterns(self.fingers)[rng.integers(3, size=count)]
        period, duty = rng.uniform(1.2, 2.2, (count, 1)), rng.uniform(0.5, 0.8, (count, 1))
        biases = np.zeros((count, self.moved_joints))
        return np.concatenate([*rows, phases, period, duty, biases], axis=1)

    def spread(self) -> np.ndarray:
        """Standard deviation [size] of the first gaits around a simple one."""
        each = np.repeat([0.12, 0.003, 0.0012, 0.0024, 0.09], self.fingers)
        return np.concatenate([each, [0.2, 0.06], np.full(self.moved_joints, 0.036)])


_SIMPLE = ((0.35, 1.0), (0.012, 0.022), (0.002, 0.005), (-0.004, 0.004))
"""Amplitude, lift, preload and height of simple gaits, from and to."""


def _patterns(fingers: int) -> np.ndarray:
    """Phases [3, F]: two sets of fingers that take turns; a wave over every other, each way."""
    order = np.arange(fingers)
    wave = 2 * order / fingers % 1.0
    return np.stack([order % 3 % 2 * 0.5, wave, -wave % 1.0])


class FingertipGait:
    """Gaits of N hands, each with its own numbers, all about one grasp.

    Args:
        scene: the hand.
        grasps: of it; about: the number of the one that the gaits are about.
        numbers: [N, size].
        direction: +1 turns counter-clockwise seen from above, -1 clockwise.

    Raises:
        ConfigError: another number of numbers than this hand has.
    """

    def __init__(
        self,
        scene: CubeScene,
        grasps: GraspCache,
        about: int,
        numbers: np.ndarray,
        direction: int = 1,
    ) -> None:
        self._arcs, self._direction = FingerArcs(scene, grasps, about), direction
        self.shape = GaitShape(len(scene.hand.description.fingers), len(self._arcs.moved))
        if numbers.shape[1] != self.shape.size:
            raise ConfigError(
                f"a gait of {numbers.shape[1]} numbers is not of this hand, whose gaits have "
                f"{self.shape.size}; search one for it: softflow teacher train"
            )
        self._read(numbers)

    def _read(self, numbers: np.ndarray) -> None:
        count = self.shape.fingers
        parts = [numbers[:, i * count : (i + 1) * count] for i in range(len(PER_FINGER))]
        self._amplitude, self._lift, self._preload, self._height, self._phase = parts
        rest = numbers[:, len(PER_FINGER) * count :]
        self.period_s = np.clip(rest[:, 0], SHORTEST_S, LONGEST_S)
        """[N]: how long a round takes at the gait's own speed."""
        self._duty = np.clip(rest[:, 1], 0.3, 0.9)
        self._bias = rest[:, 2:]

    def targets(self, phase: np.ndarray) -> np.ndarray:
        """Joint targets [N, J], rad, at phases [N] (1 is a round)."""
        own = (phase[:, None] + self._phase) % 1.0
        duty = self._duty[:, None]
        stance = own < duty
        done = np.where(stance, own / duty, (own - duty) / (1 - duty))
        # At rest at both ends of the swing: a finger that lands in motion kicks the cube.
        back = 0.5 * np.cos(np.pi * done)
        around = np.where(stance, done - 0.5, back) * self._amplitude * self._direction
        lifted = np.where(stance, 0.0, np.sin(np.pi * done)) * np.maximum(self._lift, 0.0)
        joints = self._arcs.joints(around, lifted - self._preload, self._height)
        joints[:, self._arcs.moved] += self._bias
        return joints
