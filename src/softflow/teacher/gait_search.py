"""Gaits found by the cross-entropy method: try many, keep the best, draw the next around them.

A gait is tried from cubes at four yaw angles, because one alone always gets stuck when the cube has
turned by 100 to 120 degrees, and scored by how far it turned them, at a capped rate, and by how
long it kept them. Gaits are tried under the same frictions and masses: the comparison is fair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from softflow.envs.orca_cube.batched import BatchedHand
from softflow.envs.orca_cube.quarter_turns import quarter_change
from softflow.envs.orca_cube.rotations import quarter_yaw
from softflow.envs.orca_cube.settings import CONTROL_HZ, QUARTER_RAD
from softflow.errors import ConfigError
from softflow.teacher.gait import FingertipGait, GaitShape

YAWS = 4


@dataclass(frozen=True)
class GaitSearchConfig:
    """The numbers of a search.

    Args:
        population: gaits tried in a generation.
        elite: how many of them the next generation is drawn around.
        generations: how often.
        trial_s: how long a gait is tried.
        fastest_rad_s: rotation beyond that earns nothing: faster flings.
        keep: share of the old mean and deviation that stays.
        least_spread: share of the first deviation below which the search does not narrow.

    Raises:
        ConfigError: a number makes no search.
    """

    population: int = 32
    elite: int = 8
    generations: int = 40
    trial_s: float = 8.0
    fastest_rad_s: float = 1.0
    keep: float = 0.25
    least_spread: float = 0.08

    def __post_init__(self) -> None:
        if not 1 < self.elite < self.population or self.generations < 1 or self.trial_s <= 0:
            raise ConfigError(
                f"a search of {self.generations} generations of {self.population} gaits, "
                f"{self.elite} kept, for {self.trial_s} s each; give 1 < elite < population, and "
                "positive numbers"
            )


@dataclass(frozen=True)
class FoundGait:
    """A gait and how well it did.

    Args:
        numbers: [size].
        grasp: the one it is about, a number in the cache.
        direction: +1 or -1.
        score: of the mean of the last generation.
    """

    numbers: np.ndarray
    grasp: int
    direction: int
    score: float


@dataclass(frozen=True)
class SearchState:
    """Where a search is: the next generation is drawn around it.

    Args:
        generation: how many are behind.
        mean, deviation: [size], of the next gaits.
        champion: [size], the best gait of the last generation; top: its score.
    """

    generation: int
    mean: np.ndarray
    deviation: np.ndarray
    champion: np.ndarray
    top: float


Make = Callable[[int], BatchedHand]
"""Makes hands for so many trials."""
Told = Callable[[SearchState, float], None]
"""Hears of every generation: where the search is, the mean score of the gaits that were kept."""


def search_gait(
    make: Make,
    config: GaitSearchConfig,
    direction: int,
    seed: int,
    told: Told = lambda state, mean: None,
    begun: SearchState | None = None,
) -> FoundGait:
    """The gait about the cache's home that a search ends with.

    Args:
        make: hands for the trials.
        config: numbers of the search.
        direction: +1 or -1.
        seed: of its gaits.
        told: hears of every generation.
        begun: where a search of the same numbers was stopped.
    """
    hand = make(config.population * YAWS)
    state = begun or first_state(hand)
    while state.generation < config.generations:
        rng = np.random.default_rng([seed, 2 + direction, state.generation])
        state, mean = _generation(hand, config, direction, rng, state)
        told(state, mean)
    return FoundGait(state.champion, hand.grasps.home, direction, state.top)


def first_state(hand: BatchedHand) -> SearchState:
    """Where a search begins."""
    first, spread = gait_shape(hand).first_guess()
    return SearchState(0, first, spread, first, 0.0)


def _generation(
    hand: BatchedHand,
    config: GaitSearchConfig,
    direction: int,
    rng: np.random.Generator,
    state: SearchState,
) -> tuple[SearchState, float]:
    """Draw gaits, try them, keep the best; the mean and the champion are tried again."""
    _, spread = gait_shape(hand).first_guess()
    numbers = rng.normal(state.mean, state.deviation, (config.population, len(state.mean)))
    numbers[0], numbers[1] = state.mean, state.champion
    about = np.full(config.population, hand.grasps.home)
    scores = score_gaits(hand, numbers, about, direction, config)
    order = np.argsort(scores)[::-1]
    elite = numbers[order[: config.elite]]
    mean = config.keep * state.mean + (1 - config.keep) * elite.mean(0)
    fresh = config.keep * state.deviation + (1 - config.keep) * elite.std(0)
    deviation = np.maximum(fresh, config.least_spread * spread)
    top = float(scores[order[0]])
    after = SearchState(state.generation + 1, mean, deviation, numbers[order[0]], top)
    return after, float(scores[order[: config.elite]].mean())


def choose_home(
    make: Make, config: GaitSearchConfig, direction: int, rng: np.random.Generator, tried: int
) -> int:
    """The grasp about which a random gait turned the cube farthest, of `tried` grasps and gaits."""
    hand = make(tried * YAWS)
    shape = gait_shape(hand)
    numbers = rng.normal(*shape.first_guess(), (tried, shape.size))
    about = rng.choice(len(hand.grasps), tried)
    return int(about[np.argmax(score_gaits(hand, numbers, about, direction, config))])


def gait_shape(hand: BatchedHand) -> GaitShape:
    """How gaits of this hand are laid out."""
    description = hand.scene.hand.description
    moved = hand.scene.num_joints - len(description.held_joints)
    return GaitShape(len(description.fingers), moved)


def score_gaits(
    hand: BatchedHand,
    numbers: np.ndarray,
    grasps: np.ndarray,
    direction: int,
    config: GaitSearchConfig,
) -> np.ndarray:
    """Scores [n] of gaits [n, size] about grasps [n]: the mean of its mean and its worst yaw.

    Of a yaw: how far the cube got in the asked direction, each step's turn capped, and the share of
    the trial that it was kept.
    """
    count = len(numbers)
    starts = np.concatenate([starts_about(hand, int(grasp)) for grasp in grasps])
    alike = np.tile(np.arange(YAWS), count)
    hand.reset(np.arange(hand.num), starts, alike)
    about, repeated = np.repeat(grasps, YAWS), np.repeat(numbers, YAWS, axis=0)
    gait = FingertipGait(hand.scene, hand.grasps, about, repeated, direction)
    alive, steps = np.ones(hand.num, dtype=bool), round(config.trial_s * CONTROL_HZ)
    turns, kept = np.zeros((steps + 1, hand.num)), np.zeros(hand.num)
    most = config.fastest_rad_s / CONTROL_HZ
    for step in range(steps):
        targets = gait.targets(step / CONTROL_HZ / gait.period_s)
        done = hand.step(hand.to_actions(targets))
        alive &= ~(done.dropped | done.broken)
        turned = np.clip(direction * done.turned_rad, -most, most) / (2 * np.pi)
        turns[step + 1] = turns[step] + alive * turned
        kept += alive / steps
    each = (progress(turns) + kept).reshape(count, YAWS)
    return (each.mean(1) + each.min(1)) / 2


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
