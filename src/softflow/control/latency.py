"""How long decisions take in a simulator that waits for them: a delay in control steps."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from softflow.errors import ConfigError

MAX_LATENCY_MS = 60_000.0


@dataclass(frozen=True)
class Latency:
    """The time between the observation of a decision and its arrival at the robot.

    Args:
        low_ms, high_ms: drawn uniformly from this range for every decision; equal: fixed.
        stops_to_think: the robot stands still while a decision is taken, instead of going on with
            what is left of the one before.

    Raises:
        ConfigError: no range, or outside [0, 60,000] ms.
    """

    low_ms: float = 0.0
    high_ms: float = 0.0
    stops_to_think: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.low_ms <= self.high_ms <= MAX_LATENCY_MS:
            raise ConfigError(
                f"the latency is {self.low_ms:g} to {self.high_ms:g} ms; give one or two numbers, "
                f"the lower first, within [0, {MAX_LATENCY_MS:,.0f}]"
            )

    def __bool__(self) -> bool:
        return self.high_ms > 0

    def draws(self, control_hz: float, seed: int) -> Callable[[], int]:
        """Delays of an episode's decisions, one a call, in control steps, rounded up.

        A command is given once a control step, so a decision that takes a little longer than one
        is used a whole step later.
        """
        rng = np.random.default_rng([seed, zlib.crc32(b"latency")])

        def draw() -> int:
            latency_s = rng.uniform(self.low_ms, self.high_ms) / 1000
            # 100 ms at 10 Hz are one step, whatever the last digit of a float says.
            return math.ceil(round(latency_s * control_hz, 6))

        return draw

    def __str__(self) -> str:
        """As a name has it: 80ms, 80-140ms, 80ms-stopping."""
        fixed = self.low_ms == self.high_ms
        drawn = f"{self.low_ms:g}ms" if fixed else f"{self.low_ms:g}-{self.high_ms:g}ms"
        return f"{drawn}-stopping" if self.stops_to_think else drawn


NO_LATENCY = Latency()
"""Decisions arrive in the control step in which they were asked for."""
