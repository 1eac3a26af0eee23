"""How well gaits turn a cube: tried from four yaw angles, under the same frictions and masses.

One yaw angle alone does not do: a gait may get stuck when the cube has turned by 100 degrees. A
gait is scored by how far it turned each cube, at a capped rate, and by how long it kept it.
"""

from __future__ import annotations

import numpy as np

from softflow.envs.orca_cube.batched import BatchedHand
from softflow.envs.orca_cube.quarter_turns import quarter_change
from softflow.envs.orca_cube.rotations import quarter_yaw
from softflow.envs.orca_cube.settings import CONTROL_HZ, QUARTER_RAD
from softflow.teacher.gait import FingertipGait

YAWS = 4
TURN_WORTH = 3.0
"""A whole turn is worth so many trials survived: with less, the best gait is to hold still."""


def score_gaits(
    hand: BatchedHand,
    numbers: np.ndarray,
    grasp: int,
    direction: int,
    trial_s: float,
    fastest_rad_s: float,
) -> np.ndarray:
    """Scores [n] of gaits [n, size] about a grasp: the mean of its mean and its worst yaw.

    Of a yaw: how far the cube got in the asked direction, and the share of the trial that it was
    kept.

    Args:
        hand: of n * YAWS hands.
        numbers: of the gaits.
        grasp: they are about.
        direction: +1 or -1.
        trial_s: how long each is tried.
        fastest_rad_s: beyond it a cube is flung.
    """
    count = len(numbers)
    alike = np.tile(np.arange(YAWS), count)
    hand.reset(np.arange(hand.num), np.tile(starts_about(hand, grasp), count), alike)
    repeated = np.repeat(numbers, YAWS, axis=0)
    gait = FingertipGait(hand.scene, hand.grasps, grasp, repeated, direction)
    alive, steps = np.ones(hand.num, dtype=bool), round(trial_s * CONTROL_HZ)
    turns, kept = np.zeros((steps + 1, hand.num)), np.zeros(hand.num)
    for step in range(steps):
        targets = gait.targets(step / CONTROL_HZ / gait.period_s)
        done = hand.step(hand.to_actions(targets))
        alive &= ~(done.dropped | done.broken)
        turned = capped(direction * done.turned_rad, fastest_rad_s)
        turns[step + 1] = turns[step] + alive * turned / (2 * np.pi)
        kept += alive / steps
    each = (TURN_WORTH * progress(turns) + kept).reshape(count, YAWS)
    return (each.mean(1) + each.min(1)) / 2


def capped(turned_rad: np.ndarray, fastest_rad_s: float) -> np.ndarray:
    """What turns [N] of one control step are worth, rad.

    Forth no more than at `fastest_rad_s`; back all that it is, however fast: with both capped, a
    gait that creeps forth and snaps back is the best (it was found: 0.35 "turns" in 8 s that were
    0.05).
    """
    return np.minimum(turned_rad, fastest_rad_s / CONTROL_HZ)


def progress(turns: np.ndarray) -> np.ndarray:
    """How far cubes got [N], of their turns so far at every step [T, N].

    From the mean of the first quarter of the time to that of the last, as a share of the whole:
    steady turning earns all of it, and a cube that swings there and back next to nothing. What
    counts only the last step finds gaits that are at the end of their stroke by then.
    """
    quarter = max(len(turns) // 4, 1)
    return (turns[-quarter:].mean(0) - turns[:quarter].mean(0)) * 4 / 3


def starts_about(hand: BatchedHand, grasp: int) -> np.ndarray:
    """The grasps [4] most like one whose cubes stand at four yaw angles, the first its own."""
    cache = hand.grasps
    yaw = quarter_yaw(cache.cube_pose[:, 3:])
    unlike = cache.unlike(grasp)
    chosen = []
    for quarter in np.arange(YAWS) / YAWS:
        wanted = yaw[grasp] + quarter * QUARTER_RAD
        away = np.abs(quarter_change(yaw, np.full(len(yaw), wanted)))
        near = np.argsort(away)[: max(len(yaw) // (2 * YAWS), 1)]
        chosen.append(near[np.argmin(unlike[near])])
    return np.array(chosen)
