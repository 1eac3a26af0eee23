"""How well a teacher turns cubes: turns a minute, turns in 60 s, how many cubes drop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from softflow.envs.orca_cube.settings import CONTROL_HZ
from softflow.teacher.residual import ResidualHands

Corrections = Callable[[np.ndarray], np.ndarray]
"""Observations [N, D] -> corrections [N, A]."""


@dataclass(frozen=True)
class TurningScore:
    """Measures over the first episode of each hand.

    Args:
        hands: how many.
        seconds: the longest they had.
        turns_per_minute: all turns by all minutes in which a cube was held.
        turns: mean of each hand until its drop or the end.
        turns_median: the median of it.
        drop_rate: share of the hands that dropped their cube.
        turns_before_drop: all turns by all drops; the total where nothing dropped.
        quarters: rewarded quarter turns, mean of a hand.
        broken: hands whose physics blew up; they count nowhere else.
    """

    hands: int
    seconds: float
    turns_per_minute: float
    turns: float
    turns_median: float
    drop_rate: float
    turns_before_drop: float
    quarters: float
    broken: int

    def numbers(self) -> dict[str, float]:
        """By name, for files."""
        return {name: float(value) for name, value in asdict(self).items()}

    def __str__(self) -> str:
        return (
            f"{self.turns_per_minute:.2f} turns/min, {self.turns:.2f} turns in "
            f"{self.seconds:.0f} s (median {self.turns_median:.2f}), "
            f"{100 * self.drop_rate:.0f} % dropped"
        )


def evaluate(hands: ResidualHands, decide: Corrections, seconds: float) -> TurningScore:
    """Let each hand act until its first drop, or `seconds` are over.

    The hands' own episodes must be at least that long. Turns are the true ones, in the commanded
    direction.
    """
    count = hands.hand.num
    observation = hands.reset(np.arange(count))
    alive, broken = np.ones(count, dtype=bool), np.zeros(count, dtype=bool)
    turned, quarters, held = np.zeros(count), np.zeros(count), np.zeros(count)
    for _ in range(round(seconds * CONTROL_HZ)):
        direction = np.sign(hands.hand.commands)
        corrections = decide(observation)
        done, _ = hands.execute(hands.actions(corrections), corrections)
        observation = hands.observation()
        broken |= alive & done.broken
        alive &= ~(done.dropped | done.broken)
        turned += alive * direction * done.turned_rad / (2 * np.pi)
        quarters += alive * done.quarters
        held += alive / CONTROL_HZ / 60
        if not alive.any():
            break
    fine = ~broken
    drops = int((fine & ~alive).sum())
    return TurningScore(
        hands=count,
        seconds=seconds,
        turns_per_minute=float(turned[fine].sum() / max(held[fine].sum(), 1e-9)),
        turns=float(turned[fine].mean()) if fine.any() else 0.0,
        turns_median=float(np.median(turned[fine])) if fine.any() else 0.0,
        drop_rate=drops / max(int(fine.sum()), 1),
        turns_before_drop=float(turned[fine].sum() / max(drops, 1)),
        quarters=float(quarters[fine].mean()) if fine.any() else 0.0,
        broken=int(broken.sum()),
    )
