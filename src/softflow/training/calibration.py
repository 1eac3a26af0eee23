"""A constant correction of all actions, learned from whole episodes that each tried another one.

Where a hand differs from the simulator by what stays the same (friction, a load, gains, a joint
that reads wrong), a correction that stays the same goes a long way, and what helps shows in few
episodes: its consequences add up over each of them. A policy that imitates such episodes does not
learn it: it sees the offset in its own last actions, and learns to keep what it sees.

This is policy gradient with exploration in the policy's parameters (PGPE, Sehnke et al. 2010); the
parameters are `ChunkPolicy.correction`. It is ours, not the paper's.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from softflow.data.exploration import offset_of
from softflow.data.metadata import metadata_value
from softflow.training.run import Run
from softflow.training.run_folder import Position

STEP = 4.0
"""How far a correction goes for a perfect correlation, in standard deviations of the offsets."""
EPISODES_A_NUMBER = 2
"""Fewer episodes for each number that is to be found say more of chance than of it."""


def correction(
    offsets: Float[np.ndarray, "N A"], returns: Float[np.ndarray, " N"], std: float
) -> Float[np.ndarray, " A"]:
    """What to add to all actions, normalised, after N episodes with these offsets.

    Along the correlation of offsets with returns, less what chance alone would show of it (James
    and Stein), so that little moves where offsets did not matter.

    Args:
        offsets: [N, A], drawn with `std`; returns: [N], what the episodes earned.
        std: of the offsets.
    """
    count, dim = offsets.shape
    spread = returns.std()
    if spread == 0:
        return np.zeros(dim)
    correlation = ((returns - returns.mean()) / spread) @ (offsets / std) / count
    found = float(correlation @ correlation)
    certain = max(0.0, 1 - dim / count / max(found, 1e-12))
    return STEP * std * certain * correlation


def calibrate(run: Run, round_index: int) -> None:
    """Correct the policy's actions by what the episodes since the last correction tell; once.

    Nobody saves between this and the round's first update, so a run that is stopped in between does
    it again, and one that is stopped later does not.
    """
    stage = run.config.online_rl
    begins = Position("online_rl", round_index * stage.num_updates)
    if stage.exploration_std == 0 or run.position != begins:
        return
    policy = run.learner.policy
    varies = policy.action_normalizer.varies.cpu().numpy()
    needed = EPISODES_A_NUMBER * int(varies.sum())
    tried = _tried(run, round_index, stage.exploration_std, needed)
    if len(tried) < needed:
        run.progress.say(
            f"no correction yet: {len(tried)} episodes have explored since the last, with this "
            f"exploration_std; it takes {needed}, {EPISODES_A_NUMBER} for each number of an action"
        )
        return
    offsets, returns = (np.array(part, dtype=np.float64) for part in zip(*tried, strict=True))
    found = np.zeros(len(varies))
    found[varies] = correction(offsets[:, varies], returns, stage.exploration_std)
    policy.correction += torch.from_numpy(found).to(policy.correction)
    if run.ranks.is_first:
        size = float(np.linalg.norm(found))
        run.record({"correction": size, "explored_return": float(returns.mean())})
    run.progress.say(_in_words(found, len(tried)))


def _tried(run: Run, round_index: int, std: float, needed: int) -> list[tuple[np.ndarray, float]]:
    """Offset and return of the episodes that explored since the last correction before a round."""
    dim, rounds = len(run.learner.policy.correction), dict[int, list[tuple[np.ndarray, float]]]()
    for number, summary in enumerate(run.online.store.summaries()):
        where = f"episode {number} of '{run.online.store.path}'"
        offset = offset_of(summary.metadata, std, dim, where)
        if offset is not None:
            index = metadata_value(summary.metadata, "round", int, 0, where)
            rounds.setdefault(index, []).append((offset, summary.return_))
    since: list[tuple[np.ndarray, float]] = []
    for index in range(round_index):
        since += rounds.get(index, [])
        since = [] if len(since) >= needed else since
    return since + rounds.get(round_index, [])


def _in_words(found: np.ndarray, episodes: int) -> str:
    if not found.any():
        return f"no correction: what {episodes} episodes tried made no difference beyond chance"
    farthest = np.argsort(-abs(found))[:3]
    shown = ", ".join(f"action[{index}] {found[index]:+.3f}" for index in farthest)
    return f"actions corrected after {episodes} episodes, normalised: {shown}" + (
        " and others less" if len(found) > 3 else ""
    )
