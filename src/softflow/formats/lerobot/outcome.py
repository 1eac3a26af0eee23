"""How an episode of a LeRobot dataset went: what its columns and the list of episodes say of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

REWARD, DONE, SUCCESS = "next.reward", "next.done", "next.success"
TERMINATED, TRUNCATED = "next.terminated", "next.truncated"
OUTCOMES = (REWARD, DONE, SUCCESS, TERMINATED, TRUNCATED)


@dataclass(frozen=True)
class Outcome:
    """How an episode went.

    Args:
        length: T, steps until it ended.
        rewards: float32, of all rows of the table.
        terminated, success: as in `Episode`.
        known: whether anything says if it succeeded.
    """

    length: int
    rewards: np.ndarray
    terminated: bool
    success: bool
    known: bool


def outcome_of(
    columns: dict[str, np.ndarray], steps: int, listed: bool | None, end_at_success: bool
) -> Outcome:
    """The outcome that columns tell.

    `next.success` counts where it is there, else what the list of episodes says. With neither, the
    episode reached its goal if the first done step earned its only reward; dense rewards say
    nothing. `next.done` alone does not terminate an episode: LeRobot sets it at every end.

    Args:
        columns: those of `OUTCOMES` that the table has, float32 [T] each.
        steps: T.
        listed: whether the list of episodes calls it a success; None: it says nothing.
        end_at_success: cut it behind its first success, and behind its first done step.
    """
    nothing = np.zeros(steps, np.float32)
    rewards = columns.get(REWARD, nothing)
    done, succeeded = first(columns.get(DONE, nothing)), first(columns.get(SUCCESS, nothing))
    last = min(done, steps - 1) if end_at_success else steps - 1
    known = True
    if SUCCESS in columns:
        success = succeeded <= last
    elif listed is not None:
        success = listed
    else:
        ended = min(done, steps - 1)
        success = done < steps and rewards[done] > 0 and not rewards[:done].any()
        known = bool(success) or (REWARD in columns and not rewards[:ended].any())
    if success and end_at_success:
        last = min(last, succeeded)
    truncated = columns.get(TRUNCATED, nothing)[last] > 0
    terminated = columns.get(TERMINATED, nothing)[last] > 0 or (success and not truncated)
    return Outcome(last + 1, rewards, bool(terminated), bool(success), known)


def first(flags: np.ndarray) -> int:
    """Where a column [T] is first above 0; T when nowhere."""
    return int(np.argmax(flags > 0)) if (flags > 0).any() else len(flags)
