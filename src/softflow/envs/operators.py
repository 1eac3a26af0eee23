"""Operators: scripted people who demonstrate tasks, some better than others.

What makes a demonstration mediocre is what people do wrong, not its label: they are slow, they stop
to think, they aim beside the object, their hand shakes, they let go on the way, and after a failed
attempt they try again until the time is up. What an operator intends is the simulator's business;
what becomes of it is here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace
from typing import Any, Self, SupportsFloat

import numpy as np

from softflow.data.episode import Episode
from softflow.envs.contract import Observation, RobotEnv
from softflow.errors import ConfigError
from softflow.utils.worker_pool import raise_if_stopping

GRIPPER_OPENS = -1.0
"""The last component of an action that opens the hand."""


@dataclass(frozen=True)
class AnyOperator:
    """How one operator demonstrates. Ranges (low, high) are drawn once per episode.

    Args:
        name: goes into the episode's metadata.
        pace: how fast, in the unit of the simulator's operators.
        noise_std: standard deviation of the shaking, in action units (the space is [-1, 1]).
        noise_memory: correlation of the shaking between two steps, in [0, 1).
        aim_std_m: error of where the operator believes the object to be, per attempt, x and y;
            where the object is grasped also in height, never too low.
        place_std_m: the same for the target.
        slips_per_s: how often, per second, the hand opens and jerks away.
        slip_s: how long that lasts.
        pauses_per_s: how often, per second, the operator stops to think.
        pause_s: shortest and longest pause.
    """

    name: str
    _: KW_ONLY
    pace: tuple[float, float]
    noise_std: tuple[float, float] = (0.0, 0.0)
    noise_memory: float = 0.5
    aim_std_m: float = 0.0
    place_std_m: float = 0.0
    slips_per_s: float = 0.0
    slip_s: float = 0.4
    pauses_per_s: float = 0.0
    pause_s: tuple[float, float] = (0.5, 2.0)

    def __post_init__(self) -> None:
        ranges = {"pace": self.pace, "noise_std": self.noise_std, "pause_s": self.pause_s}
        for label, (low, high) in ranges.items():
            if not 0.0 <= low <= high:
                raise ConfigError(f"operator {self.name!r}: {label} {low}..{high} is no range >= 0")
        if not 0.0 <= self.noise_memory < 1.0:
            raise ConfigError(
                f"operator {self.name!r}: noise_memory {self.noise_memory}, not [0, 1)"
            )
        rates = (self.slips_per_s, self.slip_s, self.pauses_per_s)
        if min(self.aim_std_m, self.place_std_m, *rates) < 0.0:
            raise ConfigError(
                f"operator {self.name!r}: errors, slip rate and duration, pause rate are >= 0"
            )

    def erring(self, factor: float) -> Self:
        """The same operator with all errors multiplied by a factor."""
        return replace(
            self,
            aim_std_m=self.aim_std_m * factor,
            place_std_m=self.place_std_m * factor,
            slips_per_s=self.slips_per_s * factor,
        )


@dataclass(frozen=True)
class OperatorMixture:
    """Who demonstrates how often: weights are normalised by whoever draws."""

    operators: tuple[AnyOperator, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.operators or len(self.operators) != len(self.weights):
            raise ConfigError(
                f"mixture: {len(self.operators)} operators, {len(self.weights)} weights; give one "
                "weight for each of at least one operator"
            )
        if min(self.weights) < 0.0 or not 0.0 < sum(self.weights) < float("inf"):
            raise ConfigError(f"mixture: weights {self.weights}; give numbers >= 0, not all zero")

    def draw(self, rng: np.random.Generator) -> AnyOperator:
        """One operator, with probability proportional to its weight."""
        shares = np.asarray(self.weights) / np.sum(self.weights)
        return self.operators[int(rng.choice(len(self.operators), p=shares))]


def perform(
    env: RobotEnv,
    seed: int,
    operator: AnyOperator,
    noise_std: float,
    rng: np.random.Generator,
    intended: Callable[[], np.ndarray],
) -> Episode:
    """One episode, until it ends: `intended()` [A] in every step, as the operator's hand does it.

    The recorded actions are the executed ones. Metadata are left to the caller.
    """
    observation, _ = env.reset(seed=seed)
    hand = _Hand(operator, noise_std, env, rng)
    record = _Record(observation)
    while not record.over:
        raise_if_stopping()
        action = hand.execute(intended())
        record.add(action, *env.step(action))
    return record.episode()


class _Hand:
    """What becomes of an intended action: correlated shaking, now and then a slip."""

    def __init__(
        self, operator: AnyOperator, noise_std: float, env: RobotEnv, rng: np.random.Generator
    ) -> None:
        self._memory, self._std, self._rng = operator.noise_memory, noise_std, rng
        self._size = len(env.neutral_action)
        self._slip_chance = operator.slips_per_s / env.control_hz
        self._slip_steps = max(1, round(operator.slip_s * env.control_hz))
        self._slip_left = 0
        self._slip_action = np.zeros(self._size)
        self._pause_chance = operator.pauses_per_s / env.control_hz
        self._shortest_pause, self._longest_pause = (
            round(seconds * env.control_hz) for seconds in operator.pause_s
        )
        self._pause_left = 0
        self._shake = self._rng.normal(0.0, self._std, self._size)

    def execute(self, intended: np.ndarray) -> np.ndarray:
        """The action that is really sent, float32 [A] inside [-1, 1]."""
        fresh = self._rng.normal(0.0, self._std, self._size)
        self._shake = self._memory * self._shake + np.sqrt(1.0 - self._memory**2) * fresh
        action = self._interrupted(intended)
        return np.clip(action + self._shake, -1.0, 1.0).astype(np.float32)

    def _interrupted(self, intended: np.ndarray) -> np.ndarray:
        """The intended action, unless a slip or a pause begins or goes on."""
        if self._rng.uniform() < self._slip_chance:
            self._slip_left = self._slip_steps
            self._slip_action = np.zeros(self._size)
            self._slip_action[:3] = self._rng.uniform(-0.5, 0.5, 3)
            self._slip_action[-1] = GRIPPER_OPENS
        elif self._rng.uniform() < self._pause_chance:
            self._pause_left = int(
                self._rng.integers(self._shortest_pause, self._longest_pause, endpoint=True)
            )
        self._slip_left, slips = max(0, self._slip_left - 1), self._slip_left > 0
        self._pause_left, pauses = max(0, self._pause_left - 1), self._pause_left > 0
        if slips:
            return self._slip_action
        return np.zeros(self._size) if pauses else intended


class _Record:
    """Collects one episode step by step."""

    def __init__(self, observation: Observation) -> None:
        self._observations = [observation]
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []
        self._terminated = self._truncated = False

    @property
    def over(self) -> bool:
        return self._terminated or self._truncated

    def add(
        self,
        action: np.ndarray,
        observation: Observation,
        reward: SupportsFloat,
        terminated: bool,
        truncated: bool,
        _info: dict[str, Any],
    ) -> None:
        self._actions.append(action)
        self._observations.append(observation)
        self._rewards.append(float(reward))
        self._terminated, self._truncated = terminated, truncated

    def episode(self) -> Episode:
        keys = self._observations[0].keys()
        return Episode(
            observations={k: np.stack([o[k] for o in self._observations]) for k in keys},
            actions=np.stack(self._actions),
            rewards=np.array(self._rewards, dtype=np.float32),
            terminated=self._terminated,
            truncated=self._truncated,
            success=self._terminated,
        )
