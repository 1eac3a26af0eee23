"""When a demonstration succeeded, as far as its file tells; nothing is guessed from a dense reward.

robomimic and robosuite give a reward of 1 for success and 0, or a shaped reward below 1, until
then. Other people's rewards may be anything: where one exceeds 1 or is negative, or most episodes
begin with 1, a reward of 1 says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

ROBOSUITE_TYPE, GYM_TYPE = 1, 2
"""robomimic's numbers for two kinds of environments; gym's rewards say nothing about success."""
SUCCESS_REWARD = 1 - 1e-6
LARGEST = 1 + 1e-6


@dataclass(frozen=True)
class Outcomes:
    """What the rewards of a file mean.

    Args:
        by_reward: a reward of 1 is success.
    """

    by_reward: bool

    @classmethod
    def of_file(cls, rewards: Iterable[np.ndarray], kind: object) -> Outcomes:
        """From the rewards [T] of all demonstrations, and robomimic's number for who gave them."""
        fits, shaped, at_once, episodes = kind != GYM_TYPE, False, 0, 0
        for values in rewards:
            if len(values) == 0:
                continue
            finite = values[np.isfinite(values)]
            episodes += 1
            fits &= bool(((finite >= 0) & (finite <= LARGEST)).all())
            shaped |= bool(((finite > 0) & (finite < SUCCESS_REWARD)).any())
            at_once += len(values) > 1 and bool(values[0] >= SUCCESS_REWARD)
        return cls(fits and 2 * at_once <= episodes and (kind == ROBOSUITE_TYPE or not shaped))

    def success(
        self,
        steps: int,
        said: object,
        rewards: np.ndarray | None,
        dones: np.ndarray | None,
    ) -> np.ndarray | None:
        """bool [T], or None where nothing tells.

        Args:
            steps: T.
            said: what the demonstration says of itself, None if nothing.
            rewards, dones: [T] each, None where the file has none.
        """
        if said is not None:
            return (np.arange(steps) == steps - 1) & bool(np.asarray(said).reshape(-1)[-1])
        if rewards is None or not self.by_reward:
            return None
        success = rewards >= SUCCESS_REWARD
        if dones is not None and not success.any():
            # `dones` may also be set at the end of every demonstration, whatever happened.
            success[:-1] = dones[:-1] > 0
        return success
