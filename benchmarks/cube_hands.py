"""How many hands with cubes a second one process steps, on one thread and on two."""

from __future__ import annotations

import numpy as np

from benchmarks.measuring import Row, Section, Spread, measure
from softflow.envs.orca_cube.batched import BatchedHand
from softflow.envs.orca_cube.settings import CubeSettings
from softflow.errors import SoftflowError

HANDS = 128
AIM_PER_S = 6000
"""Environment steps a second, on two cores."""


def run(turns: int) -> Section:
    """Rows for a control step of all hands, each turning its cube, by the number of threads."""
    title = f"{HANDS} hands with cubes, a control step of 50 ms each"
    try:
        hands = {n: BatchedHand(CubeSettings(platform_s=0.0), HANDS, 0, threads=n) for n in (1, 2)}
    except SoftflowError as error:
        return Section(title, "steps/s", [Row(str(error), None, None)])
    moved = np.random.default_rng(0)

    def step(hand: BatchedHand) -> None:
        noise = moved.normal(0, 0.05, (hand.num, hand.scene.num_joints))
        done = hand.step(hand.to_actions(hand.targets) + noise)
        if done.done.any():
            hand.reset(np.flatnonzero(done.done))

    names = {n: f"{n} thread{'s' * (n > 1)}" for n in hands}
    timings = measure({names[n]: lambda h=hand: step(h) for n, hand in hands.items()}, turns)
    rows = [
        Row(
            names[n],
            timings.ms(names[n]),
            Spread.of(1000 * HANDS / timings.turns_ms[names[n]]),
            f"≥ {AIM_PER_S:,}" if n == 2 else "",
            "physics, events, observations",
        )
        for n in hands
    ]
    return Section(title, "steps/s", rows)
