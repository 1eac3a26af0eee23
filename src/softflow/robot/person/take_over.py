"""A person acts instead of the policy for a while: by keys here, by any callable of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

TakeOver = Callable[[Mapping[str, np.ndarray], np.ndarray], np.ndarray | None]
"""Asked once a control step, with the newest observation and the action that holds still: the
action `[A]` that a person commands, or None while the policy acts. It returns at once."""

TOGGLE = "t"
PAIRS = ("lj", "ik", "ou")
"""Keys that move a component up and down, for the first, second and third component."""


def nobody(values: Mapping[str, np.ndarray], holding: np.ndarray) -> None:
    """The policy always acts."""


class KeyPilot:
    """`t` takes the robot over and gives it back; l j, i k and o u move three components.

    Args:
        pressed: the keys since it was asked last.
        components: of the action, which the three pairs of keys move.
        step: how far from holding still a key moves them, action units.
    """

    def __init__(
        self, pressed: Callable[[], str], components: Sequence[int] = (0, 1, 2), step: float = 0.5
    ) -> None:
        self._pressed, self._step = pressed, step
        self._moves = {
            key: (component, sign)
            for pair, component in zip(PAIRS, components, strict=False)
            for key, sign in zip(pair, (1, -1), strict=True)
        }
        self._acts = False

    def __call__(self, values: Mapping[str, np.ndarray], holding: np.ndarray) -> np.ndarray | None:
        """What the keys say, while they have the robot."""
        action = np.array(holding, np.float32)
        for key in self._pressed():
            if key == TOGGLE:
                self._acts = not self._acts
            elif key in self._moves:
                component, sign = self._moves[key]
                action[component] += sign * self._step
        return action if self._acts else None
