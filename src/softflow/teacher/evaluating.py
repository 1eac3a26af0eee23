"""How well a teacher turns cubes: turns a minute, turns in 60 s, how many cubes drop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

from softflow.envs.orca_cube.batched import HandStep
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


class Scorekeeper:
    """Counts what each hand does until its first drop, or `seconds` are over.

    The hands' own episodes must be at least that long; all begin anew here. Turns are the true
    ones, in the commanded direction.

    Args:
        hands: that act.
        seconds: the longest that each has.
    """

    def __init__(self, hands: ResidualHands, seconds: float) -> None:
        self.hands, self._seconds = hands, seconds
        num = hands.hand.num
        hands.reset(np.arange(num))
        self._alive, self._broken = np.ones(num, dtype=bool), np.zeros(num, dtype=bool)
        self._turned, self._quarters, self._held_min = np.zeros((3, num))
        self._left = round(seconds * CONTROL_HZ)

    @property
    def is_over(self) -> bool:
        """Whether the time is over, or no cube is held any more."""
        return self._left <= 0 or not self._alive.any()

    def execute(self, actions: np.ndarray, corrections: np.ndarray) -> HandStep:
        """One control step of actions [N, J]; corrections [N, A] move the gait's phase on."""
        direction = np.sign(self.hands.hand.commands)
        done, _ = self.hands.execute(actions, corrections)
        self._left -= 1
        self._broken |= self._alive & done.broken
        self._alive &= ~(done.dropped | done.broken)
        self._turned += self._alive * direction * done.turned_rad / (2 * np.pi)
        self._quarters += self._alive * done.quarters
        self._held_min += self._alive / CONTROL_HZ / 60
        return done

    def score(self) -> TurningScore:
        """The measures so far."""
        fine = ~self._broken
        turned, held = self._turned[fine], self._held_min[fine]
        drops = int((fine & ~self._alive).sum())
        some = bool(fine.any())
        return TurningScore(
            hands=len(fine),
            seconds=self._seconds,
            turns_per_minute=float(turned.sum() / max(held.sum(), 1e-9)),
            turns=float(turned.mean()) if some else 0.0,
            turns_median=float(np.median(turned)) if some else 0.0,
            drop_rate=drops / max(int(fine.sum()), 1),
            turns_before_drop=float(turned.sum() / max(drops, 1)),
            quarters=float(self._quarters[fine].mean()) if some else 0.0,
            broken=int(self._broken.sum()),
        )


def evaluate(hands: ResidualHands, decide: Corrections, seconds: float) -> TurningScore:
    """The score of hands whose gait is corrected by `decide`."""
    keeper = Scorekeeper(hands, seconds)
    while not keeper.is_over:
        corrections = decide(hands.observation())
        keeper.execute(hands.actions(corrections), corrections)
    return keeper.score()
